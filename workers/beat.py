"""Beat's scheduler: Celery's, except for its clock, its log during outages of the broker, and surplus wake-ups."""

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

# More than busy workers ever leave in a queue; only without workers do so many wait.
MOST_WAKEUPS = 1000


class Scheduler(celery.beat.Scheduler):  # type: ignore[misc]  # Celery is untyped
    """Sends wake-ups by the schedule of celeryconfig.py."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Celery would log two stack traces for each wake-up that fails.
        self._not_sent = Outage("beat could not send a wake-up, it will send another", over="beat sends wake-ups again")
        self._not_recorded = Outage("beat cannot record its progress", over="beat records its progress again")
        super().__init__(*arguments, **options)

    def _when(self, _entry: Any, seconds: float, *_: Any) -> float:
        """Returns when to look at an entry, `seconds` from now, on the monotonic clock.

        On Celery's wall clock beat stays silent for as long as the machine's clock is set back, and it wakes up 10 ms
        early and spins until an entry is due.
        """
        return monotonic() + seconds

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Sends the wake-ups that are due and records progress; returns how many seconds beat may sleep."""
        sleeps: float = super().tick(*arguments, **options)
        try:
            progress.note("beat")
        except NoDatabase as error:
            # Wake-ups need no database.
            self._not_recorded.note(error, str(error))
        except Exception as error:
            if classify(error) is Fault.PERMANENT:
                raise
            self._not_recorded.note(error, describe_fault(error))
        else:
            self._not_recorded.end()
        return sleeps

    def apply_entry(self, entry: Any, producer: Any) -> None:
        """Sends one wake-up, and discards those that no worker consumes."""
        try:
            # First, because it repairs the connection.
            self.apply_async(entry, producer=producer, advance=False)
            self._clear(self.app.amqp.router.route(dict(entry.options), entry.task)["queue"](producer.channel))
        except (celery.beat.SchedulingError, *BROKER_OUTAGES) as error:
            self._not_sent.note(error, describe_broker_fault(error))
        else:
            self._not_sent.end()

    def _clear(self, queue: Any) -> None:
        """Purges a queue that grows too long, to save the broker's memory: one wake-up does the work of all."""
        waiting = queue.queue_declare().message_count
        if waiting > MOST_WAKEUPS:
            queue.purge()
            _log.warning("no worker consumes the wake-ups, is one missing?", queue=queue.name, discarded=waiting)
