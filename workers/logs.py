"""Logs: one line an event, on standard error, of this program and of its libraries alike."""

import logging
import os
import sys
import threading
import traceback
from types import TracebackType
from typing import NoReturn

import structlog

from configuration.urls import scrub

# The URLs whose passwords an error of a library may quote.
_URLS = ("COUNTERMAND_DATABASE_URL", "COUNTERMAND_BROKER_URL")


def without_secrets(text: str) -> str:
    """Returns what may be shown of a text: without the passwords of the URLs in this process's environment.

    All that a process says goes through here: its log, its last words, what a command tells.
    """
    return scrub(text, *(os.environ.get(name) for name in _URLS))


def end_with(message: str, code: int) -> NoReturn:
    """Ends this process with a line on standard error."""
    sys.stderr.write(f"{without_secrets(message)}\n")
    raise SystemExit(code)


def configure_logs(*, level: int = logging.INFO) -> None:
    """Sets up logging for this process: readable on a terminal, JSON lines elsewhere (COUNTERMAND_LOG decides)."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    chosen = os.environ.get("COUNTERMAND_LOG") or ("console" if sys.stderr.isatty() else "json")
    rendered: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if chosen == "console"
        else structlog.processors.JSONRenderer()
    )

    def renderer(logger: structlog.types.WrappedLogger, name: str, event: structlog.types.EventDict) -> str:
        return without_secrets(str(rendered(logger, name, event)))

    sys.excepthook = _say_why
    threading.excepthook = lambda ended: _say_why(ended.exc_type, ended.exc_value, ended.exc_traceback)
    # Our own events go straight to the stream: through `logging` each would cost four times as much, and whoever tells
    # his decisions to the log writes one for each.
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # Celery logs two lines a doorbell at INFO; a doorbell is no event. The HTTP client logs whole URLs, and
    # paramiko each connection and login.
    for noisy in (
        "celery.worker.strategy",
        "celery.app.trace",
        "celery.beat",
        "alembic",
        "uvicorn.error",
        "httpx2",
        "httpcore2",
        "paramiko",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _say_why(kind: type[BaseException], error: BaseException | None, at: TracebackType | None) -> None:
    """Writes a traceback as Python does."""
    sys.stderr.write(without_secrets("".join(traceback.format_exception(kind, error, at))))
