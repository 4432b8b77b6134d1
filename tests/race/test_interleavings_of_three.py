"""Three at once: a decision, an export, and an intake that brings a second request for the same order."""

from pathlib import Path

import pytest

from tests.builders import a_request, an_order, deliver, load
from tests.race.gates import Work
from tests.race.interleavings import Race
from tests.race.works import Record, a_partner, accepting, applying, claiming, finish, order, request, run_every_order

pytestmark = pytest.mark.usefixtures("system")


def test_a_second_request_that_comes_while_the_first_is_decided_is_in_time_or_too_late_for_the_export(
    home: Path, record_property: Record
) -> None:
    partner = a_partner(home)

    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        deliver(a_request(str(index), "change_items", id=f"first{index}"))
        second = accepting(a_request(str(index), id=f"second{index}"))
        return {"apply": applying, "claim": claiming(partner), "accept": second}

    def check(race: Race) -> str:
        is_claimed = race["claim"].interchange is not None
        finish(race["claim"], partner)
        found, first, second = order(race.index), request(race.index, "first"), request(race.index, "second")
        # The first holds its order back from the export until it is decided.
        assert first["reasons"] == ["items_are_fixed"]
        if is_claimed:
            assert (found["status"], found["edi"], second["reasons"]) == ("validated", "sent", ["edi_already_sent"])
        else:
            assert (found["status"], found["edi"], second["reasons"]) == ("cancelled", "not_sent", ["order_cancelled"])
        return "too late" if is_claimed else "in time"

    assert run_every_order(scenario, check, record_property, at_most=200) == {"too late", "in time"}
