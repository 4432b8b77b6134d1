"""What the `countermand` command tells a person: one line, and an exit code that programs can rely on."""

from typer import TyperException


class CommandError(TyperException):
    """A command cannot do what it was asked; the message says what was found, what was expected, what to do."""

    exit_code = 2


class UsageError(CommandError):
    """Wrong usage or bad input."""


class Unreachable(CommandError):
    """A service that is needed cannot be reached."""

    exit_code = 3
