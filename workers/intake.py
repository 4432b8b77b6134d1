"""The intake: takes change requests from the broker into the inbox. `python -m workers.intake`."""

import gc
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from types import FrameType
from typing import Protocol, TypeAlias

import structlog

from configuration import ConfigurationError
from configuration.outages import Outage, describe_broker_fault
from database.faults import Fault, classify, describe_fault
from database.transactions import expect_usable
from orders.inbox import Delivery
from tasks.intake import take
from tasks.partners import address_check
from tasks.running import progress
from tasks.running.wakeups import CoalescingWaker, Waker
from workers.app import app
from workers.broker import is_stream
from workers.discovery import find_services
from workers.errors import CommandError
from workers.intake_queue import QueueSource
from workers.intake_stream import StreamSource
from workers.logs import configure_logs, end_with

_log = structlog.get_logger()

# A batch takes a second or two; an intake that hangs at one is killed. The batch is delivered again to the next, which
# only keeps it, and leaves the decisions to the worker.
_HANGS_AFTER_SECONDS = 120
# A wake-up costs a worker more than a few requests do. In a steady stream none is delayed for longer.
_WAKE_WITHIN_SECONDS = 0.2

_Take: TypeAlias = Callable[[Sequence[Delivery], Waker | None], object]


class Source(Protocol):
    """A broker's side of the intake. What was received is the broker's until it is acknowledged."""

    outages: tuple[type[Exception], ...]

    def receive(self, *, wait: bool = True) -> list[Delivery]:
        """Returns what is there; with `wait` it waits about a second for a first message."""

    def acknowledge(self) -> None:
        """Acknowledges what `receive` returned since the last call, at the latest with the next `receive`."""

    def flush(self) -> None:
        """Acknowledges now what would wait for the next `receive`."""

    def start_over(self) -> None:
        """Forgets what was received and not acknowledged: it will be received again."""

    def keep_alive(self) -> None:
        """Tells the broker that what was received is still being worked on."""


class Stop:
    """Set by SIGTERM and SIGINT: the intake ends after the present batch."""

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


class _Stopped(Exception):
    """Asked to end while a batch was being taken; it stays the broker's."""


def run(source: Source, stop: Stop) -> None:
    """Receives, takes and acknowledges until stopped; an outage of the broker or the database is waited out."""
    pauses, outage, waker = _pauses(), _outage("broker"), CoalescingWaker(_WAKE_WITHIN_SECONDS)
    unseen = Outage("takes requests, and cannot note that it does", over="notes that it takes requests again")
    try:
        while not stop.is_set():
            try:
                step(source, partial(_take_patiently, source, stop), waker)
                pauses = _pauses()
                outage.end()
                _note_progress(unseen)
            except source.outages as error:
                source.start_over()
                outage.note(error, describe_broker_fault(error))
                stop.wait(next(pauses))
            except _Stopped:
                source.start_over()
                return
        _flush(source, outage)
    finally:
        waker.flush()


def _note_progress(unseen: Outage) -> None:
    try:
        progress.note("intake")
    except Exception as error:
        if classify(error) is Fault.PERMANENT:
            raise
        unseen.note(error, describe_fault(error))
    else:
        unseen.end()


def _flush(source: Source, outage: Outage) -> None:
    try:
        source.flush()
    except source.outages as error:
        # It is delivered once more then, and known.
        outage.note(error, describe_broker_fault(error))


def step(source: Source, take_all: _Take | None = None, waker: CoalescingWaker | None = None) -> int:
    """Takes one batch: first the commit, then the acknowledgement. Returns how many deliveries it had.

    Wake-ups are delayed for as long as the next batch is there already.
    """
    deliveries = source.receive(wait=waker is None or not waker.is_pending())
    if deliveries:
        (take_all or take)(deliveries, waker)
    # Without deliveries too: an entry that was deleted while it was pending delivers nothing, and comes again until it
    # is acknowledged.
    source.acknowledge()
    if waker is not None and (not deliveries or waker.is_overdue()):
        waker.flush()
    return len(deliveries)


def _take_patiently(source: Source, stop: Stop, deliveries: Sequence[Delivery], waker: Waker | None) -> None:
    """Takes them, however long the database is away.

    Handed back, they would be delivered again and again, and a broker that counts deliveries would give them up.
    """
    outage = _outage("database")
    for pause in _pauses():
        try:
            _take_or_die(deliveries, waker)
        except Exception as error:
            if classify(error) is Fault.PERMANENT:
                raise
            outage.note(error, describe_fault(error))
            stop.wait(pause)
            if stop.is_set():
                raise _Stopped from error
            source.keep_alive()
        else:
            outage.end()
            return


def _take_or_die(deliveries: Sequence[Delivery], waker: Waker | None) -> None:
    # The signal has no handler: it ends the process, whatever that is doing.
    signal.alarm(_HANGS_AFTER_SECONDS)
    try:
        take(deliveries, waker)
    finally:
        signal.alarm(0)


def _pauses() -> Iterator[float]:
    return chain((0.2, 0.5, 1.0, 2.0), repeat(5.0))


def _outage(away: str) -> Outage:
    return Outage("cannot take requests now, they stay on the broker", over="takes requests again", away=away)


def main() -> None:
    """Runs the intake of this process's broker until it is stopped."""
    configure_logs()
    app.finalize()
    url = find_services().broker_url
    # Its file is read before anything is taken: a mistake in it is reported in one line.
    address_check()
    expect_usable()
    stop = Stop()
    stop.install()
    source: Source = StreamSource(url) if is_stream(url) else QueueSource(url)
    # As in a worker: what was imported stays, and need not be looked through for garbage.
    gc.freeze()
    _log.info("intake ready")
    run(source, stop)
    _log.info("intake stopped")


if __name__ == "__main__":
    try:
        main()
    except (CommandError, ConfigurationError) as error:
        end_with(f"intake: {error}", getattr(error, "exit_code", 2))
