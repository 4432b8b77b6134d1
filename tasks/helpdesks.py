"""The configured helpdesks of this process, read once."""

import os
from functools import cache

from desks.registry import Helpdesks, open_desks
from tasks.settings import settings


@cache
def helpdesks() -> Helpdesks:
    """Returns the desks that COUNTERMAND_DESKS configures; none without it. Raises ConfigurationError."""
    return open_desks(settings().desks, os.environ)
