"""What follows a decision, by two workers at once: every order of their statements."""

import pytest

from database.transactions import in_transaction
from delivery.leases import LostFence
from delivery.outcomes import Failure
from orders import answers
from orders.answers import Leased
from tasks.effects import NOTIFY, RESTOCK
from tests.builders import a_request, an_order, decide_all, deliver, load, rows, settle
from tests.race.gates import Work
from tests.race.interleavings import Race
from tests.race.works import Record, actions, doing, run_every_order

pytestmark = pytest.mark.usefixtures("system")

DESTINATION = "zendesk:acme"


def cancelled(number: str, *skus: str) -> int:
    """Lets an order of these articles be cancelled; returns the id of its restock."""
    lines = [{"sku": sku, "description": "Mug", "quantity": 2, "unit_price": "1"} for sku in skus]
    load(an_order(number, lines=lines))
    deliver(a_request(number, id=f"r{number}"))
    decide_all()
    return effect("restock", number)


def effect(kind: str, number: str) -> int:
    [[found]] = rows(
        "SELECT effect.id FROM effect JOIN change_request AS request ON request.id = change_request_id"
        " WHERE effect.kind = :kind AND order_number = :number",
        kind=kind,
        number=number,
    )
    return int(found)


def in_stock(index: int) -> list[tuple[str, int]]:
    found = rows("SELECT sku, quantity FROM stock WHERE sku LIKE :skus ORDER BY sku", skus=f"%-{index}")
    return [(row.sku, row.quantity) for row in found]


@pytest.mark.parametrize("apart", [True, False], ids=["an effect each", "all that is due"])
def test_two_restocks_of_the_same_articles_put_each_line_back_once(apart: bool, record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        skus = (f"A-{index}", f"B-{index}")
        one, other = cancelled(f"{index}a", *skus), cancelled(f"{index}b", *skus[::-1])
        return {
            "one": doing(RESTOCK, [one] if apart else None),
            "other": doing(RESTOCK, [other] if apart else None),
        }

    def check(race: Race) -> str:
        assert in_stock(race.index) == [(f"A-{race.index}", 4), (f"B-{race.index}", 4)]
        settle()
        assert in_stock(race.index) == [(f"A-{race.index}", 4), (f"B-{race.index}", 4)]
        return race.commits[0] if apart else "one" if race["one"] else "other"

    assert run_every_order(scenario, check, record_property) == {"one", "other"}


def test_two_workers_put_a_decision_into_words_once(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        cancelled(str(index), f"A-{index}")
        return {"one": doing(NOTIFY), "other": doing(NOTIFY)}

    def check(race: Race) -> str:
        assert len(race["one"]) + len(race["other"]) == 1
        settle()
        return "one" if race["one"] else "other"

    assert run_every_order(scenario, check, record_property) == {"one", "other"}


def an_answer(index: int) -> int:
    """Writes an answer for a ticket that is due; returns the id of its effect."""
    cancelled(str(index), f"A-{index}")
    notify = effect("notify", str(index))
    [[request]] = rows("SELECT change_request_id FROM effect WHERE id = :id", id=notify)
    words = {"visibility": "public", "subject": "Your request", "body": "It is cancelled."}
    row = {"effect_id": notify, "change_request_id": request, "channel": "ticket", "state": "pending"}
    row |= {"destination": DESTINATION, **words}
    in_transaction(lambda connection: answers.write(connection, [row]))
    return notify


def late_holder(effect_id: int) -> Leased:
    """Leases the answer, and ends the lease."""
    late = in_transaction(answers.lease)
    assert late is not None
    rows("UPDATE effect SET not_before = now() WHERE id = :id RETURNING id", id=effect_id)
    return late


def confirming(leased: Leased) -> Work:
    return lambda connection: answers.confirm(connection, leased)


def failing(leased: Leased) -> Work:
    return lambda connection: answers.fail(connection, leased, Failure("no answer", outcome_unknown=True))


def notified(index: int) -> list[str]:
    found = rows(
        "SELECT effect.state, notification.state FROM notification JOIN effect USING (change_request_id)"
        " JOIN change_request AS request ON request.id = change_request_id"
        " WHERE order_number = :number AND effect.kind = 'notify'",
        number=str(index),
    )
    return [*found[0]]


def finish(index: int, leased: Leased | None) -> None:
    if leased is not None:
        in_transaction(confirming(leased))
    settle()
    assert notified(index) == ["done", "sent"]
    assert actions(index) == ["loaded", "cancelled"]


def test_an_answer_is_leased_to_one_of_two(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        an_answer(index)
        return {"one": answers.lease, "other": answers.lease}

    def check(race: Race) -> str:
        [holder] = [name for name in ("one", "other") if race[name]]
        finish(race.index, race[holder])
        return holder

    assert run_every_order(scenario, check, record_property) == {"one", "other"}


def test_a_late_holder_of_a_lease_confirms_or_has_lost_the_fence(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        late = late_holder(an_answer(index))
        return {"confirm": confirming(late), "lease": answers.lease}

    def check(race: Race) -> str:
        leased = race["lease"]
        assert (leased is not None) == ("confirm" in race.failures)
        assert leased is None or leased.look_first
        finish(race.index, leased)
        return "confirmed" if leased is None else "leased again"

    assert run_every_order(scenario, check, record_property, may_fail=(LostFence,)) == {"confirmed", "leased again"}


def test_a_late_failure_does_not_touch_an_answer_that_another_has_in_hand(record_property: Record) -> None:
    def scenario(index: int) -> dict[str, Work]:
        rows("UPDATE destination SET failures = 0, not_before = NULL, error = NULL RETURNING name")
        late = late_holder(an_answer(index))
        return {"fail": failing(late), "lease": answers.lease}

    def check(race: Race) -> str:
        leased = race["lease"]
        assert (leased is not None) == ("fail" in race.failures)
        if leased is None:
            rows("UPDATE destination SET failures = 0, not_before = NULL, error = NULL RETURNING name")
            rows("UPDATE effect SET not_before = now() WHERE state = 'pending' RETURNING id")
        finish(race.index, leased or in_transaction(answers.lease))
        return "failed" if leased is None else "leased again"

    assert run_every_order(scenario, check, record_property, may_fail=(LostFence,)) == {"failed", "leased again"}
