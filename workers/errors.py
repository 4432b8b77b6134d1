"""Errors that the `countermand` command prints in one line, with the exit code that programs can rely on."""

from typer import TyperException


class CommandError(TyperException):
    """A command cannot do what was asked; the message says what was found, what was expected, and what to do."""

    exit_code = 2


class UsageError(CommandError):
    """Wrong usage or bad input."""


class Unreachable(CommandError):
    """A service that is needed cannot be reached."""

    exit_code = 3
