"""Answers under a lease: one at a time on a ticket, and each delivered once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection

from database.transactions import in_transaction
from delivery.leases import LostFence
from delivery.outcomes import Failure
from orders import answers
from orders.answers import Leased
from tasks.answers import answer_one
from tests.builders import rows
from tests.databases import waits_for_a_lock
from tests.helpdesks.asking import ask, assert_answered_once, is_quick, let_time_pass, standing, try_again
from tests.helpdesks.desks_file import DesksFile
from tests.helpdesks.fake import NEIGHBOUR, TICKET, FakeDesk
from tests.helpdesks.faults import hangs, says
from tests.helpdesks.freshdesk import FakeFreshdesk
from tests.helpdesks.standard import FakeStandard
from tests.helpdesks.zendesk import FakeZendesk
from tests.integration.answers.desks import PATIENCE_SECONDS, answer_up_to_the_call, answer_up_to_the_settlement, lease
from tests.race.kills import kill_at_the_point

pytestmark = pytest.mark.usefixtures("system")


def test_a_late_holder_of_an_old_fence_cannot_settle(file: DesksFile) -> None:
    desk = FakeFreshdesk()
    file.write(desk)
    event = ask(desk)
    old = lease()
    assert in_transaction(answers.lease) is None
    let_time_pass()
    new = lease()
    assert (old.look_first, new.look_first, new.fence - old.fence) == (False, True, 1)
    for settle in (
        lambda connection: answers.confirm(connection, old),
        lambda connection: answers.fail(connection, old, Failure("late")),
        lambda connection: answers.fail(connection, old, Failure("late", is_final=True)),
    ):
        with pytest.raises(LostFence, match="expected pending, sending at fence 1"):
            in_transaction(settle)
    assert (standing(event).state, standing(event).delivery_state, standing(event).attempts) == (
        "pending",
        "sending",
        2,
    )
    assert rows("SELECT FROM destination WHERE failures > 0") == []
    in_transaction(lambda connection: answers.confirm(connection, new))
    with pytest.raises(LostFence):
        in_transaction(lambda connection: answers.confirm(connection, new))
    assert standing(event).state == "done"


def test_two_answers_on_one_ticket_go_one_after_the_other_and_others_beside_them(file: DesksFile) -> None:
    desk = FakeFreshdesk()
    file.write(desk)
    is_quick(desk)
    first, second, elsewhere = ask(desk), ask(desk), ask(desk, ticket=NEIGHBOUR)
    on_its_way = lease()
    assert lease().row.external_id == elsewhere["id"]
    assert in_transaction(answers.lease) is None
    in_transaction(lambda connection: answers.fail(connection, on_its_way, Failure("?", outcome_unknown=True)))
    rows("UPDATE destination SET failures = 0, not_before = NULL, error = NULL RETURNING name")
    # It may yet arrive, and is looked for before the next one is written.
    assert in_transaction(answers.lease) is None
    rows("UPDATE effect SET not_before = now() WHERE state = 'pending' RETURNING id")
    again = lease()
    assert again.row.external_id == first["id"]
    in_transaction(lambda connection: answers.confirm(connection, again))
    assert lease().row.external_id == second["id"]


def test_a_try_that_was_given_up_unclear_holds_up_no_other_answer_on_its_ticket(file: DesksFile) -> None:
    desk = FakeFreshdesk()
    file.write(desk)
    given_up, other = ask(desk), ask(desk)
    unclear = Failure("?", outcome_unknown=True, is_final=True)
    on_its_way = lease()
    in_transaction(lambda connection: answers.fail(connection, on_its_way, unclear))
    assert (standing(given_up).state, standing(given_up).delivery_state) == ("dead", "sending")
    assert lease().row.external_id == other["id"]


def test_an_answer_on_the_same_ticket_of_another_desk_goes_beside_it(file: DesksFile) -> None:
    here, there = FakeFreshdesk(), FakeZendesk()
    file.write(here, there)
    first, second = ask(here), ask(there, ticket=TICKET)
    assert [lease().row.external_id, lease().row.external_id] == [first["id"], second["id"]]


def test_of_two_workers_that_claim_at_once_one_alone_gets_an_answer_on_the_ticket(file: DesksFile) -> None:
    desk, claimed, gate = FakeFreshdesk(), Event(), Event()
    file.write(desk)
    ask(desk)
    ask(desk)

    def claim_and_wait(connection: Connection) -> Leased | None:
        leased = answers.lease(connection)
        claimed.set()
        assert gate.wait(PATIENCE_SECONDS)
        return leased

    with ThreadPoolExecutor(2) as threads:
        try:
            one = threads.submit(in_transaction, claim_and_wait)
            assert claimed.wait(PATIENCE_SECONDS)
            other = threads.submit(in_transaction, answers.lease)
            it_waits = waits_for_a_lock(1)
        finally:
            gate.set()
        assert it_waits
        assert (one.result(PATIENCE_SECONDS) is None, other.result(PATIENCE_SECONDS)) == (False, None)


@pytest.mark.parametrize("end", ["well", "badly"])
def test_a_try_that_outlives_its_lease_is_found_by_the_next_and_changes_nothing_when_it_ends(
    desk: FakeDesk, gate: Event, end: str
) -> None:
    stored = Event()
    event = ask(desk)
    desk.next("write", hangs(gate, stored=stored, then=None if end == "well" else says(500)))
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(answer_one)
        assert stored.wait(PATIENCE_SECONDS)
        assert answer_one() is False
        assert try_again() is True
        assert standing(event).state == "done"
        gate.set()
        assert first.result(PATIENCE_SECONDS) is True
    assert_answered_once(desk, event)


def test_a_worker_killed_between_the_call_and_its_commit_leaves_one_answer_and_no_more(desk: FakeDesk) -> None:
    event = ask(desk)
    kill_at_the_point(answer_up_to_the_settlement)
    assert len(desk.ours()) == 1
    assert_that_another_finishes(desk, event)


@pytest.mark.parametrize("desk", [FakeZendesk, FakeStandard], indirect=True)
def test_a_worker_killed_before_the_call_leaves_the_answer_to_another(desk: FakeDesk) -> None:
    event = ask(desk)
    kill_at_the_point(answer_up_to_the_call)
    assert desk.ours() == []
    assert_that_another_finishes(desk, event)


def assert_that_another_finishes(desk: FakeDesk, event: dict[str, Any]) -> None:
    assert (standing(event).state, standing(event).delivery_state, standing(event).attempts) == (
        "pending",
        "sending",
        1,
    )
    # Nobody takes it over while the lease lasts.
    assert answer_one() is False
    assert try_again() is True
    assert_answered_once(desk, event)
