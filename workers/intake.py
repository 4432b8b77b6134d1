"""The intake: takes change requests from the broker into the inbox. `python -m workers.intake`."""

import signal
import threading
from types import FrameType
from typing import Protocol

import structlog
from sqlalchemy.exc import DBAPIError

from orders.faults import Fault, classify
from orders.inbox import Delivery
from tasks.intake import take
from workers.app import app
from workers.broker import is_stream
from workers.discovery import find_services
from workers.errors import CommandError
from workers.intake_queue import QueueSource
from workers.intake_stream import StreamSource
from workers.logs import configure_logs

_log = structlog.get_logger()

# Pauses while the broker or the database is away: growing to the last, and then staying there.
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)


class Source(Protocol):
    """A broker's side of the intake. What was received is the broker's until it is acknowledged."""

    outages: tuple[type[Exception], ...]

    def receive(self) -> list[Delivery]:
        """Returns what is there, waiting about a second for a first message."""

    def acknowledge(self) -> None:
        """Acknowledges everything that `receive` returned since the last call."""

    def start_over(self) -> None:
        """Forgets what was received and not acknowledged: it will be received again."""


class Stop:
    """Set by SIGTERM and SIGINT: the intake ends after the batch in hand."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def install(self) -> None:
        """Takes over the signals of this process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.set)

    def set(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Asks the intake to end."""
        self._event.set()

    def is_set(self) -> bool:
        """True once the intake shall end."""
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Pauses, but not past a stop."""
        self._event.wait(seconds)


def run(source: Source, stop: Stop) -> None:
    """Receives, takes and acknowledges until stopped; an outage of the broker or the database is waited out."""
    failures = 0
    while not stop.is_set():
        try:
            step(source)
            failures = 0
        except Exception as error:
            if not _is_outage(source, error):
                raise
            pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
            failures += 1
            _log.warning("cannot take requests now", error=str(error).partition("\n")[0], again_in_seconds=pause)
            source.start_over()
            stop.wait(pause)


def _is_outage(source: Source, error: Exception) -> bool:
    return isinstance(error, source.outages) or (isinstance(error, DBAPIError) and classify(error) is not Fault.WORK)


def step(source: Source) -> int:
    """Takes one batch: first the commit, then the acknowledgement. Returns how many deliveries it had."""
    deliveries = source.receive()
    if deliveries:
        take(deliveries)
    # Without deliveries too: an entry that was deleted while it was pending delivers nothing, and comes again until it
    # is acknowledged.
    source.acknowledge()
    return len(deliveries)


def main() -> None:
    """Runs the intake of this process's broker until it is stopped."""
    configure_logs()
    app.finalize()
    url = find_services().broker_url
    stop = Stop()
    stop.install()
    source: Source = StreamSource(url) if is_stream(url) else QueueSource(url)
    _log.info("intake ready")
    run(source, stop)
    _log.info("intake stopped")


if __name__ == "__main__":
    try:
        main()
    except CommandError as error:
        raise SystemExit(f"intake: {error}") from error
