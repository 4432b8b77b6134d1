"""An intake that decides what it accepts, beside all that wants the same order: every order of the statements."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.builders import a_request, an_address, an_order, deliver, load, rows, settle
from tests.builders import order as find_order
from tests.race.gates import Work
from tests.race.interleavings import Race
from tests.race.works import (
    OUT_OF_PATIENCE,
    PATIENCE,
    Record,
    a_partner,
    actions,
    applying,
    claimed,
    claiming,
    confirming,
    end_the_rest,
    finish,
    loading,
    order,
    park,
    releasing,
    request,
    reviving,
    run_every_order,
    taking,
)

pytestmark = pytest.mark.usefixtures("system")


def moving_order(number: str, request_id: str, city: str) -> dict[str, object]:
    return a_request(number, "change_address", id=request_id, addresses={"shipping": an_address(city=city)})


def moving(index: int, name: str, city: str) -> dict[str, object]:
    return moving_order(str(index), f"{name}{index}", city)


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
        found, reported = order(race.index), request(race.index)
        expected = (
            ("validated", "sent", ["edi_already_sent"])
            if is_claimed
            else ("cancelled", "not_sent", ["order_cancelled"])
        )
        assert (found["status"], found["edi"], reported["reasons"]) == expected
        return "sent" if is_claimed else "cancelled at once" if at_once else "cancelled later"

    ends = {"sent", "cancelled at once", "cancelled later"}
    assert run_every_order(scenario, check, record_property) == ends


def test_an_escalation_that_is_decided_as_it_is_taken_holds_its_order_or_comes_too_late(
    home: Path, record_property: Record
) -> None:
    partner = a_partner(home)

    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        taken = taking(a_request(str(index), id=f"r{index}", requester="eve@example.net"))
        return {"take": taken, "claim": claiming(partner)}

    def check(race: Race) -> str:
        is_claimed = race["claim"].interchange is not None
        at_once = bool(race["take"])
        if at_once or race.commits == ["take", "claim"]:
            assert not is_claimed
        finish(race["claim"], partner)
        assert request(race.index)["outcome"] == "escalated"
        found = order(race.index)
        assert (found["edi"], "held_until" in found) == (("sent", False) if is_claimed else ("not_sent", True))
        return "sent" if is_claimed else "held at once" if at_once else "held later"

    assert run_every_order(scenario, check, record_property) == {"sent", "held at once", "held later"}


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


@pytest.mark.parametrize("outcome", ["confirm", "release"])
def test_a_request_that_is_taken_while_its_order_is_on_its_way_is_decided_by_the_outcome(
    outcome: str, home: Path, record_property: Record
) -> None:
    partner = a_partner(home)

    def scenario(index: int) -> dict[str, Work]:
        end_the_rest()
        load(an_order(str(index)))
        sent = claimed(partner)
        settled = confirming(sent) if outcome == "confirm" else releasing(sent)
        return {"take": taking(a_request(str(index), id=f"r{index}")), outcome: settled}

    def check(race: Race) -> str:
        at_once = bool(race["take"])
        assert race.commits[0] == outcome or not at_once
        settle()
        expected = ("sent", ["edi_already_sent"]) if outcome == "confirm" else ("not_sent", ["order_cancelled"])
        assert (order(race.index)["edi"], request(race.index)["reasons"]) == expected
        return "at once" if at_once else "later"

    assert run_every_order(scenario, check, record_property) == {"at once", "later"}


def test_a_request_that_is_taken_beside_one_that_is_reprocessed_is_decided_once_and_so_is_that(
    record_property: Record,
) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        park(moving(index, "parked", "Bonn"))
        return {"take": taking(a_request(str(index), id=f"r{index}")), "reprocess": reviving()}

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


def test_two_intakes_that_decide_for_two_orders_crosswise_do_not_wait_for_one_another(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        numbers = (f"{index}a", f"{index}b")
        load(*map(an_order, numbers))
        cities = {"one": "Bonn", "other": "Aachen"}
        return {
            name: taking(*(moving_order(number, f"{name}-{number}", cities[name]) for number in sequence))
            for name, sequence in (("one", numbers), ("other", numbers[::-1]))
        }

    def check(race: Race) -> str:
        settle()
        cities = {"one": "Bonn", "other": "Aachen"}
        for number in (f"{race.index}a", f"{race.index}b"):
            entries = [e for e in find_order(number)["changelog"] if e["action"] == "shipping_address_changed"]
            assert [e["after"]["shipping"]["city"] for e in entries] == [cities[name] for name in race.commits]
        return race.commits[0]

    assert run_every_order(scenario, check, record_property) == {"one", "other"}


def test_a_pre_order_that_the_store_releases_as_its_cancellation_is_taken_is_abandoned_or_cancelled(
    record_property: Record,
) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index), status="pre_order"))
        return {"take": taking(a_request(str(index), id=f"r{index}")), "load": loading(an_order(str(index)))}

    def check(race: Race) -> str:
        settle()
        found = order(race.index)
        restocked = rows(
            "SELECT m.* FROM stock_movement m JOIN orders o ON o.id = order_id WHERE number = :n", n=str(race.index)
        )
        expected = (
            (["loaded", "validated", "cancelled"], "cancelled", 2)
            if race["load"].validated
            else (["loaded", "abandoned"], "abandoned", 0)
        )
        assert (actions(race.index), found["status"], len(restocked)) == expected
        return f"{found['status']} {'at once' if race['take'] else 'later'}"

    ends = run_every_order(scenario, check, record_property)
    assert ends == {"abandoned at once", "cancelled at once"}
