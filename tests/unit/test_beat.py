"""When beat rings, and how often it looks: on a clock that goes on by as long as it says that it will sleep."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from celery import Celery
from celery.beat import ScheduleEntry

from tasks.doorbells import Doorbell
from workers.beat import Scheduler

_EVERY = {Doorbell.APPLY_CHANGES: 2, Doorbell.RESTOCK: 2, Doorbell.NOTIFY: 2, Doorbell.PARK_UNKNOWN: 10}
_SECONDS = 120
# Looking takes a moment too.
_A_LOOK = 0.0001


class _Beat:
    """Beat for two minutes: what was rung for when, and how often it looked without ringing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rung: list[tuple[float, str]] = []
        self.for_nothing = 0
        self._started = self._now = datetime(2026, 3, 1, tzinfo=UTC)
        app = Celery(set_as_current=False)
        app.conf.beat_max_loop_interval = 1
        app.conf.beat_schedule = {name: {"task": name, "schedule": seconds} for name, seconds in _EVERY.items()}
        monkeypatch.setattr(app, "now", lambda: self._now)
        monkeypatch.setattr(Scheduler, "apply_entry", self._ring)
        monkeypatch.setattr(Scheduler, "producer", None)
        self._scheduler = Scheduler(app)

    def run(self) -> None:
        while (self._now - self._started).total_seconds() < _SECONDS:
            before = len(self.rung)
            sleeps = self._scheduler.tick()
            self.for_nothing += before == len(self.rung)
            self._now += timedelta(seconds=max(0, sleeps) + _A_LOOK)

    def _ring(self, entry: ScheduleEntry, producer: None) -> None:
        self.rung.append(((self._now - self._started).total_seconds(), entry.name))


@pytest.fixture
def beat(monkeypatch: pytest.MonkeyPatch) -> _Beat:
    made = _Beat(monkeypatch)
    made.run()
    return made


def test_each_doorbell_is_rung_in_its_interval(beat: _Beat) -> None:
    rung = Counter(name for _, name in beat.rung)
    assert all(abs(rung[name] - _SECONDS / seconds) <= 1 for name, seconds in _EVERY.items()), rung


def test_the_first_ring_comes_within_the_interval(beat: _Beat) -> None:
    first = {name: when for when, name in reversed(beat.rung)}
    assert all(0 < first[name] < seconds + 0.01 for name, seconds in _EVERY.items()), first


def test_no_two_doorbells_are_rung_at_once(beat: _Beat) -> None:
    moments = [when for when, _ in beat.rung]
    assert min(later - earlier for earlier, later in pairwise(moments)) > 0.1


def test_it_does_not_look_again_and_again_until_a_ring_is_due(beat: _Beat) -> None:
    # Once a ring it has to learn how long to sleep until the next, and once a second it wakes up anyway.
    assert beat.for_nothing <= len(beat.rung) + _SECONDS
