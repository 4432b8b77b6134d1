"""The configured helpdesks of this process, read once."""

import os
from functools import cache

from configuration.settings import settings
from desks.config import read_file
from desks.desk import Desk
from desks.registry import Helpdesks, open_desk, open_desks


@cache
def helpdesks() -> Helpdesks:
    """Returns the desks that COUNTERMAND_DESKS configures; none without it. Raises ConfigurationError."""
    return open_desks(settings().desks, os.environ)


def desk_to_read_by(name: str) -> Desk | None:
    """Returns a desk that can read what it sent before, without any secret; None if none of this name is configured.

    Raises ConfigurationError.
    """
    path = settings().desks
    file = read_file(path) if path else None
    return open_desk(path, file, name, {}) if path and file and name in file.desks else None
