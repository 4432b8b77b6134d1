"""Logs of this program and its libraries: one line for each event, on standard error."""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import NoReturn, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from configuration.urls import scrub
from workers.log_stream import LineLogger, unblocked

# At INFO, Celery logs two lines for each wake-up, the HTTP client whole URLs, and paramiko each connection and login.
_NOISY = (
    "celery.worker.strategy",
    "celery.app.trace",
    "celery.beat",
    "alembic",
    "uvicorn.error",
    "httpx2",
    "httpcore2",
    "paramiko",
)
_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
# The name of this process; empty for a command.
_process = ""

# The URLs whose passwords a library's error may quote.
_URLS = ("COUNTERMAND_DATABASE_URL", "COUNTERMAND_BROKER_URL")


def without_secrets(text: str) -> str:
    """Returns a text without the passwords of the URLs in this process's environment.

    Every output of a process goes through here: its log, its last message, the errors that a command prints.
    """
    return scrub(text, *(os.environ.get(name) for name in _URLS))


def end_with(message: str, code: int) -> NoReturn:
    """Ends this process with a line on standard error."""
    sys.stderr.write(f"{without_secrets(message)}\n")
    raise SystemExit(code)


def in_json() -> bool:
    """Returns True if logs are JSON lines: COUNTERMAND_LOG asks for it, or standard error is not a terminal."""
    chosen = os.environ.get("COUNTERMAND_LOG") or ("console" if sys.stderr.isatty() else "json")
    return chosen != "console"


def configure_logs(*, level: int = logging.INFO, process: str = "") -> None:
    """Sets up logging for this process: readable on a terminal, JSON lines elsewhere (COUNTERMAND_LOG decides).

    From now on each JSON line contains `process`. Logging never makes this process wait: lines that are not read are
    dropped and counted.
    """
    global _process  # Celery sets up logging again, without a name
    _process = process or _process
    shared: list[Processor] = [structlog.stdlib.add_log_level, _stamp, _add_process]
    renderer = _renderer()
    stream = unblocked(sys.stderr, _dropped)
    sys.excepthook = _write_traceback
    threading.excepthook = lambda ended: _write_traceback(ended.exc_type, ended.exc_value, ended.exc_traceback)
    # Our own events go straight to the stream: through `logging` each would cost four times as much, and there is
    # one for each decision.
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        logger_factory=structlog.WriteLoggerFactory(stream),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    _configure_libraries(stream, [*shared, structlog.stdlib.add_logger_name], renderer, level)


def patient_stream(seconds: float) -> TextIO:
    """Returns a stream to the log for finished lines; a write waits up to so many seconds for a slow reader."""
    return unblocked(sys.stderr, _dropped, seconds)


def log_what_is_printed() -> None:
    """Logs what libraries print, if logs are JSON."""
    if in_json():
        stream = LineLogger(structlog.get_logger().info, sys.stderr.fileno())
        # Celery also writes to the original streams.
        for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
            setattr(sys, name, stream)


def line(event: str, more: Mapping[str, object] | None = None, *, process: str, level: str = "info") -> str:
    """Returns a line of the log, without its end, as `process` would have written it."""
    made: EventDict = {"event": event, "process": process, "level": level, **(more or {})}
    return str(_renderer()(None, level, _stamp(None, level, made)))


def _dropped(lines: int) -> str:
    event = "lines of the log were dropped, they were not read in time"
    return line(event, {"lines": lines}, process=_process, level="warning") + "\n"


def _add_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if _process and in_json():
        event["process"] = _process
    return event


def _renderer() -> Processor:
    rendered: Processor = (
        structlog.processors.JSONRenderer() if in_json() else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    return lambda logger, name, event: without_secrets(str(rendered(logger, name, event)))


def _configure_libraries(stream: TextIO, shared: list[Processor], renderer: Processor, level: int) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
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
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _write_traceback(kind: type[BaseException], error: BaseException | None, at: TracebackType | None) -> None:
    """Writes a traceback as Python does."""
    sys.stderr.write(without_secrets("".join(traceback.format_exception(kind, error, at))))
