"""An order by its number as people write it: found where the eye sees no difference, and never guessed."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from database.transactions import in_transaction
from edi import interchanges
from edi.partners import default_partner
from orders.inbox import Delivery
from orders.reprocessing import Filter, find_parked, preview, revive
from orders.request_retries import park_unknown_orders
from tasks.intake import take
from tasks.partners import address_check
from tests.builders import a_request, an_order, decide_all, deliver, encoded, load, order, request, rows, settle

pytestmark = pytest.mark.usefixtures("system")

SPELLINGS = [
    "#700498",
    "Order 700498",
    "ORDER 700498",
    "order no. 700498",
    "Order #700498.",
    "Order no.: 700498",
    "order number 700498",
    "No. 700498",
    "no.700498",
    "Nr. 700498",
    "N° 700498",
    "nº700498",
    "№ 700498",
    "№700498",
    "Bestell-Nr. 700498",
    "Bestellnummer: 700498",
    "ordine 700498",
    "Ordine n. 700498",
    "Commande n° 700498",
    "Pedido número 700498",
    " 700498 ",
    "\u00a0700498\u00a0",
    "order\u00a0700498",
    "order\u2003 \u2009700498",
    "(700498)",
    "“700498”",
    "«700498»",
    "700498,",
    "- 700498 -",
    "７００４９８",
    "700\u200b498",
    "\ufeff700498",
    "\u200e700498\u202c",
    "700\u00ad498",
]
# Of an order A-12/b.
SPELLINGS_OF_LETTERS = ["a-12/B", "#A-12/b", "A–12/b", "A—12/b", "A−12/b", "A‑12/b", "Ａ－１２／ｂ", "order A-12/B!"]
OTHERS = [
    "0700498",
    "70049",
    "7004980",
    "700 498",
    "700-498",
    "70O498",
    "Order-700498",
    "NO700498",
    "#",
    "order",
    "{{x}}",
]


_PARK = "UPDATE change_request SET state = 'parked', parked_at = now(), reasons = '{unknown_order}'"


def taken(number: str, kind: str = "cancel") -> dict[str, Any]:
    """Lets an intake take a request, which it decides at once if it can; returns it."""
    event = a_request(number, kind)
    assert take([Delivery("test", None, encoded(event))]).new == 1
    return event


@pytest.mark.parametrize("how", ["at once", "by a worker"])
def test_an_order_is_found_however_its_number_is_written(how: str) -> None:
    load(an_order("700498"), an_order("A-12/b"), an_order("700499"))
    for number, spellings in (("700498", SPELLINGS), ("A-12/b", SPELLINGS_OF_LETTERS)):
        for spelling in spellings:
            event = a_request(spelling, "change_items")
            if how == "at once":
                take([Delivery("test", None, encoded(event))])
            else:
                deliver(event)
                decide_all()
            shown = request(event)
            assert (spelling, shown["order"], shown["reasons"]) == (spelling, number, ["items_are_fixed"])


def test_what_is_another_number_is_not_found() -> None:
    load(an_order("700498"))
    for other in OTHERS:
        shown = request(taken(other))
        assert (other, shown["order"], shown["state"]) == (other, other, "received")


def test_where_two_orders_fit_it_is_unknown_and_the_exact_number_wins() -> None:
    load(an_order("ab1"), an_order("AB1"), an_order("#7"), an_order("7"))
    unknown = taken("Ab1"), taken("order 7")
    exact = {number: taken(number, "change_items") for number in ("ab1", "AB1", "#7", "7")}
    for number, event in exact.items():
        assert (request(event)["order"], request(event)["state"]) == (number, "decided")
    in_transaction(lambda connection: park_unknown_orders(connection, patience=timedelta(0), limit=10))
    for event in unknown:
        assert (request(event)["state"], request(event)["reasons"]) == ("parked", ["unknown_order"])
        assert request(event)["order"] == event["data"]["order"]


def test_a_request_that_came_before_its_order_finds_it_and_holds_it_back_until_it_is_decided(home: Path) -> None:
    waiting = taken("#1001"), taken("Order 1001", "change_items")
    parked = taken("1001.", "change_items")
    rows(f"{_PARK} WHERE external_id = :id RETURNING id", id=parked["id"])
    load(an_order("1001"))
    partner = default_partner(home)
    claim = in_transaction(lambda connection: interchanges.claim(connection, partner, patience=timedelta(minutes=15)))
    assert claim.interchange is None
    assert [request(event)["order"] for event in (*waiting, parked)] == ["1001"] * 3
    decide_all()
    assert order()["status"] == "cancelled"
    assert [request(event)["reasons"] for event in waiting] == [["order_cancelled"], ["order_is_closed"]]


def test_an_order_that_is_loaded_takes_no_request_that_may_mean_another() -> None:
    load(an_order("ab1"))
    exact, unclear, others = taken("ab2"), taken("Ab2"), taken("AB-2")
    load(an_order("AB2"), an_order("ab2"))
    settle()
    assert (request(exact)["order"], request(exact)["state"]) == ("ab2", "decided")
    assert (request(unclear)["order"], request(unclear)["state"]) == ("Ab2", "received")
    assert (request(others)["order"], request(others)["state"]) == ("AB-2", "received")


def test_a_parked_request_finds_an_order_that_was_there_before_it_was_reprocessed() -> None:
    event = taken("#1001")
    load(an_order("1001"))
    rows(f"{_PARK} RETURNING id")
    # As it is after an update from a version that did not know.
    rows("UPDATE change_request SET order_number = '#1001' RETURNING id")
    [shown] = in_transaction(lambda connection: preview(connection, Filter(), check=address_check())).shown
    assert shown["outcome"] == "applied"
    in_transaction(lambda connection: revive(connection, find_parked(connection, Filter())))
    decide_all()
    assert (request(event)["order"], request(event)["reasons"]) == ("1001", ["order_cancelled"])


def test_a_repeat_with_another_spelling_is_other_data() -> None:
    load(an_order("1001"))
    event = taken("#1001", "change_items")
    assert take([Delivery("test", None, encoded(event))]).repeated == 1
    other = {**event, "data": {**event["data"], "order": "1001"}}
    assert take([Delivery("test", None, encoded(other))]).dead == 1


def test_the_number_of_an_accepted_request_changes_its_spelling_alone(engine: Engine) -> None:
    taken("#1001")
    with engine.begin() as connection:
        connection.execute(text("UPDATE change_request SET order_number = '1001'"))
    with pytest.raises(DBAPIError, match="a request stays as it was received"), engine.begin() as connection:
        connection.execute(text("UPDATE change_request SET order_number = '1002'"))


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=64))
@example("Order # ")
@example("№")
def test_every_text_has_a_key_and_signs_around_it_do_not_change_that(written: str) -> None:
    [[key, decorated]] = rows("SELECT order_key(:n), order_key('# ' || :n || ' .')", n=written)
    assert key is not None
    assert decorated == key or not any(one.isalnum() for one in key)
