"""Histories that break no promise."""

from collections.abc import Iterator
from typing import Any

import pytest

import tasks.changes
from database.transactions import in_transaction
from edi.interchanges import claim
from edi.outcomes import confirm, release
from tasks.partners import partners
from tasks.running.batches import run_batch
from tests.acknowledgements import PATIENCE
from tests.audits import age, broken, checks, claimed, export, fail_to_export, meddle, moving, park_failed, reprocess
from tests.builders import DECIDING, a_request, an_order, decide_all, deliver, load, rows, settle
from tests.integration.audit.histories import make_history

pytestmark = pytest.mark.usefixtures("system")


def test_an_empty_system_is_in_order() -> None:
    found = checks()
    assert list(found) == list(range(1, 10))
    assert {(check["checked"], check["violations"]) for check in found.values()} == {(0, 0)}


def test_a_system_with_a_history_is_in_order_and_every_promise_has_something_to_check() -> None:
    make_history()
    assert broken() == {}
    assert all(check["checked"] > 0 for check in checks().values())


def test_effects_that_are_pending_break_nothing() -> None:
    load(an_order())
    deliver(a_request())
    decide_all()
    assert rows("SELECT DISTINCT state FROM effect") == [("pending",)]
    assert broken() == {}


def test_an_order_released_after_a_failed_delivery_and_then_cancelled_breaks_nothing() -> None:
    load(an_order())
    fail_to_export()
    deliver(a_request())
    settle()
    assert rows("SELECT status FROM orders") == [("cancelled",)]
    assert broken() == {}


def test_an_order_released_and_claimed_again_breaks_nothing() -> None:
    load(an_order())
    fail_to_export()
    deliver(moving("1001", "Bonn"))
    settle()
    claimed()
    assert broken() == {}


def test_a_request_for_an_order_that_was_released_breaks_nothing_when_another_gets_its_number() -> None:
    load(an_order("1"))
    released = claimed()
    in_transaction(lambda connection: release(connection, released, "the folder is gone", reuse_number=True))
    meddle("UPDATE partner SET not_before = NULL")
    deliver(a_request("1", id="waiting"))
    load(an_order("2"))
    assert claimed().control_number == released.control_number
    assert broken() == {}
    age("waiting", "1 minute")
    assert set(broken()) == {8}


def test_an_interchange_taken_over_by_another_sender_breaks_nothing() -> None:
    load(an_order())
    claimed()
    meddle("UPDATE interchange SET lease_until = now()")
    export()
    assert rows("SELECT state, fence FROM interchange") == [("sent", 2)]
    assert broken() == {}


def test_a_request_that_was_reprocessed_and_so_decided_after_later_ones_breaks_nothing() -> None:
    load(an_order())
    park_failed(a_request(id="first"))
    deliver(a_request(id="second", kind="change_items"))
    settle()
    reprocess()
    assert broken() == {}
    settle()
    decided = rows("SELECT external_id FROM change_request WHERE state = 'decided' ORDER BY decided_at")
    assert decided == [("second",), ("first",)]
    assert broken() == {}


def test_a_request_decided_after_an_earlier_one_was_parked_breaks_nothing() -> None:
    load(an_order())
    park_failed(a_request(id="first"))
    deliver(a_request(id="second", kind="change_items"), a_request(id="third"))
    settle()
    assert rows("SELECT state FROM change_request ORDER BY id") == [("parked",), ("decided",), ("decided",)]
    assert broken() == {}
    meddle("UPDATE change_request SET decided_place = -1 WHERE external_id = 'third'")
    assert set(broken()) == {7}


def test_a_request_that_waits_for_an_unknown_order_within_its_patience_breaks_nothing() -> None:
    deliver(a_request(id="waiting"))
    age("waiting", "14 minutes")
    settle()
    assert broken() == {}


def test_a_request_that_failed_and_waits_for_its_next_try_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Iterator[Any]:
        raise ZeroDivisionError

    monkeypatch.setattr(tasks.changes, "decide_requests", fail)
    load(an_order())
    deliver(a_request(id="failing"))
    age("failing")
    run_batch(DECIDING)
    assert rows("SELECT state, attempts FROM change_request") == [("received", 1)]
    assert broken() == {}


def test_an_order_claimed_while_a_request_older_than_the_patience_is_undecided_breaks_nothing() -> None:
    load(an_order())
    deliver(a_request(id="old"))
    age("old")
    export()
    settle()
    assert rows("SELECT reasons FROM change_request") == [(["edi_already_sent"],)]
    assert broken() == {}


@pytest.mark.parametrize("state", ["claimed", "sent", "released"])
def test_a_request_that_waited_long_for_an_interchange_is_not_forgotten_once_the_outcome_is_known(state: str) -> None:
    load(an_order())
    interchange = claimed()
    deliver(a_request(id="waiting"))
    age("waiting")
    # It was claimed before it was asked for: two hours ago, too. While it is on its way it may be so for a while only.
    ago, then = ("19 minutes", "18 minutes") if state == "claimed" else ("3 hours", "2 hours")
    meddle(f"UPDATE interchange SET claimed_at = claimed_at - interval '{ago}', patience_since = '2026-01-01Z'")
    since = f"now() - interval '{then}'"
    meddle(f"UPDATE change_request SET received_at = {since}, undecided_since = {since}")
    if state == "sent":
        in_transaction(lambda connection: confirm(connection, interchange))
    if state == "released":
        in_transaction(lambda connection: release(connection, interchange, "the folder is gone"))
    assert broken() == {}


def test_a_request_that_waits_for_an_interchange_that_nobody_ends_is_forgotten() -> None:
    load(an_order())
    claimed()
    deliver(a_request(id="waiting"))
    age("waiting")
    meddle("UPDATE interchange SET claimed_at = claimed_at - interval '3 hours', patience_since = '2026-01-01Z'")
    assert set(broken()) == {1}


def test_an_order_that_cannot_be_rendered_breaks_nothing() -> None:
    load(an_order(currency="XYZ", lines=[{"sku": "x" * 99, "description": "", "quantity": 1, "unit_price": "1"}]))
    claim_found = in_transaction(lambda connection: claim(connection, partners()[0], patience=PATIENCE))
    assert claim_found.held_back == 1
    assert broken() == {}
