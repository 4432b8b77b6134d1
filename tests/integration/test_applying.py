"""From the inbox to decisions, effects and what the customer is told, on the real database."""

from typing import Any

import pytest

from orders.changes import decide_requests
from tasks.batches import run_batch
from tasks.changes import CHANGES
from tests.builders import a_request, an_address, an_order, deliver, load, order, request, rows, settle

pytestmark = pytest.mark.usefixtures("system")


def test_a_cancelled_order_is_restocked_line_by_line_and_the_customer_is_told() -> None:
    load(an_order())
    event = a_request()
    deliver(event)
    settle()
    assert order()["status"] == "cancelled"
    assert [(e["action"], e["actor"], e["note"]) for e in order()["changelog"]] == [
        ("loaded", "store", None),
        ("cancelled", "helpdesk:zendesk:acme", "Ordered twice"),
    ]
    assert {tuple(row) for row in rows("SELECT sku, quantity FROM stock")} == {("RED-1", 3), ("BLUE-2", 1)}
    told = request(event)
    assert (told["state"], told["outcome"], told["reasons"]) == ("decided", "applied", ["order_cancelled"])
    assert {(e["kind"], e["state"]) for e in told["effects"]} == {("restock", "done"), ("notify", "done")}
    assert told["notification"]["visibility"] == "public"
    assert told["notification"]["body"] == told["advice"]


def test_an_abandoned_pre_order_is_not_restocked() -> None:
    load(an_order(status="pre_order"))
    event = a_request(note=None)
    deliver(event)
    settle()
    assert order()["status"] == "abandoned"
    assert request(event)["effects"][0]["kind"] == "notify"
    assert rows("SELECT * FROM stock_movement") == []


def test_later_requests_of_one_batch_see_the_order_as_the_earlier_ones_left_it() -> None:
    load(an_order())
    cancel, late = a_request(), a_request(kind="change_address", addresses={"shipping": an_address(city="Bonn")})
    deliver(cancel, late)
    settle()
    assert request(late)["reasons"] == ["order_is_closed"]


def test_a_change_of_address_is_written_down_with_before_and_after() -> None:
    load(an_order())
    deliver(a_request(kind="change_address", addresses={"shipping": an_address(city="Bonn"), "billing": {}}))
    settle()
    entry = order()["changelog"][-1]
    assert (entry["before"]["shipping"]["city"], entry["after"]["shipping"]["city"]) == ("Köln", "Bonn")
    assert order()["shipping"]["city"] == "Bonn"
    assert order()["version"] == 2


def test_an_older_request_that_comes_later_does_not_undo_a_newer_one() -> None:
    load(an_order())
    newer = a_request(
        kind="change_address", addresses={"shipping": an_address(city="Bonn")}, time="2026-11-23T10:00:00Z"
    )
    older = a_request(
        kind="change_address", addresses={"shipping": an_address(city="Aachen")}, time="2026-11-23T09:00:00Z"
    )
    deliver(newer)
    settle()
    deliver(older)
    settle()
    assert request(older)["reasons"] == ["superseded_by_newer_request"]
    assert order()["shipping"]["city"] == "Bonn"


def test_a_request_for_an_order_that_is_not_loaded_yet_waits_for_it() -> None:
    event = a_request()
    deliver(event)
    settle()
    assert request(event)["state"] == "received"
    load(an_order())
    settle()
    assert request(event)["outcome"] == "applied"


def test_a_request_that_always_fails_is_parked_and_holds_up_no_one(monkeypatch: pytest.MonkeyPatch) -> None:
    load(*(an_order(str(number)) for number in range(20)))
    events = [a_request(str(number)) for number in range(20)]

    def poisoned(open_order: Any) -> Any:
        if any(b'"order": "7"' in one.body for one in open_order.requests):
            raise ZeroDivisionError("poison")
        return decide_requests(open_order)

    monkeypatch.setattr("tasks.changes.decide_requests", poisoned)
    deliver(*events)
    for _ in range(5):
        settle()
        rows("UPDATE change_request SET not_before = now() WHERE state = 'received' RETURNING id")
    states = {event["data"]["order"]: request(event) for event in events}
    assert {number for number, found in states.items() if found["state"] != "decided"} == {"7"}
    parked = states["7"]
    assert (parked["state"], parked["reasons"]) == ("parked", ["failed_repeatedly"])
    assert parked["error"] == "ZeroDivisionError: poison"


def test_a_locked_order_is_passed_by_and_decided_later(engine: Any) -> None:
    load(an_order("1"), an_order("2"))
    held, free = a_request("1"), a_request("2")
    deliver(held, free)
    with engine.begin() as rival:
        rival.exec_driver_sql("SELECT FROM orders WHERE number = '1' FOR UPDATE")
        assert run_batch(CHANGES) == 1
        assert (request(held)["state"], request(free)["state"]) == ("received", "decided")
    assert run_batch(CHANGES) == 1
    assert request(held)["state"] == "decided"
