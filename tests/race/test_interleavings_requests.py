"""Requests that are decided, parked, counted and reprocessed at the same time: every order of the statements."""

from pathlib import Path

import pytest

from tests.builders import a_request, an_address, an_order, deliver, load, rows, settle
from tests.race.gates import Work
from tests.race.interleavings import Race
from tests.race.works import (
    Record,
    a_partner,
    accepting,
    actions,
    applying,
    claiming,
    failing,
    finish,
    id_of,
    loading,
    park,
    parking,
    request,
    reviving,
    run_every_order,
)

pytestmark = pytest.mark.usefixtures("system")


def moving(index: int, name: str, city: str) -> dict[str, object]:
    return a_request(str(index), "change_address", id=f"{name}{index}", addresses={"shipping": an_address(city=city)})


def let_time_pass() -> None:
    rows("UPDATE change_request SET not_before = now() WHERE state = 'received' RETURNING id")


def test_a_request_that_comes_while_an_earlier_one_is_decided_is_decided_after_it(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        deliver(moving(index, "first", "Bonn"))
        return {"apply": applying, "accept": accepting(a_request(str(index), id=f"second{index}"))}

    def check(race: Race) -> str:
        assert race["accept"].new == 1
        together = len(race["apply"]) == 2
        settle()
        assert actions(race.index) == ["loaded", "shipping_address_changed", "cancelled"]
        return "together" if together else "one by one"

    assert run_every_order(scenario, check, record_property) == {"together", "one by one"}


def test_a_reprocessed_request_is_decided_once_beside_what_is_decided_meanwhile(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        park(moving(index, "parked", "Bonn"))
        deliver(a_request(str(index), id=f"r{index}"))
        return {"reprocess": reviving(), "apply": applying}

    def check(race: Race) -> str:
        assert race["reprocess"] == 1
        settle()
        assert request(race.index)["reasons"] == ["order_cancelled"]
        reported = request(race.index, "parked")["reasons"]
        moved = ["shipping_address_changed"] if reported == ["shipping_address_changed"] else []
        assert moved or reported == ["order_is_closed"]
        assert actions(race.index) == ["loaded", *moved, "cancelled"]
        return str(reported[0])

    assert run_every_order(scenario, check, record_property) == {"shipping_address_changed", "order_is_closed"}


def test_two_who_reprocess_the_same_request_revive_it_once(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        park(a_request(str(index), id=f"r{index}"))
        return {"one": reviving(), "other": reviving()}

    def check(race: Race) -> str:
        assert race["one"] + race["other"] == 1
        settle()
        assert actions(race.index) == ["loaded", "cancelled"]
        return "one" if race["one"] else "other"

    assert run_every_order(scenario, check, record_property) == {"one", "other"}


def test_a_reprocessed_request_holds_its_order_back_or_comes_too_late(home: Path, record_property: Record) -> None:
    partner = a_partner(home)

    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        # Without a ticket: one on a ticket would get a note before the claim.
        park(a_request(str(index), id=f"r{index}", ticket=None))
        return {"reprocess": reviving(), "claim": claiming(partner)}

    def check(race: Race) -> str:
        is_claimed = race["claim"].interchange is not None
        assert race.commits[0] == "claim" or not is_claimed
        finish(race["claim"], partner)
        expected = ["edi_already_sent"] if is_claimed else ["order_cancelled"]
        assert request(race.index)["reasons"] == expected
        return expected[0]

    assert run_every_order(scenario, check, record_property) == {"edi_already_sent", "order_cancelled"}


def test_a_request_whose_order_comes_as_its_patience_ends_is_decided_by_itself(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        deliver(a_request(str(index), id=f"r{index}"))
        return {"park": parking, "load": loading(an_order(str(index)))}

    def check(race: Race) -> str:
        settle()
        assert request(race.index)["state"] == "decided"
        assert actions(race.index) == ["loaded", "cancelled"]
        return race.commits[0]

    assert run_every_order(scenario, check, record_property) == {"park", "load"}


def test_a_failure_that_is_counted_late_does_not_touch_what_another_worker_has_decided(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        deliver(a_request(str(index), id=f"r{index}"))
        return {"count": failing(id_of(f"r{index}")), "apply": applying}

    def check(race: Race) -> str:
        state = request(race.index)["state"]
        assert (state == "decided") == bool(race["apply"])
        let_time_pass()
        settle()
        assert actions(race.index) == ["loaded", "cancelled"]
        return str(state)

    assert run_every_order(scenario, check, record_property) == {"decided", "received"}
