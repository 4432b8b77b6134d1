"""Logging as in production, into a text."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from unittest.mock import patch

import structlog

from workers.logs import configure_logs


@contextmanager
def logging_as_in_production(log: StringIO) -> Iterator[StringIO]:
    """Logs as a worker does, but to `log`."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    with patch.object(sys, "stderr", log):
        configure_logs()
    try:
        yield log
    finally:
        root.handlers = handlers
        root.setLevel(level)
        structlog.reset_defaults()
