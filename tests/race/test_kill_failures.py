"""Workers killed while they count an attempt or a failure: each attempt is counted, and a failure counted once."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import text

import tasks.changes
from database.transactions import engine
from tasks.running import batches, crash_guard
from tests.builders import request, rows
from tests.race.cancellations import Cancellation, Record, kill_everywhere
from tests.race.commit_sites import kills_around
from tests.race.crash_points import has_passed
from workers.app import app

pytestmark = pytest.mark.usefixtures("system")


# These run in the processes that are killed.


def applying_warily() -> None:
    app.finalize()
    with patch.object(crash_guard, "crashed_recently", lambda: True):
        tasks.changes.apply_changes()


def applying_warily_beside_another() -> None:
    """Counts a try, and another has the order in hand when it is to be made."""
    app.finalize()
    with (
        patch.object(crash_guard, "crashed_recently", lambda: True),
        patch.object(batches, "run_batch", _while_another_has_all_orders),
    ):
        tasks.changes.apply_changes()


_run_batch = batches.run_batch


def _while_another_has_all_orders(*given: Any) -> int:
    with engine().begin() as another:
        another.execute(text("SELECT FROM orders FOR NO KEY UPDATE"))
        return _run_batch(*given)


def failing() -> None:
    app.finalize()
    with patch.object(tasks.changes, "decide_requests", _fails):
        tasks.changes.apply_changes()


def _fails(*_: Any) -> Any:
    raise ZeroDivisionError("it always fails")


# These run here.


class Counted(Cancellation):
    """How many tries are counted by now is known from the commits that were passed."""

    def begin(self) -> None:
        super().begin()
        self._counted = 0


class Warily(Counted):
    """Each try is counted before it is made, whether it is survived or not."""

    def look(self, passed: Sequence[str]) -> None:
        self._counted += has_passed("count an attempt first: commit", passed)
        assert self.tries() == [self._counted]
        is_decided = has_passed("do a batch: commit", passed)
        assert request(self.event)["state"] == ("decided" if is_decided else "received")

    def check(self) -> None:
        # The last run tries it only if it is not decided yet.
        assert self.tries()[0] - self._counted in (0, 1)
        super().check()


class Untried(Counted):
    """A try that was counted and not made counts only for whoever dies before he has taken it back."""

    def look(self, passed: Sequence[str]) -> None:
        self._counted += has_passed("count an attempt first: commit", passed)
        self._counted -= has_passed("uncount an attempt: commit", passed)
        assert (self.tries(), request(self.event)["state"]) == ([self._counted], "received")

    def check(self) -> None:
        # The last run, which nothing kills, has counted none.
        assert self.tries() == [self._counted]
        rows("UPDATE change_request SET not_before = now() WHERE state = 'received' RETURNING id")
        super().check()


class Failing(Cancellation):
    """The failure is counted once, and the request due again later; then it is decided."""

    def look(self, passed: Sequence[str]) -> None:
        assert self.tries() == [has_passed("count a failure: commit", passed)]
        assert request(self.event)["state"] == "received"

    def check(self) -> None:
        assert (self.tries(), request(self.event)["state"]) == ([1], "received")
        rows("UPDATE change_request SET not_before = now() WHERE state = 'received' RETURNING id")
        super().check()


@kills_around("count an attempt first: commit", "do a batch: commit")
def test_a_wary_worker_killed_anywhere_has_counted_each_try_and_decides_in_the_end(record_property: Record) -> None:
    kill_everywhere(applying_warily, Warily(), record_property)


@kills_around("uncount an attempt: commit")
def test_a_wary_worker_killed_anywhere_counts_no_try_that_another_kept_it_from(record_property: Record) -> None:
    kill_everywhere(applying_warily_beside_another, Untried(), record_property)


@kills_around("count a failure: commit")
def test_a_worker_killed_anywhere_counts_a_failure_once(record_property: Record) -> None:
    kill_everywhere(failing, Failing(), record_property)
