"""Doorbells: Celery messages that say "look" and carry nothing. A lost one costs latency: beat rings in seconds."""

from enum import StrEnum

import structlog
from amqp.exceptions import AMQPError
from celery import current_app
from kombu.exceptions import OperationalError

_log = structlog.get_logger()

# Nobody needs to answer an old ring: beat has rung again since. It keeps a queue without a worker short.
EXPIRES_SECONDS = 60


class Doorbell(StrEnum):
    """The tasks that can be rung for, by their Celery names."""

    APPLY_CHANGES = "countermand.apply_changes"
    RESTOCK = "countermand.restock"
    NOTIFY = "countermand.notify"
    ANSWER = "countermand.answer"
    EXPORT = "countermand.export"
    READ_INBOXES = "countermand.read_inboxes"
    PARK_UNKNOWN = "countermand.park_unknown"


def ring(doorbell: Doorbell) -> None:
    """Rings; when the broker is away, beat's next ring has to do."""
    try:
        current_app.send_task(doorbell, expires=EXPIRES_SECONDS, ignore_result=True)
    except (OperationalError, AMQPError) as error:
        _log.warning("could not ring, the next sweep will", doorbell=doorbell, error=str(error))
