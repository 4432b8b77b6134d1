"""An intake that decides what it accepts, beside all that wants the same order: every order of the statements."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.builders import a_request, an_address, an_order, deliver, load, settle
from tests.race.gates import Work
from tests.race.interleavings import Race
from tests.race.works import (
    OUT_OF_PATIENCE,
    PATIENCE,
    Record,
    a_partner,
    actions,
    applying,
    claiming,
    finish,
    loading,
    order,
    request,
    run_every_order,
    taking,
)

pytestmark = pytest.mark.usefixtures("system")


def moving(index: int, name: str, city: str) -> dict[str, object]:
    return a_request(str(index), "change_address", id=f"{name}{index}", addresses={"shipping": an_address(city=city)})


@pytest.mark.parametrize("patience", [PATIENCE, OUT_OF_PATIENCE], ids=["patient", "out of patience"])
def test_a_cancellation_that_is_decided_as_it_is_taken_ends_cancelled_or_sent_never_both(
    patience: timedelta, home: Path, record_property: Record
) -> None:
    partner = a_partner(home)

    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        return {"take": taking(a_request(str(index), id=f"r{index}")), "claim": claiming(partner, patience)}

    def check(race: Race) -> str:
        is_claimed = race["claim"].interchange is not None
        at_once = bool(race["take"])
        # Out of patience, the exporter may have locked the order before the intake looked, and need not ask for it.
        if at_once or (patience and race.commits == ["take", "claim"]):
            assert not is_claimed
        finish(race["claim"], partner)
        found, told = order(race.index), request(race.index)
        expected = (
            ("validated", "sent", ["edi_already_sent"])
            if is_claimed
            else ("cancelled", "not_sent", ["order_cancelled"])
        )
        assert (found["status"], found["edi"], told["reasons"]) == expected
        return "sent" if is_claimed else "cancelled at once" if at_once else "cancelled later"

    ends = {"sent", "cancelled at once", "cancelled later"}
    assert run_every_order(scenario, check, record_property) == ends


def test_a_request_that_is_taken_does_not_overtake_an_earlier_one_that_is_being_decided(
    record_property: Record,
) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        deliver(moving(index, "first", "Bonn"))
        return {"apply": applying, "take": taking(a_request(str(index), id=f"second{index}"))}

    def check(race: Race) -> str:
        at_once = bool(race["take"])
        settle()
        assert actions(race.index) == ["loaded", "shipping_address_changed", "cancelled"]
        return "at once" if at_once else "later"

    assert run_every_order(scenario, check, record_property) == {"at once", "later"}


def test_of_two_intakes_that_decide_for_one_order_the_second_sees_what_the_first_has_left(
    record_property: Record,
) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        return {name: taking(moving(index, name, city)) for name, city in (("one", "Bonn"), ("other", "Aachen"))}

    def check(race: Race) -> str:
        settle()
        cities = {"one": "Bonn", "other": "Aachen"}
        entries = [e for e in order(race.index)["changelog"] if e["action"] == "shipping_address_changed"]
        moved = [(e["before"]["shipping"]["city"], e["after"]["shipping"]["city"]) for e in entries]
        first, second = (cities[name] for name in race.commits)
        assert moved == [("Köln", first), (first, second)]
        return first

    assert run_every_order(scenario, check, record_property) == {"Bonn", "Aachen"}


def test_a_request_whose_order_is_loaded_as_it_is_taken_is_decided_at_once_or_later(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        return {"take": taking(a_request(str(index), id=f"r{index}")), "load": loading(an_order(str(index)))}

    def check(race: Race) -> str:
        at_once = bool(race["take"])
        settle()
        assert actions(race.index) == ["loaded", "cancelled"]
        return "at once" if at_once else "later"

    assert run_every_order(scenario, check, record_property) == {"at once", "later"}
