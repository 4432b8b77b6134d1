"""The races of the contract, each run for every order of its statements that can make a difference."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from database.transactions import in_transaction
from edi.partners import Partner
from tests.builders import a_request, an_address, an_order, deliver, load, rows, settle
from tests.race.gates import Work
from tests.race.interleavings import Race
from tests.race.works import (
    OUT_OF_PATIENCE,
    PATIENCE,
    Record,
    a_partner,
    accepting,
    applying,
    claiming,
    confirming,
    drafting_and_claiming,
    finish,
    loading,
    order,
    request,
    run_every_order,
)

pytestmark = pytest.mark.usefixtures("system")


@pytest.fixture
def partner(system: object, home: Path) -> Partner:
    return a_partner(home)


def race_a_cancellation(partner: Partner, patience: timedelta, record: Record) -> set[str]:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        deliver(a_request(str(index), id=f"r{index}"))
        return {"apply": applying, "claim": claiming(partner, patience)}

    def check(race: Race) -> str:
        is_claimed = race["claim"].interchange is not None
        found = order(race.index)
        expected = ("validated", "claimed") if is_claimed else ("cancelled", "not_sent")
        assert (found["status"], found["edi"]) == expected
        finish(race["claim"], partner)
        found, reported = order(race.index), request(race.index)
        if is_claimed:
            assert (found["status"], found["edi"], reported["reasons"]) == ("validated", "sent", ["edi_already_sent"])
        else:
            assert (found["status"], found["edi"], reported["reasons"]) == (
                "cancelled",
                "not_sent",
                ["order_cancelled"],
            )
        return "sent" if is_claimed else "cancelled"

    return run_every_order(scenario, check, record)


def test_an_undecided_cancellation_holds_its_order_back_from_an_export_that_starts_with_its_decision(
    partner: Partner, record_property: Record
) -> None:
    assert race_a_cancellation(partner, PATIENCE, record_property) == {"cancelled"}


def test_a_cancellation_and_an_export_that_has_lost_patience_end_one_way_or_the_other_never_both(
    partner: Partner, record_property: Record
) -> None:
    assert race_a_cancellation(partner, OUT_OF_PATIENCE, record_property) == {"cancelled", "sent"}


def test_a_cancellation_accepted_before_the_claim_wins_over_the_export(
    partner: Partner, record_property: Record
) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        return {"accept": accepting(a_request(str(index), id=f"r{index}")), "claim": claiming(partner)}

    def check(race: Race) -> str:
        is_claimed = race["claim"].interchange is not None
        if race.commits == ["accept", "claim"]:
            assert not is_claimed
        finish(race["claim"], partner)
        found, reported = order(race.index), request(race.index)
        if is_claimed:
            assert (found["status"], found["edi"], reported["reasons"]) == ("validated", "sent", ["edi_already_sent"])
        else:
            assert (found["status"], found["edi"], reported["reasons"]) == (
                "cancelled",
                "not_sent",
                ["order_cancelled"],
            )
        return "sent" if is_claimed else "cancelled"

    assert run_every_order(scenario, check, record_property) == {"cancelled", "sent"}


@pytest.mark.parametrize("patience", [OUT_OF_PATIENCE, PATIENCE], ids=["out of patience", "patient"])
def test_an_escalation_that_is_decided_before_the_claim_holds_its_order_back(
    partner: Partner, patience: timedelta, record_property: Record
) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        deliver(a_request(str(index), id=f"r{index}", requester="eve@example.net"))
        return {"apply": applying, "claim": claiming(partner, patience)}

    def check(race: Race) -> str:
        is_claimed = race["claim"].interchange is not None
        is_decided = bool(race["apply"])
        if patience or (is_decided and race.commits == ["apply", "claim"]):
            assert not is_claimed
        finish(race["claim"], partner)
        assert request(race.index)["outcome"] == "escalated"
        # What was sent is no longer held; what is held is not sent, also by the next export.
        found = order(race.index)
        assert (found["edi"], "held_until" in found) == (("sent", False) if is_claimed else ("not_sent", True))
        return "sent" if is_claimed else "held"

    ends = run_every_order(scenario, check, record_property)
    assert ends == ({"held"} if patience else {"held", "sent"})


def delivery_party(content: bytes) -> str:
    [segment] = [one for one in content.decode("latin-1").split("'") if one.startswith("NAD+DP")]
    return segment


@pytest.mark.parametrize(
    "exporting",
    [pytest.param(claiming, id="rendered under the locks"), pytest.param(drafting_and_claiming, id="rendered before")],
)
def test_the_bytes_say_the_old_or_the_new_address_and_so_do_the_order_and_its_changelog(
    partner: Partner, record_property: Record, exporting: Callable[[Partner, timedelta], Work]
) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        moved = {"shipping": an_address(city="Bonn")}
        deliver(a_request(str(index), "change_address", id=f"r{index}", addresses=moved))
        return {"apply": applying, "claim": exporting(partner, OUT_OF_PATIENCE)}

    def check(race: Race) -> str:
        following = finish(race["claim"], partner)
        sent = race["claim"].interchange or following.interchange
        assert sent is not None
        found, reported = order(race.index), request(race.index)
        city, other = ("Bonn", "Köln") if reported["outcome"] == "applied" else ("Köln", "Bonn")
        assert city in delivery_party(sent.content)
        assert other not in delivery_party(sent.content)
        assert (found["shipping"]["city"], found["edi"]) == (city, "sent")
        changed = ["shipping_address_changed"] if city == "Bonn" else []
        assert [e["action"] for e in found["changelog"]] == ["loaded", *changed, "edi_claimed", "edi_sent"]
        return f"{city} by the {'racing' if race['claim'].interchange else 'next'} export"

    assert run_every_order(scenario, check, record_property) == {
        "Köln by the racing export",
        "Bonn by the racing export",
        "Bonn by the next export",
    }


def test_two_workers_decide_the_requests_of_one_order_once_and_in_sequence(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        for name, city in (("first", "Bonn"), ("second", "Aachen")):
            moved = {"shipping": an_address(city=city)}
            deliver(a_request(str(index), "change_address", id=f"{name}{index}", addresses=moved))
        return {"one": applying, "other": applying}

    def check(race: Race) -> str:
        settle()
        assert (request(race.index, "first")["outcome"], request(race.index, "second")["outcome"]) == (
            "applied",
            "applied",
        )
        entries = [e for e in order(race.index)["changelog"] if e["action"] == "shipping_address_changed"]
        cities = [(e["before"]["shipping"]["city"], e["after"]["shipping"]["city"]) for e in entries]
        assert cities == [("Köln", "Bonn"), ("Bonn", "Aachen")]
        return "in sequence"

    assert run_every_order(scenario, check, record_property) == {"in sequence"}


@pytest.mark.parametrize("is_known", [True, False], ids=["known partner", "new partner"])
def test_two_exports_make_one_interchange_and_no_gap_in_the_numbers(
    partner: Partner, is_known: bool, record_property: Record
) -> None:
    def to(index: int) -> Partner:
        return partner if is_known else replace(partner, name=f"NEW{index}")

    def scenario(index: int) -> dict[str, Work]:
        load(an_order(f"{index}a"), an_order(f"{index}b"))
        return {"one": claiming(to(index)), "other": claiming(to(index))}

    def check(race: Race) -> str:
        [winner] = [name for name in ("one", "other") if race[name].interchange]
        won = race[winner].interchange
        assert (won.orders, won.control_number) == (2, race.index + 1 if is_known else 1)
        in_transaction(confirming(won))
        return winner

    assert run_every_order(scenario, check, record_property) == {"one", "other"}


@pytest.mark.parametrize("note", ["Ordered twice", "Changed my mind"], ids=["same data", "other data"])
def test_of_two_intakes_of_one_key_the_first_to_commit_keeps_it(note: str, record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        return {
            "one": accepting(a_request("7", id=f"r{index}", note="Ordered twice")),
            "other": accepting(a_request("7", id=f"r{index}", note=note)),
        }

    def check(race: Race) -> str:
        first, second = (race[name] for name in race.commits)
        conflict = int(note != "Ordered twice")
        assert (first.new, first.repeated, first.dead) == (1, 0, 0)
        assert (second.new, second.repeated, second.dead) == (0, 1 - conflict, conflict)
        [[body]] = rows("SELECT body FROM change_request WHERE external_id = :id", id=f"r{race.index}")
        assert (note.encode() in body) == (race.commits[0] == "other" or not conflict)
        return race.commits[0]

    assert run_every_order(scenario, check, record_property) == {"one", "other"}


def test_requests_for_one_order_have_their_ids_in_the_sequence_of_their_commits(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        numbers = (f"{index}a", f"{index}b")
        # Crosswise, so that two intakes that locked as they come would wait for one another.
        return {
            name: accepting(*(a_request(number, id=f"{name}-{number}") for number in sequence))
            for name, sequence in (("one", numbers), ("other", numbers[::-1]))
        }

    def check(race: Race) -> str:
        for number in (f"{race.index}a", f"{race.index}b"):
            taken = rows(
                "SELECT external_id FROM change_request WHERE order_number = :number ORDER BY id", number=number
            )
            assert [row.external_id for row in taken] == [f"{name}-{number}" for name in race.commits]
        return race.commits[0]

    assert run_every_order(scenario, check, record_property) == {"one", "other"}


def test_a_pre_order_is_abandoned_or_validated_first_and_then_cancelled(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index), status="pre_order"))
        deliver(a_request(str(index), id=f"r{index}"))
        return {"apply": applying, "load": loading(an_order(str(index)))}

    def check(race: Race) -> str:
        settle()
        found = order(race.index)
        restocked = rows(
            "SELECT m.* FROM stock_movement m JOIN orders o ON o.id = order_id WHERE number = :n", n=str(race.index)
        )
        if race["load"].validated:
            assert [e["action"] for e in found["changelog"]] == ["loaded", "validated", "cancelled"]
            assert (found["status"], len(restocked)) == ("cancelled", 2)
        else:
            assert [e["action"] for e in found["changelog"]] == ["loaded", "abandoned"]
            assert (found["status"], len(restocked)) == ("abandoned", 0)
            assert [one.fields for one in race["load"].differences] == [("status",)]
        return str(found["status"])

    assert run_every_order(scenario, check, record_property) == {"abandoned", "cancelled"}
