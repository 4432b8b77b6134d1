"""Workers killed with SIGKILL inside and just after their transactions: nothing half done, nothing done twice."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
import redis
from sqlalchemy import event

import tasks.changes
from orders.audit import audit
from tasks.batches import run_batch
from tasks.changes import CHANGES
from tasks.database import engine, in_transaction
from tasks.settings import settings
from tests.builders import a_request, an_order, deliver, encoded, load, order, request, rows, settle
from tests.race.kills import kill_at_the_point, stop_here
from workers.broker import FIELD, GROUP, STREAM
from workers.embedded import Services
from workers.intake import step
from workers.intake_stream import StreamSource

pytestmark = pytest.mark.usefixtures("system")

CONSUMER = "intake-1"


# These run in the processes that are killed.


def apply_up_to_the_commit() -> None:
    event.listen(engine(), "commit", stop_here)
    run_batch(CHANGES)


def apply_up_to_the_doorbells() -> None:
    with patch.object(tasks.changes, "ring", stop_here):
        run_batch(CHANGES)


def take_up_to_the_commit() -> None:
    event.listen(engine(), "commit", stop_here)
    step(StreamSource(str(settings().broker_url), CONSUMER))


def take_up_to_the_acknowledgement() -> None:
    source = StreamSource(str(settings().broker_url), CONSUMER)
    with patch.object(source, "acknowledge", stop_here):
        step(source)


# These run here.


@pytest.fixture
def broker(system: Services) -> Iterator[redis.Redis]:
    """The broker, as an integration and an operator see it."""
    with redis.Redis.from_url(system.broker_url) as client:
        yield client


def assert_that_it_was_cancelled_once(event: dict[str, Any]) -> None:
    settle()
    assert [entry["action"] for entry in order()["changelog"]] == ["loaded", "cancelled"]
    assert request(event)["reasons"] == ["order_cancelled"]
    assert {tuple(row) for row in rows("SELECT sku, quantity FROM stock")} == {("RED-1", 3), ("BLUE-2", 1)}
    assert rows("SELECT count(*) FROM notification") == [(1,)]
    found = in_transaction(lambda connection: audit(connection, patience=timedelta(minutes=15)))
    assert [check for check in found["checks"] if check["violations"]] == []


def test_a_worker_killed_before_the_commit_of_its_decision_has_done_nothing_and_another_decides_once() -> None:
    load(an_order())
    event = a_request()
    deliver(event)
    before = order()
    kill_at_the_point(apply_up_to_the_commit)
    assert order() == before
    assert (request(event)["state"], request(event)["effects"]) == ("received", [])
    assert rows("SELECT attempts FROM change_request") == [(0,)]
    assert_that_it_was_cancelled_once(event)


def test_a_worker_killed_after_the_commit_of_its_decision_leaves_the_effects_to_the_next_sweep() -> None:
    load(an_order())
    event = a_request()
    deliver(event)
    kill_at_the_point(apply_up_to_the_doorbells)
    assert order()["status"] == "cancelled"
    assert {(effect["kind"], effect["state"]) for effect in request(event)["effects"]} == {
        ("restock", "pending"),
        ("notify", "pending"),
    }
    assert_that_it_was_cancelled_once(event)


@pytest.mark.parametrize(("killed", "taken"), [(take_up_to_the_commit, 0), (take_up_to_the_acknowledgement, 1)])
def test_an_intake_killed_before_its_acknowledgement_gets_the_entry_again_and_takes_it_once(
    killed: Callable[[], None], taken: int, broker: redis.Redis
) -> None:
    load(an_order())
    event = a_request()
    broker.xadd(STREAM, {FIELD: encoded(event)})
    kill_at_the_point(killed)
    assert rows("SELECT count(*) FROM change_request") == [(taken,)]
    assert broker.xpending(STREAM, GROUP)["pending"] == 1
    settle()
    again = StreamSource(str(settings().broker_url), CONSUMER)
    assert step(again) == 1
    assert (broker.xlen(STREAM), broker.xpending(STREAM, GROUP)["pending"]) == (0, 0)
    assert rows("SELECT count(*) FROM change_request") == [(1,)]
    assert rows("SELECT count(*) FROM dead_letter") == [(0,)]
    assert_that_it_was_cancelled_once(event)
