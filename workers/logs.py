"""Logs: one line an event, on standard error, of this program and of its libraries alike."""

import logging
import os
import sys

import structlog


def configure_logs(*, level: int = logging.INFO) -> None:
    """Sets up logging for this process: readable on a terminal, JSON lines elsewhere (COUNTERMAND_LOG decides)."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    chosen = os.environ.get("COUNTERMAND_LOG") or ("console" if sys.stderr.isatty() else "json")
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if chosen == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
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
    # Celery logs two lines a doorbell at INFO; a doorbell is no event.
    for noisy in ("celery.worker.strategy", "celery.app.trace", "celery.beat", "alembic", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
