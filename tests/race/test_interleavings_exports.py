"""Exports that meet one another, the store, and those who come late: every order of their statements."""

from dataclasses import replace
from pathlib import Path

import pytest

from database.transactions import in_transaction
from delivery.leases import LostFence
from edi.partners import Partner
from tests.builders import a_request, an_order, deliver, load, rows, settle
from tests.race.gates import Work
from tests.race.interleavings import Race
from tests.race.works import (
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
    releasing,
    request,
    run_every_order,
)

pytestmark = pytest.mark.usefixtures("system")

SENT = ["loaded", "edi_claimed", "edi_sent"]


@pytest.fixture
def partner(system: object, home: Path) -> Partner:
    return a_partner(home)


def end_the_lease() -> None:
    rows("UPDATE interchange SET lease_until = now() WHERE state = 'claimed' RETURNING id")


def test_of_two_partners_that_want_the_same_order_one_gets_it(partner: Partner, record_property: Record) -> None:
    other = replace(partner, name="OTHER")
    in_transaction(claiming(other))

    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        return {"one": claiming(partner), "other": claiming(other)}

    def check(race: Race) -> str:
        [winner] = [name for name in ("one", "other") if race[name].interchange]
        in_transaction(confirming(race[winner].interchange))
        assert actions(race.index) == SENT
        return winner

    assert run_every_order(scenario, check, record_property, at_most=100) == {"one", "other"}


def test_two_exports_that_could_take_an_order_each_send_one_interchange_after_the_other(
    partner: Partner, record_property: Record
) -> None:
    narrow = replace(partner, orders_per_interchange=1)

    def scenario(index: int) -> dict[str, Work]:
        load(an_order(f"{index}a"), an_order(f"{index}b"))
        return {"one": claiming(narrow), "other": claiming(narrow)}

    def check(race: Race) -> str:
        [winner] = [name for name in ("one", "other") if race[name].interchange]
        following = finish(race[winner], narrow).interchange
        assert following is not None
        assert following.control_number == race[winner].interchange.control_number + 1
        return winner

    assert run_every_order(scenario, check, record_property) == {"one", "other"}


def test_an_order_that_the_store_releases_goes_with_this_export_or_the_next(
    partner: Partner, record_property: Record
) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index), status="pre_order"))
        return {"claim": claiming(partner), "load": loading(an_order(str(index)))}

    def check(race: Race) -> str:
        following = finish(race["claim"], partner)
        assert actions(race.index) == ["loaded", "validated", "edi_claimed", "edi_sent"]
        return "the next" if following.interchange else "this"

    assert run_every_order(scenario, check, record_property) == {"this", "the next"}


def test_a_late_sender_confirms_or_has_lost_the_fence_and_the_order_is_sent_once(
    partner: Partner, record_property: Record
) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        late = claimed(partner)
        end_the_lease()
        return {"confirm": confirming(late), "take over": claiming(partner)}

    def check(race: Race) -> str:
        taken = race["take over"].interchange
        assert (race.commits[0] == "take over") == (taken is not None) == ("confirm" in race.failures)
        if taken:
            in_transaction(confirming(taken))
        assert actions(race.index) == SENT
        return "taken over" if taken else "confirmed"

    assert run_every_order(scenario, check, record_property, may_fail=(LostFence,)) == {"taken over", "confirmed"}


def test_a_late_sender_releases_nothing_that_another_is_sending(partner: Partner, record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        late = claimed(partner)
        end_the_lease()
        return {"release": releasing(late), "take over": claiming(partner)}

    def check(race: Race) -> str:
        taken = race["take over"].interchange
        assert (race.commits[0] == "take over") == (taken is not None) == ("release" in race.failures)
        end_the_rest()
        finish(race["take over"], partner)
        assert actions(race.index) == (SENT if taken else ["loaded", "edi_claimed", "edi_released", *SENT[1:]])
        return "taken over" if taken else "released"

    assert run_every_order(scenario, check, record_property, may_fail=(LostFence,)) == {"taken over", "released"}


@pytest.mark.parametrize("outcome", ["confirm", "release"])
def test_a_request_that_waits_for_an_interchange_is_decided_by_its_outcome(
    partner: Partner, outcome: str, record_property: Record
) -> None:
    def scenario(index: int) -> dict[str, Work]:
        end_the_rest()
        load(an_order(str(index)))
        sent = claimed(partner)
        deliver(a_request(str(index), id=f"r{index}"))
        return {"apply": applying, outcome: confirming(sent) if outcome == "confirm" else releasing(sent)}

    def check(race: Race) -> str:
        is_decided_here = bool(race["apply"])
        assert race.commits[0] == outcome or not is_decided_here
        settle()
        expected = ("sent", ["edi_already_sent"]) if outcome == "confirm" else ("not_sent", ["order_cancelled"])
        assert (order(race.index)["edi"], request(race.index)["reasons"]) == expected
        return "at once" if is_decided_here else "later"

    assert run_every_order(scenario, check, record_property) == {"at once", "later"}
