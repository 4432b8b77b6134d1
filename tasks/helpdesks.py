"""The configured helpdesks of this process, read once."""

import os
from functools import cache

import structlog

from configuration.settings import settings
from desks.config import read_file
from desks.desk import Desk
from desks.registry import Helpdesks, open_desk, open_desks, texts_of
from desks.texts import OUR_TEXTS, Texts

_log = structlog.get_logger()


@cache
def helpdesks() -> Helpdesks:
    """Returns the desks that COUNTERMAND_DESKS configures; none without it. Raises ConfigurationError."""
    return open_desks(settings().desks, os.environ)


@cache
def store_texts() -> Texts:
    """Returns the texts to write with; what is wrong with the store's own is logged. Raises ConfigurationError."""
    path = settings().desks
    texts = texts_of(path, read_file(path)) if path else OUR_TEXTS
    for problem in texts.problems:
        _log.warning("a text of the store cannot be used", problem=problem)
    return texts


def desk_to_read_by(name: str) -> Desk | None:
    """Returns a desk that can read what it sent before, without any secret; None if none of this name is configured.

    Raises ConfigurationError.
    """
    path = settings().desks
    file = read_file(path) if path else None
    return open_desk(path, file, name, {}) if path and file and name in file.desks else None
