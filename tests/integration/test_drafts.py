"""What is rendered before the claim: sent if the order is still the same, and made again if it is not."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from database.transactions import engine, in_transaction, reading
from edi import drafts, interchanges, outcomes
from edi.documents.order import Message, OrderDocument
from edi.documents.standards import render_order
from edi.drafts import Drafts
from edi.interchanges import Claim
from edi.partners import Partner
from tasks.export import iterate_export
from tests.builders import a_request, an_address, an_order, deliver, load, order, rows, settle
from tests.race.cancellations import assert_that_every_promise_is_kept
from tests.race.works import PATIENCE, a_partner

pytestmark = pytest.mark.usefixtures("system")


@pytest.fixture
def partner(system: object, home: Any) -> Partner:
    return replace(a_partner(home), orders_per_interchange=3)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The numbers of the orders that were rendered, each time they were."""
    numbers: list[str] = []

    def note_and_render(document: OrderDocument, partner: Partner) -> Message:
        numbers.append(document.number)
        return render_order(document, partner)

    monkeypatch.setattr(drafts, "render_order", note_and_render)
    # All in this process: one with threads makes no other.
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    return numbers


def make(partner: Partner, after: int = 0) -> Drafts:
    return reading(lambda connection: drafts.make(connection, partner, patience=PATIENCE, after=after))


def claim(partner: Partner, made: Drafts) -> Claim:
    return in_transaction(
        lambda connection: interchanges.claim(connection, partner, patience=PATIENCE, made=made.by_order)
    )


def test_each_order_is_rendered_once_however_many_interchanges_there_are(partner: Partner, rendered: list[str]) -> None:
    load(*(an_order(str(number)) for number in range(8)))
    steps = list(iterate_export(partner))
    assert [step.claim.interchange and step.claim.interchange.orders for step in steps] == [3, 3, 2, None]
    assert sorted(rendered) == [str(number) for number in range(8)]
    assert_that_every_promise_is_kept()


def test_what_goes_together_by_its_lines_is_rendered_together(partner: Partner, rendered: list[str]) -> None:
    narrow = replace(partner, lines_per_interchange=3)
    load(*(an_order(str(number)) for number in range(3)))
    made = make(narrow)
    assert (len(made.by_order), made.is_full) == (1, True)
    steps = list(iterate_export(narrow))
    assert [step.claim.interchange and step.claim.interchange.orders for step in steps] == [1, 1, 1, None]
    assert sorted(rendered) == ["0", "0", "1", "2"]


def test_an_order_that_changed_after_it_was_rendered_is_rendered_again(partner: Partner, rendered: list[str]) -> None:
    load(an_order("moved"), an_order("same"))
    made = make(partner)
    deliver(a_request("moved", "change_address", addresses={"shipping": an_address(city="Bonn")}))
    settle()
    claimed = claim(partner, made).interchange
    assert claimed is not None
    assert (claimed.orders, claimed.content.count(b"+Bonn+")) == (2, 1)
    assert rendered == ["moved", "same", "moved"]
    in_transaction(lambda connection: outcomes.confirm(connection, claimed))
    assert_that_every_promise_is_kept()


def test_an_order_that_was_cancelled_after_it_was_rendered_does_not_go(partner: Partner) -> None:
    load(an_order("cancelled"), an_order("other"))
    made = make(partner)
    deliver(a_request("cancelled"))
    settle()
    claimed = claim(partner, made).interchange
    assert claimed is not None
    assert b"BGM+220+other+9" in claimed.content
    assert b"cancelled" not in claimed.content
    assert order("cancelled")["edi"] == "not_sent"


def test_of_what_cannot_be_rendered_there_is_no_draft_and_the_claim_holds_it_back(partner: Partner) -> None:
    load(an_order("good"), an_order("bad", shipping=an_address(line1="x" * 200)))
    made = make(partner)
    assert len(made.by_order) == 1
    claimed = claim(partner, made)
    assert (claimed.held_back, claimed.interchange and claimed.interchange.orders) == (1, 1)
    assert "order bad: shipping street" in order("bad")["export_error"]


def test_rendering_ahead_locks_nothing(partner: Partner) -> None:
    load(an_order("1"))
    with engine().connect() as connection:
        assert len(drafts.make(connection, partner, patience=PATIENCE).by_order) == 1
        with engine().begin() as other:
            assert other.execute(text("SELECT number FROM orders FOR UPDATE NOWAIT")).scalar_one() == "1"


@pytest.mark.parametrize(
    "is_kept_from_it", ["UPDATE partner SET not_before = now() + interval '1 hour', failures = 1 RETURNING 1", None]
)
def test_nothing_is_rendered_while_the_partner_rests_or_has_an_interchange_on_its_way(
    partner: Partner, rendered: list[str], is_kept_from_it: str | None
) -> None:
    load(an_order("1"))
    assert claim(partner, Drafts({})).interchange is not None
    if is_kept_from_it:
        assert rows("UPDATE interchange SET state = 'released', released_at = now() RETURNING 1")
        assert rows(is_kept_from_it)
    load(an_order("2"))
    rendered.clear()
    assert make(partner) == Drafts({})
    assert rendered == []


def test_an_error_while_rendering_ahead_is_that_of_the_export_and_what_was_sent_stays_sent(
    partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(*(an_order(str(number)) for number in range(4)))
    make_drafts = drafts.make

    def fail_ahead(connection: Connection, partner: Partner, *, after: int = 0, **options: Any) -> Drafts:
        if after:
            raise OperationalError("SELECT", {}, Exception("the connection is lost"))
        return make_drafts(connection, partner, after=after, **options)

    with monkeypatch.context() as patched:
        patched.setattr(drafts, "make", fail_ahead)
        exporting = iterate_export(partner)
        assert next(exporting).state == "sent"
        with pytest.raises(OperationalError, match="the connection is lost"):
            next(exporting)
    assert [step.state for step in iterate_export(partner)] == ["sent", None]
    assert_that_every_promise_is_kept()


def test_a_conflict_while_rendering_ahead_is_tried_again(partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    load(an_order("1"))
    make_drafts, tries = drafts.make, []

    def conflict_once(*arguments: Any, **options: Any) -> Drafts:
        tries.append(arguments)
        if len(tries) == 1:
            raise OperationalError("SELECT", {}, LockNotAvailable())
        return make_drafts(*arguments, **options)

    monkeypatch.setattr(drafts, "make", conflict_once)
    assert [step.state for step in iterate_export(partner)] == ["sent", None]
    assert len(tries) == 3
