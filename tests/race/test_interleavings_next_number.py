"""An operator sets a partner's next number beside an export: every order of their statements."""

from pathlib import Path

import pytest

from database.transactions import in_transaction
from edi import numbers
from edi.operator_actions import NotPossible
from edi.partners import Partner
from tests.builders import an_order, load, rows
from tests.race.gates import Work
from tests.race.interleavings import Race
from tests.race.works import Record, a_partner, claiming, confirming, run_every_order

pytestmark = pytest.mark.usefixtures("system")


@pytest.fixture
def partner(system: object, home: Path) -> Partner:
    one = a_partner(home)
    in_transaction(claiming(one))
    return one


def setting(partner: Partner, number: int) -> Work:
    return lambda connection: numbers.set_next(connection, partner, number)


def last_number() -> int:
    [(number,)] = rows("SELECT coalesce(max(last_control_number), 0) FROM partner")
    return int(number)


def test_a_number_is_skipped_before_the_claim_or_after_it_and_never_left_out(
    partner: Partner, record_property: Record
) -> None:
    before: dict[int, int] = {}

    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        before[index] = last_number()
        return {"claim": claiming(partner), "set": setting(partner, before[index] + 10)}

    def check(race: Race) -> str:
        sent = race["claim"].interchange
        in_transaction(confirming(sent))
        first = race.commits[0]
        assert sent.control_number == before[race.index] + (1 if first == "claim" else 10)
        assert last_number() == before[race.index] + (9 if first == "claim" else 10)
        return first

    assert run_every_order(scenario, check, record_property) == {"claim", "set"}


def test_nobody_sets_a_number_that_a_claim_takes_meanwhile(partner: Partner, record_property: Record) -> None:
    before: dict[int, int] = {}

    def scenario(index: int) -> dict[str, Work]:
        load(an_order(str(index)))
        in_transaction(setting(partner, last_number() + 10))
        before[index] = last_number()
        # Back to where the operator was, which is possible until the number is used.
        return {"claim": claiming(partner), "set": setting(partner, before[index] - 3)}

    def check(race: Race) -> str:
        sent = race["claim"].interchange
        in_transaction(confirming(sent))
        if race.commits[0] == "claim":
            assert isinstance(race.failures["set"], NotPossible)
            assert sent.control_number == before[race.index] + 1
        else:
            assert sent.control_number == before[race.index] - 3
        assert last_number() == sent.control_number
        return str(race.commits[0])

    may_fail = (NotPossible,)
    assert run_every_order(scenario, check, record_property, may_fail=may_fail) == {"claim", "set"}


def test_two_operators_at_once_leave_one_number_and_no_gap(partner: Partner, record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        last = last_number()
        return {"one": setting(partner, last + 5), "other": setting(partner, last + 9)}

    def check(race: Race) -> str:
        [row] = rows("SELECT sum(next_after - next_before) AS skipped FROM renumbering")
        [used] = rows("SELECT count(*) AS n FROM interchange WHERE NOT number_is_free")
        assert last_number() == used.n + row.skipped
        return str(race.commits[-1])

    assert run_every_order(scenario, check, record_property) == {"one", "other"}
