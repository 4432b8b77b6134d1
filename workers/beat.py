"""Beat's scheduler: Celery's own, but for when it wakes up, what it says when it cannot ring, and what it does when
nobody answers."""

from time import monotonic
from typing import Any

import celery.beat
import structlog

from configuration.outages import Outage, describe_broker_fault
from database.faults import Fault, classify, describe_fault
from database.transactions import NoDatabase
from tasks.running import progress
from workers.broker import BROKER_OUTAGES

_log = structlog.get_logger()

# More than a flood makes while its workers are busy. So many wait only where no worker runs.
MOST_WAKEUPS = 1000


class Scheduler(celery.beat.Scheduler):  # type: ignore[misc]  # Celery is untyped
    """Rings as the schedule in celeryconfig.py says."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Celery would log two stacks for each ring that fails.
        self._unheard = Outage("beat could not ring, its next ring will do", over="beat rings again")
        self._unseen = Outage("beat rings, and cannot note that it does", over="beat notes that it rings again")
        super().__init__(*arguments, **options)

    def _when(self, _entry: Any, seconds: float, *_: Any) -> float:
        """Returns when an entry is to be looked at, in so many seconds, by a clock that nobody sets.

        By Celery's own, beat is silent for as long as the machine's clock is set back; and it wakes up 10 ms early,
        and looks again and again until a ring is due.
        """
        return monotonic() + seconds

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Rings for what is due, and notes that it does; returns how many seconds it may sleep."""
        sleeps: float = super().tick(*arguments, **options)
        try:
            progress.note("beat")
        except NoDatabase as error:
            # It rings all the same.
            self._unseen.note(error, str(error))
        except Exception as error:
            if classify(error) is Fault.PERMANENT:
                raise
            self._unseen.note(error, describe_fault(error))
        else:
            self._unseen.end()
        return sleeps

    def apply_entry(self, entry: Any, producer: Any) -> None:
        """Rings once, and throws away wake-ups that nobody answers."""
        try:
            # First: it mends the connection.
            self.apply_async(entry, producer=producer, advance=False)
            self._clear(self.app.amqp.router.route(dict(entry.options), entry.task)["queue"](producer.channel))
        except (celery.beat.SchedulingError, *BROKER_OUTAGES) as error:
            self._unheard.note(error, describe_broker_fault(error))
        else:
            self._unheard.end()

    def _clear(self, queue: Any) -> None:
        """Keeps the broker's memory from filling with wake-ups: the next ring does what all of them would."""
        waiting = queue.queue_declare().message_count
        if waiting > MOST_WAKEUPS:
            queue.purge()
            _log.warning("nobody answers the wake-ups, is a worker missing?", queue=queue.name, thrown_away=waiting)
