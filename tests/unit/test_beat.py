"""When beat sends wake-ups, and how often it looks: on a clock that advances by as long as beat says it sleeps."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zlib import crc32

import pytest
from celery import Celery
from celery.beat import ScheduleEntry

import celeryconfig
import workers.beat
from tasks.running.wakeups import WakeUp
from workers.beat import Scheduler

# Of the settings that nobody has changed.
SWEEP, EXPORT = 2, 30
EVERY = {
    WakeUp.APPLY_CHANGES: SWEEP,
    WakeUp.RESTOCK: SWEEP,
    WakeUp.NOTIFY: SWEEP,
    WakeUp.ANSWER: SWEEP,
    WakeUp.PARK_UNKNOWN: 5 * SWEEP,
    WakeUp.READ_TICKETS: SWEEP,
    WakeUp.LIST_TICKETS: 5 * SWEEP,
    WakeUp.EXPORT: EXPORT,
    WakeUp.READ_INBOXES: EXPORT,
}
# Each queue is asked for a sign of life, for the first time as soon as beat starts.
HEARTBEATS = {f"{WakeUp.HEARTBEAT}.{queue}": 16 for queue in ("changes", "effects", "answers", "tickets", "export")}
SECONDS = 1200
# Looking takes a moment too.
A_LOOK = 0.0001


class Beat:
    """Beat for twenty minutes: what it sent when, and how often it looked and sent nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
        self.woken: list[tuple[float, str]] = []
        self.for_nothing = 0
        self._now = now
        self._passed = 0.0
        app = Celery(set_as_current=False)
        app.conf.beat_max_loop_interval = celeryconfig.beat_max_loop_interval
        app.conf.beat_schedule = celeryconfig.beat_schedule
        monkeypatch.setattr(app, "now", lambda: self._now)
        monkeypatch.setattr(workers.beat, "monotonic", lambda: self._passed)
        monkeypatch.setattr(Scheduler, "apply_entry", self._ring)
        monkeypatch.setattr("tasks.running.progress.note", lambda _: None)
        monkeypatch.setattr(Scheduler, "producer", None)
        self._scheduler = Scheduler(app)

    def run(self, seconds: float) -> None:
        until = self._passed + seconds
        while self._passed < until:
            before = len(self.woken)
            sleeps = self._scheduler.tick()
            self.for_nothing += before == len(self.woken)
            self._go_on(max(0, sleeps) + A_LOOK)

    def set_clock(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    def _go_on(self, seconds: float) -> None:
        self._passed += seconds
        self.set_clock(seconds)

    def _ring(self, entry: ScheduleEntry, producer: None) -> None:
        self.woken.append((self._passed, entry.name))
        # A wake-up takes a millisecond or so, each its own time.
        self._go_on(0.001 + crc32(entry.name.encode()) % 1000 / 1_000_000)


@pytest.fixture
def beat(monkeypatch: pytest.MonkeyPatch) -> Beat:
    return Beat(monkeypatch, datetime(2026, 3, 1, 12, 0, 0, 700_000, tzinfo=UTC))


def test_each_doorbell_is_rung_once_an_interval(beat: Beat) -> None:
    beat.run(SECONDS)
    swept = {name: SECONDS / seconds for name, seconds in EVERY.items()}
    asked = {name: 1 + SECONDS / seconds for name, seconds in HEARTBEATS.items()}
    assert Counter(name for _, name in beat.woken) == swept | asked


def test_each_queue_is_asked_for_a_sign_of_life_as_soon_as_beat_starts(beat: Beat) -> None:
    beat.run(0.1)
    assert {name for _, name in beat.woken} >= HEARTBEATS.keys()


def test_the_first_ring_comes_within_the_interval(beat: Beat) -> None:
    beat.run(SECONDS)
    first = {name: when for when, name in reversed(beat.woken)}
    assert all(first[name] < seconds + 0.01 for name, seconds in EVERY.items()), first


def test_no_two_wake_ups_are_sent_at_once_however_long_it_runs(beat: Beat) -> None:
    beat.run(0.1)
    beat.woken.clear()
    beat.run(SECONDS)
    moments = [when for when, _ in beat.woken]
    # Each has its share of the shortest interval, and a wake-up takes a moment.
    assert min(later - earlier for earlier, later in pairwise(moments)) > 0.9 * SWEEP / (len(EVERY) + len(HEARTBEATS))


def test_it_does_not_look_again_and_again_until_a_ring_is_due(beat: Beat) -> None:
    beat.run(SECONDS)
    # Once a wake-up it has to learn how long to sleep until the next, and once a second it wakes up anyway.
    assert beat.for_nothing <= len(beat.woken) + SECONDS


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_it_goes_on_when_the_clock_is_set(beat: Beat, seconds: float) -> None:
    beat.run(10)
    beat.set_clock(seconds)
    beat.woken.clear()
    beat.run(SECONDS)
    woken = Counter(name for _, name in beat.woken)
    assert all(abs(woken[name] - SECONDS / every) <= 1 for name, every in EVERY.items()), woken
