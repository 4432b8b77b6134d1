"""Parked requests: found, previewed, and decided anew by the order as it is now; once."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

import orders.reprocessing
import tasks.intake
import tasks.reprocessing
from database.queries import AnyRow
from database.transactions import in_transaction
from edi.interchanges import InFlight, claim
from edi.outcomes import confirm
from orders.reprocessing import Filter, count_parked, find_parked, revive
from orders.request_retries import MAX_ATTEMPTS, count_failure, park_unknown_orders
from rules.decide import Faults, decide
from rules.model import ChangeRequest, Decision, Order
from tasks.partners import partners
from tasks.reprocessing import iterate_previews
from tasks.running.wakeups import WakeUp
from tests.builders import (
    a_request,
    an_address,
    an_order,
    decide_all,
    deliver,
    load,
    order,
    rows,
    settle,
)

pytestmark = pytest.mark.usefixtures("system")

PATIENCE = timedelta(minutes=15)


def park_unknown(*requests: dict[str, Any]) -> None:
    """Accepts requests for orders that nobody loads, and parks them."""
    deliver(*requests)
    in_transaction(lambda connection: park_unknown_orders(connection, patience=timedelta(0), limit=9))


def park_failed(*requests: dict[str, Any]) -> None:
    """Accepts requests and lets each fail until it is parked."""
    deliver(*requests)
    for one in requests:
        for _ in range(MAX_ATTEMPTS):
            fail(one["id"])


def fail(external_id: str) -> None:
    """Counts one failed try of a request."""
    failing = request(external_id).id
    in_transaction(lambda connection: count_failure(connection, failing, "it failed"))


def found(**wanted: Any) -> Sequence[AnyRow]:
    return in_transaction(lambda connection: find_parked(connection, Filter(**wanted)))


def ids(requests: Sequence[AnyRow]) -> list[str]:
    names = {row.id: row.external_id for row in rows("SELECT id, external_id FROM change_request")}
    return [names[row.id] for row in requests]


def previewed(**wanted: Any) -> dict[str, Mapping[str, Any]]:
    return {shown["id"]: shown for shown in iterate_previews(Filter(**wanted))}


def reprocess(requests: Sequence[AnyRow] | None = None) -> int:
    parked = found() if requests is None else requests
    return in_transaction(lambda connection: revive(connection, parked))


def request(external_id: str) -> AnyRow:
    found: Sequence[AnyRow] = rows("SELECT * FROM change_request WHERE external_id = :id", id=external_id)
    return found[0]


def claimed() -> InFlight | None:
    """Claims what is due, as the first half of an export."""
    return in_transaction(lambda connection: claim(connection, partners()[0], patience=PATIENCE)).interchange


def export() -> InFlight | None:
    """Sends what is due, and returns it; None if nothing is."""
    interchange = claimed()
    if interchange is not None:
        in_transaction(lambda connection: confirm(connection, interchange))
    return interchange


# Which


def test_parked_requests_are_found_by_reason_order_and_time_of_receipt_order_by_order_as_they_were_accepted() -> None:
    load(an_order("1"))
    park_unknown(a_request("3", id="lost too"), a_request("2", id="lost"))
    between = datetime.now(UTC)
    park_failed(a_request("1", id="failed"), a_request("1", id="failed too"))
    deliver(a_request("1", id="undecided"), a_request("4", id="waiting"))
    assert ids(found()) == ["failed", "failed too", "lost", "lost too"]
    assert in_transaction(lambda connection: count_parked(connection, Filter())) == 4
    assert ids(found(reason="unknown_order")) == ["lost", "lost too"]
    assert ids(found(reason="failed_repeatedly")) == ["failed", "failed too"]
    assert ids(found(order="2")) == ["lost"]
    assert ids(found(since=between)) == ["failed", "failed too"]
    assert ids(found(since=between - timedelta(days=1), reason="unknown_order", order="3")) == ["lost too"]
    assert ids(found(reason="unknown_order", order="1")) == []


# What would be


def everything() -> list[Any]:
    tables = ("orders", "change_request", "changelog", "effect", "stock", "notification", "interchange", "partner")
    return [sorted(map(str, rows(f"SELECT xmin, * FROM {table}"))) for table in tables]


def test_a_preview_reads_and_writes_nothing(engine: Engine) -> None:
    load(an_order())
    park_failed(a_request(id="one"), a_request(id="two"))
    before, statements = everything(), list[str]()

    def note(_: Any, __: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    assert len(previewed()) == 2
    event.remove(engine, "before_cursor_execute", note)
    assert everything() == before
    assert {statement.split()[0] for statement in statements} == {"SELECT"}
    assert not any("FOR " in statement for statement in statements)


def test_a_preview_says_what_then_is_decided() -> None:
    wanted = {"shipping": an_address(city="Bonn"), "billing": an_address()}
    park_failed(
        a_request("1", id="move", kind="change_address", addresses=wanted),
        a_request("1", id="items", kind="change_items"),
        a_request("1", id="cancel"),
        a_request("1", id="again"),
        a_request("2", id="abandon"),
        a_request("3", id="late", ticket=None),
        a_request("4", id="stranger", requester="other@example.com"),
        a_request("5", id="lost"),
    )
    load(an_order("3"))
    export()
    load(an_order("1"), an_order("2", status="pre_order"), an_order("4"))
    expected = previewed()
    assert {name: (shown["outcome"], *shown["reasons"]) for name, shown in expected.items()} == {
        "move": ("partly_applied", "shipping_address_changed", "billing_is_invoiced"),
        "items": ("refused", "items_are_fixed"),
        "cancel": ("applied", "order_cancelled"),
        "again": ("unchanged", "already_closed"),
        "abandon": ("applied", "pre_order_abandoned"),
        "late": ("refused", "edi_already_sent"),
        "stranger": ("escalated", "requester_is_not_the_customer"),
        "lost": (None, "unknown_order"),
    }
    assert all(shown["was"] == ["failed_repeatedly"] for shown in expected.values())
    assert all((shown["advice"] is None) == (name == "lost") for name, shown in expected.items())
    assert reprocess() == len(expected)
    settle()
    decided = {row.external_id: (row.outcome, row.reasons) for row in rows("SELECT * FROM change_request")}
    assert decided.pop("lost") == (None, [])
    assert decided == {
        name: (shown["outcome"], shown["reasons"]) for name, shown in expected.items() if name in decided
    }


def test_a_preview_says_what_would_change_of_the_order() -> None:
    moved = a_request("1", kind="change_address", addresses={"shipping": an_address(city="Bonn")})
    park_failed({**moved, "id": "move"}, a_request("1", id="cancel"), a_request("1", id="again"))
    load(an_order("1"))
    shown = previewed()
    [change] = shown["move"]["changes"]
    assert (change["action"], change["before"]) == ("shipping_address_changed", {"shipping": an_address()})
    assert change["after"] == {"shipping": an_address(city="Bonn")}
    cancelled = {"action": "cancelled", "before": {"status": "validated"}, "after": {"status": "cancelled"}}
    assert (shown["cancel"]["changes"], shown["again"]["changes"]) == ([cancelled], [])
    reprocess()
    settle()
    logged = order("1")["changelog"][1:]
    assert [{name: entry[name] for name in change} for entry in logged] == [change, cancelled]


def test_a_preview_in_slices_says_the_same_as_one_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [f"{number}" for number in range(3)]
    for kind in ("change_payment", "cancel", "change_items"):
        park_failed(*(a_request(number, kind, id=f"{kind} {number}") for number in [*numbers, "unknown"]))
    load(*map(an_order, numbers))
    whole = list(iterate_previews(Filter()))
    assert [shown["id"] for shown in whole if shown["order"] == "1"] == [
        "change_payment 1",
        "cancel 1",
        "change_items 1",
    ]
    assert [shown["reasons"] for shown in whole if shown["order"] == "1"] == [
        ["order_is_already_charged"],
        ["order_cancelled"],
        ["order_is_closed"],
    ]
    for size in (1, 2, 5, len(whole)):
        monkeypatch.setattr("tasks.reprocessing._SLICE_OF_PREVIEW", size)
        assert list(iterate_previews(Filter())) == whole


def test_a_preview_of_an_order_in_flight_says_that_the_request_would_wait() -> None:
    load(an_order())
    # There is no note of it on a ticket, so the order does not wait for that.
    park_failed(a_request(id="parked", ticket=None))
    claimed()
    shown = previewed()["parked"]
    assert (shown["outcome"], shown["reasons"]) == ("deferred", ["edi_in_flight"])


# Again


@pytest.mark.parametrize("reason", ["unknown_order", "failed_repeatedly"])
def test_a_parked_request_becomes_undecided_as_if_it_had_just_been_accepted(reason: str) -> None:
    (park_unknown if reason == "unknown_order" else park_failed)(a_request(id="parked"))
    parked = request("parked")
    assert (parked.state, parked.reasons) == ("parked", [reason])
    assert parked.error is not None
    assert reprocess() == 1
    revived = request("parked")
    assert (revived.state, revived.reasons, revived.error) == ("received", [], None)
    assert (revived.attempts, revived.parked_at, revived.decided_at) == (0, None, None)
    assert (revived.received_at, revived.body) == (parked.received_at, parked.body)
    assert revived.undecided_since > parked.parked_at
    assert revived.not_before >= revived.undecided_since


def test_a_request_is_decided_by_the_order_as_it_is_now_and_reported_once() -> None:
    load(an_order())
    park_failed(a_request(id="parked", ticket=None))
    export()
    reprocess()
    settle()
    assert (request("parked").outcome, request("parked").reasons) == ("refused", ["edi_already_sent"])
    assert rows("SELECT kind, state FROM effect") == [("notify", "done")]
    assert rows("SELECT count(*) FROM notification") == [(1,)]
    assert rows("SELECT status FROM orders") == [("validated",)]


def test_a_request_whose_order_still_is_not_known_waits_again_and_is_parked_again() -> None:
    park_unknown(a_request(id="parked"))
    reprocess()
    settle()
    assert request("parked").state == "received"
    patient = in_transaction(lambda connection: park_unknown_orders(connection, patience=PATIENCE, limit=9))
    assert patient == 0
    park_unknown()
    assert (request("parked").state, request("parked").reasons) == ("parked", ["unknown_order"])


def test_a_request_that_fails_again_has_all_its_tries_again() -> None:
    load(an_order())
    park_failed(a_request(id="parked"))
    reprocess()
    fail("parked")
    assert (request("parked").state, request("parked").attempts) == ("received", 1)


# Not twice


def test_a_request_is_not_reprocessed_twice_however_often_it_was_found() -> None:
    load(an_order())
    park_failed(a_request(id="parked"))
    once = found()
    assert reprocess(once) == 1
    assert reprocess(once) == 0
    settle()
    assert reprocess(once) == 0
    assert request("parked").outcome == "applied"
    assert rows("SELECT sku, quantity FROM stock ORDER BY sku") == [("BLUE-2", 1), ("RED-1", 3)]
    assert rows("SELECT count(*) FROM notification") == [(1,)]
    assert found() == []


def test_only_those_that_were_named_are_reprocessed() -> None:
    park_unknown(a_request("1", id="one"), a_request("2", id="two"))
    assert reprocess(found(order="2")) == 1
    assert (request("one").state, request("two").state) == ("parked", "received")
    assert reprocess([]) == 0


# Many


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[WakeUp]:
    """The wake-ups that were sent, which nobody receives; and slices so small that three requests are many."""
    heard: list[WakeUp] = []
    monkeypatch.setattr("tasks.reprocessing.wake", heard.append)
    monkeypatch.setattr("tasks.reprocessing._SLICE", 3)
    return heard


def test_many_are_reprocessed_in_slices_and_workers_are_rung_for_at_the_first_and_after_the_last(
    woken: list[WakeUp],
) -> None:
    park_unknown(*(a_request(f"{number % 3}", id=f"{number}") for number in range(8)))
    slices = tasks.reprocessing.iterate_reprocessing(Filter())
    assert (next(slices), len(woken)) == (3, 1)
    assert len(found()) == 5
    assert list(slices) == [3, 2]
    assert (found(), woken) == ([], [WakeUp.APPLY_CHANGES] * 2)
    assert list(tasks.reprocessing.iterate_reprocessing(Filter())) == []
    assert len(woken) == 2


def test_of_many_those_that_somebody_else_reprocesses_meanwhile_are_left_to_him(woken: list[WakeUp]) -> None:
    park_unknown(*(a_request(f"{number}", id=f"{number}") for number in range(8)))
    slices = tasks.reprocessing.iterate_reprocessing(Filter())
    next(slices)
    assert reprocess(found(order="4")) == 1
    assert list(slices) == [3, 1]


def test_many_dead_effects_are_revived_in_slices(woken: list[WakeUp]) -> None:
    load(*(an_order(f"{number}") for number in range(4)))
    deliver(*(a_request(f"{number}", "change_items") for number in range(4)))
    decide_all()
    rows("UPDATE effect SET state = 'dead', attempts = 12, error = 'it failed' RETURNING id")
    assert list(tasks.reprocessing.iterate_revived_effects()) == [3, 1]
    assert list(tasks.reprocessing.iterate_revived_effects()) == []
    assert set(rows("SELECT state, attempts, error FROM effect")) == {("pending", 0, None)}


# The export


def test_a_parked_request_holds_nothing_back_and_a_reprocessed_one_holds_its_order_back_again() -> None:
    load(an_order("1"), an_order("2"))
    park_failed(a_request("1", id="parked"))
    reprocess()
    sent = export()
    assert sent is not None
    assert rows("SELECT number FROM orders WHERE edi_state = 'sent'") == [("2",)]
    settle()
    assert request("parked").reasons == ["order_cancelled"]
    assert export() is None


def test_an_order_is_exported_while_its_only_request_is_parked() -> None:
    load(an_order())
    park_failed(a_request(id="parked", kind="change_items"))
    assert export() is not None
    assert request("parked").state == "parked"


def test_a_request_that_is_being_reprocessed_is_not_overtaken_by_the_export(engine: Engine) -> None:
    load(an_order())
    park_failed(a_request(id="parked"))
    parked = found()
    with engine.begin() as reviving:
        assert revive(reviving, parked) == 1
        # Not committed yet, and so not to be seen; but the order's number is locked.
        assert export() is None
    assert export() is None
    settle()
    assert rows("SELECT status, edi_state FROM orders") == [("cancelled", "not_sent")]


def test_a_reprocessed_request_waits_for_an_interchange_in_flight() -> None:
    load(an_order())
    park_failed(a_request(id="parked", ticket=None))
    interchange = claimed()
    assert interchange is not None
    reprocess()
    settle()
    assert request("parked").state == "received"
    in_transaction(lambda connection: confirm(connection, interchange))
    settle()
    assert request("parked").reasons == ["edi_already_sent"]


def test_a_preview_goes_on_past_a_request_whose_decision_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ChangeRequest] = []

    def fail_at_the_first(order: Order, request: ChangeRequest, faults: Faults) -> Decision:
        asked.append(request)
        if len(asked) == 1:
            raise ZeroDivisionError
        return decide(order, request, faults)

    load(an_order())
    deliver(a_request(id="first"), a_request(id="second"))
    rows("UPDATE change_request SET state = 'parked', parked_at = now(), reasons = '{unknown_order}' RETURNING id")
    monkeypatch.setattr(orders.reprocessing, "decide", fail_at_the_first)
    assert [(one["id"], one["outcome"], one["reasons"], one.get("error")) for one in iterate_previews(Filter())] == [
        ("first", None, ["failed_repeatedly"], "ZeroDivisionError"),
        ("second", "applied", ["order_cancelled"], None),
    ]
