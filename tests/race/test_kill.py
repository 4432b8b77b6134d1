"""Intake and workers killed at each of their points: nothing half done, nothing lost, nothing done twice."""

from collections.abc import Sequence
from unittest.mock import patch

import pytest
import redis

import cli.reprocessing
import tasks.changes
import tasks.effects
import tasks.reprocessing
from tests.builders import a_request, an_order, decide_all, deliver, load, order, request, rows, settle
from tests.race.cancellations import Cancellation, Record, assert_that_every_promise_is_kept, kill_everywhere
from tests.race.commit_sites import kills_around
from tests.race.crash_points import has_passed
from tests.race.taking import ALONE, WITH_THE_NEXT, Taking, taking
from tests.race.works import park
from workers.app import app

pytestmark = pytest.mark.usefixtures("system")

# These run in the processes that are killed.


def applying() -> None:
    app.finalize()
    tasks.changes.apply_changes()


def restocking() -> None:
    app.finalize()
    tasks.effects.restock()


def notifying() -> None:
    app.finalize()
    tasks.effects.notify()


def reprocessing() -> None:
    with patch.object(tasks.reprocessing, "_SLICE", 1):
        cli.reprocessing.reprocess()


def parking() -> None:
    app.finalize()
    tasks.changes.park_unknown()


# These run here.


class Applying(Cancellation):
    """A decision is there with all that belongs to it, or the order and its request are as they were."""

    def begin(self) -> None:
        super().begin()
        self._before = order(self.number)

    def look(self, passed: Sequence[str]) -> None:
        if has_passed("do a batch: commit", passed):
            assert order(self.number)["status"] == "cancelled"
            restocked, reported = (has_passed(f"do a batch: commit, {nth}", passed) for nth in (2, 3))
            states = {"restock": "done" if restocked else "pending", "notify": "done" if reported else "pending"}
            assert self.effects() == states
        else:
            assert order(self.number) == self._before
            assert (request(self.event)["state"], self.effects(), self.tries()) == ("received", {}, [0])


class Escalating(Cancellation):
    """The escalation holds its order and is decided, or neither; and it holds once, however often it is tried."""

    def begin(self) -> None:
        self.event = a_request(self.number, requester="eve@example.net")
        super().begin()

    def look(self, passed: Sequence[str]) -> None:
        is_decided = has_passed("do a batch: commit", passed)
        assert request(self.event)["state"] == ("decided" if is_decided else "received")
        assert ("held_until" in order(self.number)) == is_decided

    def check(self) -> None:
        settle()
        assert (request(self.event)["outcome"], self.effects()) == ("escalated", {"notify": "done"})
        assert order(self.number)["held_for"] == ["requester_is_not_the_customer"]
        assert self.notified() == 1
        assert_that_every_promise_is_kept()


class Restocking(Cancellation):
    """All lines are restocked and the effect is done, or neither."""

    def begin(self) -> None:
        super().begin()
        decide_all()

    def look(self, passed: Sequence[str]) -> None:
        is_done = has_passed("do a batch: commit", passed)
        assert self.effects() == {"restock": "done" if is_done else "pending", "notify": "pending"}
        assert len(self.restocked()) == (2 if is_done else 0)

    def check(self) -> None:
        assert self.effects()["restock"] == "done"
        super().check()


class Notifying(Restocking):
    """The notification is written and, as the log is its channel, the effect done, or neither."""

    def look(self, passed: Sequence[str]) -> None:
        is_done = has_passed("do a batch: commit", passed)
        assert self.effects() == {"restock": "pending", "notify": "done" if is_done else "pending"}
        assert self.notified() == is_done

    def check(self) -> None:
        assert self.effects()["notify"] == "done"
        Cancellation.check(self)


class Parking(Cancellation):
    """The request has waited in vain; once its order is there it is decided anew."""

    def begin(self) -> None:
        deliver(self.event)
        rows(
            "UPDATE change_request SET undecided_since = now() - interval '1 day' WHERE state = 'received' RETURNING 1"
        )

    def look(self, passed: Sequence[str]) -> None:
        is_parked = has_passed("park requests of unknown orders: commit", passed)
        assert request(self.event)["state"] == ("parked" if is_parked else "received")

    def check(self) -> None:
        assert (request(self.event)["state"], request(self.event)["reasons"]) == ("parked", ["unknown_order"])
        load(an_order(self.number))
        reprocessing()
        super().check()


class Reprocessing(Cancellation):
    """Two requests are parked and a restock is dead; each is revived in a transaction of its own."""

    def begin(self) -> None:
        self._dead = a_request(f"{self.number}c")
        load(an_order(f"{self.number}c"))
        deliver(self._dead)
        decide_all()
        rows("UPDATE effect SET state = 'dead' WHERE kind = 'restock' AND state = 'pending' RETURNING id")
        self._other = a_request(f"{self.number}b")
        load(an_order(self.number), an_order(f"{self.number}b"))
        for event in (self.event, self._other):
            park(event)

    def look(self, passed: Sequence[str]) -> None:
        revived = [has_passed(f"revive a slice of requests: commit{nth}", passed) for nth in ("", ", 2")]
        states = [request(event)["state"] for event in (self.event, self._other)]
        assert states == ["received" if one else "parked" for one in revived]
        is_revived = has_passed("revive effects: commit", passed)
        assert request(self._dead)["effects"][0]["state"] == ("pending" if is_revived else "dead")

    def check(self) -> None:
        assert [request(event)["state"] for event in (self.event, self._other)] == ["received", "received"]
        super().check()
        assert request(self._other)["reasons"] == ["order_cancelled"]
        assert {one["state"] for one in request(self._dead)["effects"]} == {"done"}


@kills_around("store and decide: commit", "store: commit")
def test_an_intake_killed_anywhere_once_or_twice_takes_each_entry_once(
    broker: redis.Redis, record_property: Record
) -> None:
    steps = "intake._decide_few: waking countermand.effects", WITH_THE_NEXT, ALONE
    kill_everywhere(taking, Taking(broker), record_property, *steps, crashes=2)


@kills_around("do a batch: commit")
def test_a_worker_killed_anywhere_decides_once(record_property: Record) -> None:
    steps = "do a batch: commit, 3", "effects._claim_notify.<locals>.after: telling the log"
    kill_everywhere(applying, Applying(), record_property, *steps)


@kills_around("do a batch: commit")
def test_a_worker_killed_anywhere_holds_what_it_escalates_once(record_property: Record) -> None:
    steps = "do a batch: commit", "effects._claim_notify.<locals>.after: telling the log"
    kill_everywhere(applying, Escalating(), record_property, *steps)


@kills_around("do a batch: commit")
def test_a_worker_killed_anywhere_restocks_once(record_property: Record) -> None:
    kill_everywhere(restocking, Restocking(), record_property)


@kills_around("do a batch: commit")
def test_a_worker_killed_anywhere_writes_one_notification(record_property: Record) -> None:
    steps = ("effects._claim_notify.<locals>.after: telling the log",)
    kill_everywhere(notifying, Notifying(), record_property, *steps)


@kills_around("park requests of unknown orders: commit")
def test_a_worker_killed_anywhere_parks_once(record_property: Record) -> None:
    kill_everywhere(parking, Parking(), record_property)


@kills_around("revive a slice of requests: commit", "revive effects: commit")
def test_an_operator_killed_anywhere_can_reprocess_the_rest(record_property: Record) -> None:
    steps = (
        "revive a slice of requests: commit, 2",
        "reprocessing.iterate_reprocessing: waking countermand.apply_changes, 2",
    )
    kill_everywhere(reprocessing, Reprocessing(), record_property, *steps)
