"""Logs: one line an event, on standard error, of this program and of its libraries alike."""

import logging
import os
import sys

import structlog


def configure_logs(*, level: int = logging.INFO) -> None:
    """Sets up logging for this process: readable on a terminal, JSON lines elsewhere (COUNTERMAND_LOG decides)."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    chosen = os.environ.get("COUNTERMAND_LOG") or ("console" if sys.stderr.isatty() else "json")
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if chosen == "console"
        else structlog.processors.JSONRenderer()
    )
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
