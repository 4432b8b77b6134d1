"""Leaving out orders whose steps commute loses nothing: all orders together come to the same ends."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import pytest

from tests.builders import a_request, an_order, deliver, load, rows, settle
from tests.race.gates import Work
from tests.race.interleavings import Race, explore
from tests.race.works import Record, accepting, applying, loading, parking

pytestmark = pytest.mark.usefixtures("system")

Scenario: TypeAlias = Callable[[int], Mapping[str, Work]]


def accepting_and_applying(index: int) -> Mapping[str, Work]:
    load(an_order(str(index)))
    deliver(a_request(str(index), "change_items", id=f"first{index}"))
    second = accepting(a_request(str(index), "change_items", id=f"second{index}"))
    return {"accept": second, "apply": applying}


def parking_and_loading(index: int) -> Mapping[str, Work]:
    deliver(a_request(str(index), "change_items", id=f"r{index}"))
    return {"park": parking, "load": loading(an_order(str(index)))}


def two_intakes(index: int) -> Mapping[str, Work]:
    same = a_request(str(index), id=f"r{index}")
    return {"one": accepting(same), "other": accepting(same)}


def ends(scenario: Scenario, first: int, *, reduced: bool) -> tuple[int, set[object]]:
    """Runs every order; returns how many there are, and what the requests were and the sessions returned at the end."""
    seen: set[object] = set()

    def check(race: Race) -> None:
        found = rows(
            "SELECT rtrim(external_id, '0123456789') AS name, state, reasons::text FROM change_request"
            " WHERE order_number = :number ORDER BY id",
            number=str(first + race.index),
        )
        results = [len(race[name]) if name == "apply" else str(race[name]) for name in race.sessions]
        seen.add((*results, *map(tuple, found)))
        settle()

    return len(explore(lambda index: scenario(first + index), check, reduced=reduced)), seen


@pytest.mark.parametrize("scenario", [accepting_and_applying, parking_and_loading, two_intakes])
def test_the_orders_that_are_run_come_to_the_same_ends_as_all_there_are(
    scenario: Scenario, record_property: Record
) -> None:
    some, seen = ends(scenario, 0, reduced=True)
    all_there_are, seen_in_all = ends(scenario, some, reduced=False)
    record_property("interleavings", some + all_there_are)
    print(f"{some} of {all_there_are} interleavings, {len(seen)} ends")
    assert seen == seen_in_all
    assert some < all_there_are
    assert len(seen) > 1
