"""Wake-ups: Celery messages without arguments. A lost wake-up only adds latency, because beat sends another."""

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

# An old wake-up is useless, because beat has sent another since. Expiry keeps the queue short while no worker runs.
EXPIRES_SECONDS = 60

_not_sent = Outage("could not send a wake-up, beat will send one", over="sends wake-ups again")


class WakeUp(StrEnum):
    """The tasks that can be woken, by their Celery names."""

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


# What sends a wake-up: `wake` itself, or a `CoalescingWaker`.
Waker: TypeAlias = Callable[[WakeUp], None]


def wake(wakeup: WakeUp) -> None:
    """Sends a wake-up. When the broker is away this only logs: beat sends the next one."""
    try:
        current_app.send_task(wakeup, expires=EXPIRES_SECONDS, ignore_result=True)
    except (OperationalError, AMQPError) as error:
        _not_sent.note(error, describe_broker_fault(error), wakeup=wakeup)
    except AttributeError as error:
        # What kombu raises for a channel whose connection was lost (`Channel._connparams` of its Redis transport).
        if (error.obj, error.name) != (None, "client"):
            raise
        _not_sent.note(error, "the broker cannot be reached: the connection was lost", wakeup=wakeup)
    else:
        _not_sent.end()


class CoalescingWaker:
    """Holds wake-ups back while more work arrives, so that one wake-up serves many batches."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since = 0.0
        self._pending: set[WakeUp] = set()

    def __call__(self, wakeup: WakeUp) -> None:
        """Remembers a wake-up."""
        if not self._pending:
            self._since = time.monotonic()
        self._pending.add(wakeup)

    def is_pending(self) -> bool:
        """True while a wake-up is held back."""
        return bool(self._pending)

    def is_overdue(self) -> bool:
        """True once a wake-up has been held back for the configured seconds."""
        return self.is_pending() and time.monotonic() - self._since >= self._seconds

    def flush(self) -> None:
        """Sends each pending wake-up once, in the order of `WakeUp`: decisions before what follows them."""
        for wakeup in [one for one in WakeUp if one in self._pending]:
            wake(wakeup)
        self._pending.clear()


def wakeup_task(wakeup: WakeUp, **options: Any) -> Callable[[Callable[[], None]], Any]:
    """Makes a Celery task of a function.

    A database outage ends the task with one log line, and beat wakes it again. Celery logs any other failure.
    """

    def decorate(work: Callable[[], None]) -> Any:
        outage = Outage("task failed for now, it will be tried again", over="task works again", wakeup=wakeup)

        @wraps(work)
        def run() -> None:
            try:
                work()
                progress.note_task()
            except Exception as error:
                if classify(error) is Fault.PERMANENT:
                    raise
                outage.note(error, describe_fault(error))
            else:
                outage.end()

        return shared_task(name=wakeup, **options)(run)

    return decorate
