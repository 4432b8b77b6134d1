"""An escalation keeps its order from export for a while, once an order and reason; then it goes."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from configuration.settings import settings
from database.transactions import in_transaction
from edi import interchanges
from orders.audit import audit
from orders.inbox import Delivery
from orders.reading import list_orders
from tasks.intake import take
from tasks.partners import partners
from tests.builders import a_request, an_address, an_order, deliver, encoded, load, order, request, rows, settle

pytestmark = pytest.mark.usefixtures("system")

PATIENCE = timedelta(minutes=15)
STRANGER = "eve@example.net"
ABROAD = {"shipping": an_address(line1="1 Quay", city="Dublin", country="IE", postal_code="D02 X285")}


def claim() -> interchanges.Claim:
    partner = partners()[0]
    return in_transaction(lambda connection: interchanges.claim(connection, partner, patience=PATIENCE))


def exported() -> int:
    """Returns how many orders an export claims now."""
    claimed = claim().interchange
    return 0 if claimed is None else claimed.orders


def ask(**changes: Any) -> dict[str, Any]:
    """A request that is decided, and all that follows it done."""
    event = a_request(**changes)
    deliver(event)
    settle()
    return event


def let_holds_end() -> None:
    rows("UPDATE escalation_hold SET held_until = held_at RETURNING order_id")


def held_for() -> timedelta:
    [(held,)] = rows("SELECT held_until - held_at FROM escalation_hold")
    assert isinstance(held, timedelta)
    return held


@pytest.fixture
def hold_minutes(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_to(minutes: str) -> None:
        monkeypatch.setenv("COUNTERMAND_ESCALATION_HOLD_MINUTES", minutes)
        settings.cache_clear()

    yield set_to
    settings.cache_clear()


@pytest.mark.parametrize(
    ("reason", "asked"),
    [
        ("requester_is_not_the_customer", {"requester": STRANGER}),
        ("partial_cancellation", {"kind": "partial_cancel"}),
        ("country_change_after_charge", {"kind": "change_address", "addresses": ABROAD}),
    ],
)
def test_every_escalation_holds_its_order_for_four_hours(reason: str, asked: dict[str, Any]) -> None:
    load(an_order("1001"), an_order("1002"))
    event = ask(order="1001", **asked)
    assert (request(event)["outcome"], request(event)["reasons"]) == ("escalated", [reason])
    claimed = claim().interchange
    assert claimed is not None
    assert claimed.orders == 1
    assert b"1002" in claimed.content
    assert b"1001" not in claimed.content
    assert held_for() == timedelta(minutes=240)
    assert order("1001")["held_for"] == [reason]


def test_an_order_goes_once_its_hold_is_over() -> None:
    load(an_order())
    ask(requester=STRANGER)
    assert exported() == 0
    let_holds_end()
    assert exported() == 1


def test_a_reason_holds_an_order_once_and_each_reason_once() -> None:
    load(an_order())
    ask(requester=STRANGER)
    let_holds_end()
    ask(requester=STRANGER)
    ask(requester="another@example.net", kind="change_items")
    assert "held_until" not in order()
    ask(kind="partial_cancel")
    assert order()["held_for"] == ["partial_cancellation"]
    assert exported() == 0
    assert rows("SELECT count(*) FROM escalation_hold") == [(2,)]


def test_of_two_in_one_batch_the_first_holds() -> None:
    load(an_order())
    first, second = a_request(requester=STRANGER), a_request(requester=STRANGER)
    deliver(first, second)
    settle()
    held_by = rows("SELECT external_id FROM escalation_hold JOIN change_request ON id = change_request_id")
    assert held_by == [(first["id"],)]


def test_what_an_intake_decides_as_it_takes_it_holds_as_well() -> None:
    load(an_order())
    accepted = take([Delivery("test", None, encoded(a_request(requester=STRANGER)))])
    assert accepted.new == 1
    assert rows("SELECT state FROM change_request") == [("decided",)]
    assert exported() == 0


def test_other_answers_hold_nothing_and_neither_do_those_about_orders_that_are_closed_or_sent() -> None:
    load(an_order("open"), an_order("closed"), an_order("sent"))
    ask(order="closed")
    for kind in ("change_items", "change_payment"):
        ask(order="open", kind=kind)
    assert exported() == 2
    rows("UPDATE interchange SET state = 'sent', sent_at = now() RETURNING id")
    rows("UPDATE orders SET edi_state = 'sent' WHERE edi_state = 'claimed' RETURNING id")
    for number in ("closed", "sent"):
        assert request(ask(order=number, requester=STRANGER))["outcome"] == "escalated"
    assert rows("SELECT count(*) FROM escalation_hold") == [(0,)]


def test_a_pre_order_is_held_too_for_the_store_may_validate_it_any_moment() -> None:
    load(an_order(status="pre_order"))
    ask(requester=STRANGER)
    load(an_order())
    assert (order()["status"], exported()) == ("validated", 0)


def test_what_is_held_can_still_be_cancelled_and_is_then_no_longer_shown_as_held() -> None:
    load(an_order())
    ask(requester=STRANGER)
    assert "held_until" in order()
    ask()
    assert order()["status"] == "cancelled"
    assert "held_until" not in order()
    [listed] = in_transaction(list_orders)
    assert listed.held_until is None


@pytest.mark.parametrize(("minutes", "held"), [("0", False), ("0.5", True), ("60", True)])
def test_how_long_is_a_setting_and_0_turns_it_off(hold_minutes: Any, minutes: str, held: bool) -> None:
    hold_minutes(minutes)
    load(an_order())
    ask(requester=STRANGER)
    assert exported() == (0 if held else 1)
    if held:
        assert held_for() == timedelta(minutes=float(minutes))


def test_the_list_of_orders_says_until_when() -> None:
    load(an_order("1001"), an_order("1002"))
    ask(order="1001", kind="partial_cancel")
    one, other = in_transaction(list_orders)
    assert one.held_until == order("1001")["held_until"]
    assert datetime.fromisoformat(one.held_until or "") > datetime.now(UTC) + timedelta(hours=3, minutes=59)
    assert other.held_until is None


def promise_8() -> Any:
    found = in_transaction(lambda connection: audit(connection, patience=PATIENCE))
    return next(check for check in found["checks"] if check["promise"] == 8)


def test_the_audit_tells_of_an_order_that_was_claimed_while_it_was_held() -> None:
    load(an_order())
    assert exported() == 1
    rows(
        "INSERT INTO change_request (source, external_id, order_number, kind, body, data_sha256, state, outcome,"
        " reasons, received_at, undecided_since, decided_at, decided_place) SELECT 'zendesk:acme', 'r1', '1001',"
        " 'partial_cancel', '', '', 'decided', 'escalated', '{partial_cancellation}', claimed_at - interval '2 hours',"
        " claimed_at - interval '2 hours', claimed_at - interval '1 hour', 0 FROM interchange RETURNING id"
    )
    rows(
        "INSERT INTO escalation_hold (order_id, reason, change_request_id, held_at, held_until) SELECT orders.id,"
        " 'partial_cancellation', change_request.id, claimed_at - interval '1 hour', claimed_at + interval '1 hour'"
        " FROM orders, change_request, interchange RETURNING order_id"
    )
    [reported] = promise_8()["examples"]
    expected = (
        r"order 1001 was claimed by interchange 1 of WAREHOUSE while request r1 of zendesk:acme"
        r" \(partial_cancellation\) held it until \d{4}-\d\d-\d\d \d\d:\d\d UTC"
    )
    assert re.fullmatch(expected, reported)


def test_a_claim_before_the_hold_or_after_it_breaks_no_promise() -> None:
    load(an_order())
    assert exported() == 1
    rows("UPDATE interchange SET state = 'released', released_at = now() RETURNING id")
    rows("UPDATE orders SET edi_state = 'not_sent', interchange_id = NULL RETURNING id")
    ask(requester=STRANGER)
    assert exported() == 0
    assert promise_8()["violations"] == 0
    let_holds_end()
    assert exported() == 1
    assert (promise_8()["checked"], promise_8()["violations"]) == (2, 0)


@pytest.mark.parametrize(
    "change", ["held_until = held_until + interval '1 hour'", "reason = 'other'", "held_at = held_at - interval '1 h'"]
)
def test_a_hold_can_only_be_shortened(change: str, engine: Engine) -> None:
    load(an_order())
    ask(requester=STRANGER)
    with pytest.raises(DBAPIError, match="an escalation holds its order once"):
        rows(f"UPDATE escalation_hold SET {change} RETURNING order_id")
    let_holds_end()
