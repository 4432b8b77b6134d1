"""A request whose `time` lies ahead: it counts as asked when it was received, and stands against no later one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from database.transactions import in_transaction
from orders.inbox import Delivery
from orders.messages import parse_change
from orders.reprocessing import Filter, preview
from tasks.intake import take
from tasks.partners import address_check
from tests.builders import a_request, an_address, an_order, decide_all, deliver, encoded, load, order, request, rows

pytestmark = pytest.mark.usefixtures("system")

FAR_AHEAD = "2098-01-01T00:00:00Z"


def moving(city: str, time: str, **changes: Any) -> dict[str, Any]:
    return a_request(kind="change_address", time=time, addresses={"shipping": an_address(city=city)}, **changes)


def at(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


def decide(how: str, event: dict[str, Any]) -> None:
    if how == "at once":
        take([Delivery("test", None, encoded(event))])
    else:
        deliver(event)
        decide_all()


@pytest.mark.parametrize("how", ["at once", "by a worker"])
def test_a_time_far_ahead_is_the_moment_of_receipt_and_later_changes_count(how: str) -> None:
    load(an_order())
    first, second, older = moving("Bonn", FAR_AHEAD), moving("Aachen", at(0.5)), moving("Essen", "2026-11-23T09:00:00Z")
    for event in (first, second, older):
        decide(how, event)
    reasons = [request(event)["reasons"] for event in (first, second, older)]
    assert reasons == [["shipping_address_changed"]] * 2 + [["superseded_by_newer_request"]]
    assert order()["shipping"]["city"] == "Aachen"
    notes = [entry["note"] for entry in order()["changelog"] if entry["action"] == "shipping_address_changed"]
    assert notes[0].startswith("Ordered twice\nIts time, 2098-01-01T00:00:00Z, lay ahead")
    assert notes[1] == "Ordered twice"


@pytest.mark.parametrize("how", ["at once", "by a worker"])
def test_a_time_a_few_minutes_ahead_is_a_clock_that_goes_fast_and_is_taken_as_it_is(how: str) -> None:
    load(an_order())
    time = at(4)
    decide(how, moving("Bonn", time, note=None))
    [[asked_at]] = rows("SELECT shipping_asked_at FROM orders")
    assert asked_at == datetime.fromisoformat(time)
    assert order()["changelog"][-1]["note"] is None


def test_one_that_waits_long_counts_as_asked_when_it_was_received_and_not_when_it_is_decided() -> None:
    waiting = moving("Bonn", FAR_AHEAD)
    deliver(waiting)
    load(an_order())
    decide_all()
    [[asked_at, received_at]] = rows("SELECT shipping_asked_at, received_at FROM orders, change_request")
    assert asked_at == received_at


def test_a_preview_counts_the_moment_of_receipt_too() -> None:
    load(an_order())
    event = moving("Bonn", FAR_AHEAD)
    deliver(event)
    rows(
        "UPDATE change_request SET state = 'parked', parked_at = now(), reasons = '{failed_repeatedly}' RETURNING id",
    )
    rows("UPDATE orders SET shipping_asked_at = now() + interval '1 hour' RETURNING id")
    [shown] = in_transaction(lambda connection: preview(connection, Filter(), check=address_check())).shown
    assert shown["reasons"] == ["superseded_by_newer_request"]


def test_the_same_data_with_another_time_is_a_repeat() -> None:
    load(an_order())
    event = moving("Bonn", FAR_AHEAD)
    assert take([Delivery("test", None, encoded(event))]).new == 1
    for time in (FAR_AHEAD, at(0), at(600)):
        assert take([Delivery("test", None, encoded({**event, "time": time}))]).repeated == 1


def test_where_nobody_knows_when_it_was_received_its_time_counts() -> None:
    message = parse_change(encoded(moving("Bonn", FAR_AHEAD)))
    received = datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert message.to_rules().asked_at == message.time
    assert message.to_rules(received).asked_at == received
    for minutes, counts in ((5, message.time), (6, message.time - timedelta(minutes=6))):
        assert message.to_rules(message.time - timedelta(minutes=minutes)).asked_at == counts
