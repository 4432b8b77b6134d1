"""The configured helpdesks, for a process that is about to start: a mistake in their file is told in one line."""

from configuration import ConfigurationError
from desks.registry import Helpdesks
from tasks.helpdesks import helpdesks
from workers.errors import UsageError


def find_helpdesks() -> Helpdesks:
    """Returns the desks that COUNTERMAND_DESKS configures. Raises UsageError."""
    try:
        return helpdesks()
    except ConfigurationError as error:
        raise UsageError(f"{error}; `countermand desks check` says more") from error
