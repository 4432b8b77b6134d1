"""From the inbox to decisions, effects and answers, on the real database."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection

from database.transactions import in_transaction
from orders.changes import AddressCheck, claim_open_orders, decide_requests
from tasks.changes import CHANGES, apply_changes
from tasks.running.batches import run_batch
from tests.builders import DECIDING, a_request, an_address, an_order, deliver, load, order, request, rows, settle

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
    reported = request(event)
    assert (reported["state"], reported["outcome"], reported["reasons"]) == ("decided", "applied", ["order_cancelled"])
    assert {(e["kind"], e["state"]) for e in reported["effects"]} == {("restock", "done"), ("notify", "done")}
    assert reported["notification"]["visibility"] == "public"
    assert f"\n\n{reported['advice']}\n\n" in reported["notification"]["body"]


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

    def poisoned(open_order: Any, check: AddressCheck) -> Any:
        if any(b'"order": "7"' in one.body for one in open_order.requests):
            raise ZeroDivisionError("poison")
        return decide_requests(open_order, check)

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
        assert run_batch(DECIDING) == 1
        assert (request(held)["state"], request(free)["state"]) == ("received", "decided")
    assert run_batch(DECIDING) == 1
    assert request(held)["state"] == "decided"


# What a batch takes


def wait_for_their_next_try(*events: dict[str, Any]) -> None:
    later = (
        "UPDATE change_request SET not_before = now() + interval '1 hour' WHERE external_id = ANY(:ids) RETURNING id"
    )
    rows(later, ids=[event["id"] for event in events])


def taken(limit: int, *, among: list[dict[str, Any]] | None = None) -> list[list[str]]:
    """Claims a batch and lets it go again; returns the requests that it took, order by order."""
    ids = [event["id"] for event in among or []]
    wanted = [row.id for row in rows("SELECT id FROM change_request WHERE external_id = ANY(:ids)", ids=ids)]

    def claim(connection: Connection) -> list[list[str]]:
        claimed = claim_open_orders(connection, limit=limit, among=None if among is None else wanted)
        return [[json.loads(one.body)["id"] for one in open_order.requests] for open_order in claimed]

    return in_transaction(claim)


def test_a_request_is_decided_though_a_thousand_older_ones_wait_for_orders_that_nobody_loaded() -> None:
    load(an_order())
    deliver(*(a_request(f"unknown-{number}") for number in range(1_000)))
    event = a_request()
    deliver(event)
    assert run_batch(DECIDING) == 1
    assert request(event)["state"] == "decided"
    assert run_batch(DECIDING) == 0


def test_orders_that_wait_for_a_next_try_hide_none_that_need_not_however_small_the_batch() -> None:
    load(*(an_order(str(number)) for number in range(6)))
    earlier = [a_request(str(number)) for number in range(5)]
    later = [a_request(str(number)) for number in range(6)]
    deliver(*earlier)
    wait_for_their_next_try(*earlier)
    deliver(*later)
    assert taken(2) == [[later[5]["id"]]]
    assert taken(1) == [[later[5]["id"]]]


def test_requests_that_wait_for_a_next_try_use_up_no_place_in_a_batch() -> None:
    load(an_order("1"), an_order("2"))
    waiting, behind, free = [a_request("1"), a_request("1")], a_request("1"), a_request("2")
    deliver(*waiting)
    wait_for_their_next_try(*waiting)
    deliver(behind, free)
    assert taken(2) == [[free["id"]]]


def test_a_batch_takes_the_oldest_requests_first_also_behind_those_that_wait() -> None:
    load(*(an_order(str(number)) for number in (7, 8, 9)))
    events = [a_request(str(number)) for number in (9, 7, 8)]
    deliver(*(a_request(f"unknown-{number}") for number in range(4)), *events)
    assert taken(2) == [[events[0]["id"]], [events[1]["id"]]]


def test_of_an_order_with_more_requests_than_a_batch_holds_the_oldest_are_taken() -> None:
    load(an_order("1"), an_order("2"))
    first, second, third = a_request("1"), a_request("1"), a_request("1")
    deliver(first, a_request("2"), second, third)
    assert taken(1) == [[first["id"]]]
    assert sorted(taken(3), key=len)[1] == [first["id"], second["id"]]


def test_a_batch_that_is_narrowed_to_some_requests_takes_none_of_them_before_an_older_one_of_its_order() -> None:
    load(an_order("1"), an_order("2"))
    older, newer, other = a_request("1"), a_request("1"), a_request("2")
    deliver(older, newer, other)
    assert taken(9, among=[newer, other]) == [[other["id"]]]
    assert taken(9, among=[older, newer]) == [[older["id"], newer["id"]]]
    assert taken(9, among=[]) == []


def test_thousands_of_requests_are_decided_in_one_batch() -> None:
    many = 3_000
    load(*(an_order(str(number)) for number in range(many)))
    deliver(*(a_request(str(number), id=str(number)) for number in range(many)))
    assert run_batch(replace(DECIDING, limit=2 * many)) == many
    decided = "SELECT external_id, decided_place FROM change_request WHERE outcome = 'applied' ORDER BY decided_place"
    assert [tuple(row) for row in rows(decided)] == [(str(number), number) for number in range(many)]
    for counted in (
        "SELECT count(*) AS found FROM orders WHERE status = 'cancelled' AND version = 2",
        "SELECT count(*) AS found FROM changelog WHERE action = 'cancelled'",
        "SELECT count(*) AS found FROM effect WHERE kind = 'restock' AND payload ->> 'order_id' IS NOT NULL",
        "SELECT count(*) AS found FROM effect WHERE kind = 'notify'",
    ):
        assert (counted, rows(counted)[0].found) == (counted, many)


# What follows a decision


def effects(event: dict[str, Any]) -> dict[str, str]:
    return {effect["kind"]: effect["state"] for effect in request(event)["effects"]}


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The wake-ups that a worker sent; nobody receives them."""
    heard: list[str] = []
    monkeypatch.setattr(
        "tasks.running.wakeups.current_app", SimpleNamespace(send_task=lambda name, **_: heard.append(name))
    )
    return heard


def test_a_worker_does_what_follows_all_its_decisions_and_needs_no_other(woken: list[str]) -> None:
    numbers = [str(number) for number in range(CHANGES.limit + 1)]
    load(*(an_order(number) for number in numbers))
    events = [a_request(number) for number in numbers]
    deliver(*events)
    apply_changes()
    assert [event for event in events if effects(event) != {"restock": "done", "notify": "done"}] == []
    assert woken == []


def test_what_fails_after_a_decision_is_tried_again_and_undoes_neither_the_decision_nor_the_telling(
    monkeypatch: pytest.MonkeyPatch, woken: list[str]
) -> None:
    def full(*_: Any) -> None:
        raise ZeroDivisionError("the shelf is full")

    load(an_order())
    event = a_request()
    deliver(event)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.effects.restock_effects", full)
        apply_changes()
    assert (order()["status"], request(event)["outcome"]) == ("cancelled", "applied")
    assert effects(event) == {"restock": "pending", "notify": "done"}
    rows("UPDATE effect SET not_before = now() WHERE state = 'pending' RETURNING id")
    settle()
    assert effects(event) == {"restock": "done", "notify": "done"}
    assert woken == []
