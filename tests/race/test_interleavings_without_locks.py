"""The second net: with every row lock taken away, guards and constraints still refuse what must not be."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg.errors
import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from database.transactions import engine, in_transaction
from edi.interchanges import WrongOrders
from edi.partners import Partner
from orders.changes import StaleRowError
from orders.effects import EffectGone
from tasks.effects import NOTIFY, RESTOCK
from tests.builders import a_request, an_address, an_order, decide_all, deliver, load, settle
from tests.race.gates import Work
from tests.race.interleavings import Race
from tests.race.works import (
    OUT_OF_PATIENCE,
    Record,
    a_partner,
    actions,
    applying,
    claiming,
    confirming,
    doing,
    finish,
    request,
    run_every_order,
)

pytestmark = pytest.mark.usefixtures("system")

_ROW_LOCK = re.compile(r"\s+FOR NO KEY UPDATE(?: OF \w+)?(?: SKIP LOCKED)?")


@pytest.fixture
def partner(system: object, home: Path) -> Partner:
    return a_partner(home)


@pytest.fixture(autouse=True)
def _no_row_is_locked(partner: Partner) -> None:
    def strip(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
        return _ROW_LOCK.sub("", statement), parameters

    event.listen(engine(), "before_cursor_execute", strip, retval=True)


def why(race: Race) -> str:
    """Says by what the one that failed was refused; empty if none failed."""
    error = next(iter(race.failures.values()), None)
    assert len(race.failures) <= 1
    if isinstance(error, IntegrityError):
        assert isinstance(error.orig, psycopg.Error)
        return str(error.orig.diag.constraint_name)
    return "" if error is None else f"{type(error).__name__}: {error}"


def test_an_order_is_not_both_cancelled_and_claimed(partner: Partner, record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        deliver(a_request(str(index), id=f"r{index}"))
        return {"apply": applying, "claim": claiming(partner, OUT_OF_PATIENCE)}

    def check(race: Race) -> str:
        if "claim" not in race.failures:
            finish(race["claim"], partner)
        settle()
        assert request(race.index)["state"] == "decided"
        return why(race)

    assert run_every_order(scenario, check, record_property, may_fail=(StaleRowError, IntegrityError)) == {
        "",
        "orders_closed_is_not_sent",
        "StaleRowError: 0 of 1 orders that are not sent could be written: the others changed under their lock",
    }


def test_a_request_is_not_decided_twice(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        deliver(a_request(str(index), kind="change_items", id=f"r{index}"))
        return {"one": applying, "other": applying}

    def check(race: Race) -> str:
        settle()
        assert request(race.index)["reasons"] == ["items_are_fixed"]
        return why(race)

    assert run_every_order(scenario, check, record_property, may_fail=(StaleRowError,)) == {
        "",
        "StaleRowError: 0 of 1 undecided requests could be written: the others changed under their lock",
    }


def test_a_change_of_address_does_not_undo_another(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        for name, address in (("one", {"shipping": an_address(city="Bonn")}), ("other", {"note": "none"})):
            kind = "change_address" if name == "one" else "cancel"
            extra = {"addresses": address} if name == "one" else address
            deliver(a_request(str(index), kind, id=f"{name}{index}", **extra))
        return {"one": applying, "other": applying}

    def check(race: Race) -> str:
        settle()
        assert actions(race.index) == ["loaded", "shipping_address_changed", "cancelled"]
        return why(race)

    assert run_every_order(scenario, check, record_property, may_fail=(StaleRowError,)) == {
        "",
        "StaleRowError: 0 of 1 orders that are not sent could be written: the others changed under their lock",
    }


def test_two_interchanges_do_not_carry_the_same_order(partner: Partner, record_property: Record) -> None:
    other = replace(partner, name="OTHER")
    in_transaction(claiming(other))

    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        return {"one": claiming(partner), "other": claiming(other)}

    def check(race: Race) -> str:
        for name in ("one", "other"):
            if name not in race.failures and race[name].interchange:
                in_transaction(confirming(race[name].interchange))
        assert actions(race.index) == ["loaded", "edi_claimed", "edi_sent"]
        return why(race).partition(":")[0]

    ends = run_every_order(scenario, check, record_property, may_fail=(WrongOrders,), at_most=100)
    assert ends == {"", "WrongOrders"}


def test_a_partner_does_not_get_two_interchanges_at_once(partner: Partner, record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        return {"one": claiming(partner), "other": claiming(partner)}

    def check(race: Race) -> str:
        [winner] = [name for name in ("one", "other") if race[name] and race[name].interchange]
        in_transaction(confirming(race[winner].interchange))
        # Either would do; which of the two indexes is asked first is PostgreSQL's affair.
        assert why(race) in ("", "interchange_one_in_flight", "interchange_partner_control_number_unique")
        return "refused" if race.failures else "passed by"

    ends = run_every_order(scenario, check, record_property, may_fail=(IntegrityError,), at_most=100)
    assert ends == {"passed by", "refused"}


def test_a_line_is_not_restocked_twice(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        deliver(a_request(str(index), id=f"r{index}"))
        decide_all()
        return {"one": doing(RESTOCK), "other": doing(RESTOCK)}

    def check(race: Race) -> str:
        settle()
        return why(race)

    ends = run_every_order(scenario, check, record_property, may_fail=(IntegrityError, EffectGone))
    assert ends == {"", "stock_movement_order_id_line_no_cause_unique"}


def test_a_decision_is_not_put_into_words_twice(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        deliver(a_request(str(index), id=f"r{index}", kind="change_items"))
        decide_all()
        return {"one": doing(NOTIFY), "other": doing(NOTIFY)}

    def check(race: Race) -> str:
        settle()
        return why(race)

    ends = run_every_order(scenario, check, record_property, may_fail=(IntegrityError, EffectGone))
    assert ends == {"", "notification_change_request_id_unique"}
