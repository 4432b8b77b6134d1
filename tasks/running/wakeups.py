"""Wake-ups: Celery messages that say "look" and carry nothing. A lost one costs latency: beat rings in seconds."""

import time
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from typing import Any, TypeAlias

from amqp.exceptions import AMQPError
from celery import current_app, shared_task
from kombu.exceptions import OperationalError

from configuration.outages import Outage, describe_broker_fault
from database.faults import Fault, classify, describe_fault
from tasks.running import progress

# Nobody needs to answer an old ring: beat has rung again since. It keeps a queue without a worker short.
EXPIRES_SECONDS = 60

_unheard = Outage("could not ring, the next sweep will", over="rings again")


class WakeUp(StrEnum):
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


# Whatever rings: `ring` itself, or `CoalescingWaker`.
Waker: TypeAlias = Callable[[WakeUp], None]


def wake(wakeup: WakeUp) -> None:
    """Rings; when the broker is away, beat's next ring has to do."""
    try:
        current_app.send_task(wakeup, expires=EXPIRES_SECONDS, ignore_result=True)
    except (OperationalError, AMQPError) as error:
        _unheard.note(error, describe_broker_fault(error), wakeup=wakeup)
    except AttributeError as error:
        # So kombu says of a channel that was closed as its connection was lost (`Channel._connparams` of its Redis).
        if (error.obj, error.name) != (None, "client"):
            raise
        _unheard.note(error, "the broker cannot be reached: the connection was lost", wakeup=wakeup)
    else:
        _unheard.end()


class CoalescingWaker:
    """Holds rings back while more is coming: a worker that is woken once does the work of many batches as one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since = 0.0
        self._doorbells: set[WakeUp] = set()

    def __call__(self, wakeup: WakeUp) -> None:
        """Takes a ring."""
        if not self._doorbells:
            self._since = time.monotonic()
        self._doorbells.add(wakeup)

    def are_there(self) -> bool:
        """True while a ring is held back."""
        return bool(self._doorbells)

    def are_late(self) -> bool:
        """True once one has been held back for so many seconds."""
        return self.are_there() and time.monotonic() - self._since >= self._seconds

    def wake(self) -> None:
        """Rings, once for each wake-up; in the sequence of the decisions and what follows them."""
        for wakeup in [one for one in WakeUp if one in self._doorbells]:
            wake(wakeup)
        self._doorbells.clear()


def wakeup_task(wakeup: WakeUp, **options: Any) -> Callable[[Callable[[], None]], Any]:
    """Makes a task of what a wake-up asks for.

    An outage of the database ends it and is told in one line; beat rings again. What is unknown is Celery's to log.
    """

    def decorate(work: Callable[[], None]) -> Any:
        outage = Outage("could not be done, it is tried again", over="done again", wakeup=wakeup)

        @wraps(work)
        def answer() -> None:
            try:
                work()
                progress.note_task()
            except Exception as error:
                if classify(error) is Fault.PERMANENT:
                    raise
                outage.note(error, describe_fault(error))
            else:
                outage.end()

        return shared_task(name=wakeup, **options)(answer)

    return decorate
