"""Doorbells: Celery messages that say "look" and carry nothing. A lost one costs latency: beat rings in seconds."""

import time
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from typing import Any, TypeAlias

from amqp.exceptions import AMQPError
from celery import current_app, shared_task
from kombu.exceptions import OperationalError

from configuration.outages import Outage, broker_told
from database.faults import Fault, classify, told
from tasks.running import progress

# Nobody needs to answer an old ring: beat has rung again since. It keeps a queue without a worker short.
EXPIRES_SECONDS = 60

_unheard = Outage("could not ring, the next sweep will", over="rings again")


class Doorbell(StrEnum):
    """The tasks that can be rung for, by their Celery names."""

    APPLY_CHANGES = "countermand.apply_changes"
    RESTOCK = "countermand.restock"
    NOTIFY = "countermand.notify"
    EFFECTS = "countermand.effects"
    ANSWER = "countermand.answer"
    EXPORT = "countermand.export"
    READ_INBOXES = "countermand.read_inboxes"
    PARK_UNKNOWN = "countermand.park_unknown"
    NOTE = "countermand.note"
    READ_TICKETS = "countermand.read_tickets"
    LIST_TICKETS = "countermand.list_tickets"
    HEARTBEAT = "countermand.heartbeat"


# Whatever rings: `ring` itself, or `HeldBack`.
Bell: TypeAlias = Callable[[Doorbell], None]


def ring(doorbell: Doorbell) -> None:
    """Rings; when the broker is away, beat's next ring has to do."""
    try:
        current_app.send_task(doorbell, expires=EXPIRES_SECONDS, ignore_result=True)
    except (OperationalError, AMQPError) as error:
        _unheard.note(error, broker_told(error), doorbell=doorbell)
    except AttributeError as error:
        # So kombu says of a channel that was closed as its connection was lost (`Channel._connparams` of its Redis).
        if (error.obj, error.name) != (None, "client"):
            raise
        _unheard.note(error, "the broker cannot be reached: the connection was lost", doorbell=doorbell)
    else:
        _unheard.end()


class HeldBack:
    """Holds rings back while more is coming: a worker that is woken once does the work of many batches as one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since = 0.0
        self._doorbells: set[Doorbell] = set()

    def __call__(self, doorbell: Doorbell) -> None:
        """Takes a ring."""
        if not self._doorbells:
            self._since = time.monotonic()
        self._doorbells.add(doorbell)

    def are_there(self) -> bool:
        """True while a ring is held back."""
        return bool(self._doorbells)

    def are_late(self) -> bool:
        """True once one has been held back for so many seconds."""
        return self.are_there() and time.monotonic() - self._since >= self._seconds

    def ring(self) -> None:
        """Rings, once for each doorbell; in the sequence of the decisions and what follows them."""
        for doorbell in [one for one in Doorbell if one in self._doorbells]:
            ring(doorbell)
        self._doorbells.clear()


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
                progress.note_task()
            except Exception as error:
                if classify(error) is Fault.WORK:
                    raise
                outage.note(error, told(error))
            else:
                outage.end()

        return shared_task(name=doorbell, **options)(answer)

    return decorate
