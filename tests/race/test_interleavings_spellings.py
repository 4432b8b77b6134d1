"""One order under several spellings of its number: accepting, loading and exporting see one order, in every order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from database.transactions import in_transaction
from tests.builders import a_request, an_address, an_order, load, settle
from tests.race.gates import Work
from tests.race.interleavings import Race
from tests.race.works import (
    PATIENCE,
    Record,
    a_partner,
    accepting,
    actions,
    claiming,
    finish,
    loading,
    order,
    park,
    request,
    reviving,
    run_every_order,
    taking,
)

pytestmark = pytest.mark.usefixtures("system")


def test_a_cancellation_that_spells_the_number_otherwise_wins_over_an_export_that_comes_after_it(
    home: Path, record_property: Record
) -> None:
    partner = a_partner(home)

    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        return {"accept": accepting(a_request(f"#{index}", id=f"r{index}")), "claim": claiming(partner)}

    def check(race: Race) -> str:
        is_claimed = race["claim"].interchange is not None
        if race.commits == ["accept", "claim"]:
            assert not is_claimed
        finish(race["claim"], partner)
        expected = ("sent", ["edi_already_sent"]) if is_claimed else ("not_sent", ["order_cancelled"])
        assert (order(race.index)["edi"], request(race.index)["reasons"]) == expected
        return expected[0]

    assert run_every_order(scenario, check, record_property) == {"not_sent", "sent"}


@pytest.mark.parametrize("intake", [accepting, taking], ids=["kept", "decided at once"])
def test_a_request_in_another_spelling_that_is_accepted_as_its_order_is_loaded_holds_that_back(
    intake: Callable[[dict[str, Any]], Work], home: Path, record_property: Record
) -> None:
    partner = a_partner(home)

    def scenario(index: int) -> dict[str, Work]:
        return {
            "accept": intake(a_request(f"Order no. {index}", id=f"r{index}")),
            "load": loading(an_order(str(index))),
        }

    def check(race: Race) -> str:
        assert in_transaction(claiming(partner, PATIENCE)).interchange is None
        settle()
        assert actions(race.index) == ["loaded", "cancelled"]
        assert request(race.index)["order"] == str(race.index)
        return race.commits[0]

    assert run_every_order(scenario, check, record_property) == {"accept", "load"}


def test_requests_in_two_spellings_are_decided_in_the_sequence_of_their_commits(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(f"A-{index}"))

        def moving(name: str, spelling: str, city: str) -> Work:
            moved = {"shipping": an_address(city=city)}
            return taking(a_request(spelling, "change_address", id=f"{name}{index}", addresses=moved))

        return {"one": moving("one", f"a-{index}", "Bonn"), "other": moving("other", f"# A–{index}.", "Aachen")}

    def check(race: Race) -> str:
        settle()
        decided = [request(race.index, name)["decided_at"] for name in race.commits]
        assert decided == sorted(decided)
        assert {request(race.index, name)["order"] for name in race.commits} == {f"A-{race.index}"}
        return race.commits[0]

    assert run_every_order(scenario, check, record_property) == {"one", "other"}


def test_a_parked_request_that_is_reprocessed_as_its_order_is_loaded_finds_it(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        park(a_request(f"№ {index}", id=f"r{index}"))
        return {"reprocess": reviving(), "load": loading(an_order(str(index)))}

    def check(race: Race) -> str:
        settle()
        assert (request(race.index)["order"], request(race.index)["reasons"]) == (str(race.index), ["order_cancelled"])
        return race.commits[0]

    assert run_every_order(scenario, check, record_property) == {"reprocess", "load"}
