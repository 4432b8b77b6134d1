"""Doorbells: Celery messages that say "look" and carry nothing. A lost one costs latency: beat rings in seconds."""

from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from typing import Any

from amqp.exceptions import AMQPError
from celery import current_app, shared_task
from kombu.exceptions import OperationalError

from orders.faults import Fault, classify, told
from tasks.outages import Outage, broker_told

# Nobody needs to answer an old ring: beat has rung again since. It keeps a queue without a worker short.
EXPIRES_SECONDS = 60

_unheard = Outage("could not ring, the next sweep will", over="rings again")


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
        _unheard.note(error, broker_told(error), doorbell=doorbell)
    else:
        _unheard.end()


def rung_by(doorbell: Doorbell, **options: Any) -> Callable[[Callable[[], None]], Any]:
    """Makes a task of what a doorbell asks for.

    An outage of the database ends it and is told in one line; beat rings again. What is unknown is Celery's to log.
    """

    def decorate(work: Callable[[], None]) -> Any:
        outage = Outage("could not be done, it is tried again", over="done again", doorbell=doorbell)

        @wraps(work)
        def answer() -> None:
            try:
                work()
            except Exception as error:
                if classify(error) is Fault.WORK:
                    raise
                outage.note(error, told(error))
            else:
                outage.end()

        return shared_task(name=doorbell, **options)(answer)

    return decorate
