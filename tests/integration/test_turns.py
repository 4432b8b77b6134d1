"""Turns of destinations: neither a ticket that always fails nor a desk that is slow holds up the others."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from database.transactions import in_transaction
from orders import answers
from orders.answers import Leased
from tasks.answers import answer_one
from tests.builders import rows
from tests.helpdesks.asking import ask, is_quick, let_time_pass, resting, standing
from tests.helpdesks.desks_file import DesksFile, desks_file
from tests.helpdesks.fake import FakeDesk
from tests.helpdesks.faults import Fault, after_storing, hangs_up, says
from tests.helpdesks.freshdesk import FakeFreshdesk
from tests.helpdesks.standard import FakeStandard
from tests.helpdesks.zammad import FakeZammad
from tests.helpdesks.zendesk import FakeZendesk

pytestmark = pytest.mark.usefixtures("system")

FORBIDDEN_TICKETS = 10
OTHERS = 24


@pytest.fixture(autouse=True)
def _nobody_gets_the_wake_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.running.wakeups.current_app", SimpleNamespace(send_task=lambda *_, **__: None))


@pytest.fixture
def file(system: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DesksFile]:
    with desks_file(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def desk(file: DesksFile) -> FakeZendesk:
    fake = FakeZendesk()
    file.write(fake)
    return fake


def lease() -> Leased:
    leased = in_transaction(answers.lease)
    assert leased is not None
    return leased


def settle(leased: Leased) -> None:
    in_transaction(lambda connection: answers.confirm(connection, leased))


def took(desk: FakeDesk, seconds: float) -> None:
    """Lets a desk's last answer have taken so long, its turn being over."""
    rows(
        "INSERT INTO destination (name, turn_at, took) VALUES (:name, now(), make_interval(secs => :seconds))"
        " ON CONFLICT (name) DO UPDATE SET took = excluded.took, turn_at = excluded.turn_at RETURNING name",
        name=desk.source,
        seconds=seconds,
    )


# A ticket that always fails

ITS_OWN = [401, 403, 404, 409, 422, 500, 502, 301]


@pytest.mark.parametrize("status", ITS_OWN)
def test_a_ticket_that_fails_while_the_desk_answers_to_its_key_holds_up_no_other(
    desk: FakeZendesk, status: int
) -> None:
    event, other = ask(desk), ask(desk, ticket="1")
    desk.next("write", says(status))
    assert answer_one()
    assert standing(event).state == ("dead" if status in (404, 422) else "pending")
    assert rows("SELECT FROM destination WHERE failures > 0") == []
    assert answer_one()
    assert standing(other).state == "done"


def test_a_ticket_on_which_the_desk_hangs_up_holds_up_no_other(desk: FakeZendesk) -> None:
    event, other = ask(desk), ask(desk, ticket="1")
    desk.next("write", after_storing(hangs_up))
    assert [answer_one(), answer_one()] == [True, True]
    assert (standing(event).delivery_state, standing(other).state) == ("sending", "done")
    assert standing(event).error.startswith("this ticket alone: ")
    let_time_pass()
    assert answer_one()
    assert standing(event).state == "done"
    assert len(desk.ours()) == 1


@pytest.mark.parametrize("status", [401, 403, 500])
@pytest.mark.parametrize("fault", [says(401), says(403), says(500), says(200, b"<html>"), hangs_up])
def test_a_desk_that_does_not_answer_to_its_key_either_rests(desk: FakeZendesk, status: int, fault: Fault) -> None:
    event, other = ask(desk), ask(desk, ticket="1")
    desk.next("write", says(status))
    desk.next("me", fault)
    assert [answer_one(), answer_one()] == [True, False]
    assert resting(desk).failures == 1
    assert (standing(event).attempts, standing(other).attempts) == (1, 0)


@pytest.mark.parametrize("status", [429, 503])
def test_a_desk_that_asks_for_time_is_not_asked_whose_the_key_is(desk: FakeZendesk, status: int) -> None:
    ask(desk)
    desk.next("write", says(status, Retry_After="120"))
    assert [answer_one(), answer_one()] == [True, False]
    assert (desk.count("me"), resting(desk).failures) == (0, 1)


def test_a_receiver_that_nobody_can_ask_whose_the_key_is_rests(file: DesksFile) -> None:
    desk = FakeStandard()
    file.write(desk)
    ask(desk)
    desk.next("write", says(403))
    assert answer_one()
    assert resting(desk).failures == 1


@pytest.mark.parametrize("status", [429, 503])
def test_what_fails_again_though_its_desk_has_worked_meanwhile_holds_up_no_other(
    desk: FakeZendesk, status: int
) -> None:
    event, other = ask(desk), ask(desk, ticket="1")
    desk.next("write", says(status))
    answer_one()
    let_time_pass()
    assert answer_one()
    assert (standing(other).state, rows("SELECT FROM destination WHERE failures > 0")) == ("done", [])
    desk.next("write", says(status))
    let_time_pass()
    assert answer_one()
    assert (standing(event).attempts, rows("SELECT FROM destination WHERE failures > 0")) == (2, [])


def test_with_ten_tickets_that_are_forbidden_all_others_are_answered_before_any_of_those_is_tried_again(
    desk: FakeZendesk,
) -> None:
    for number in range(100, 100 + OTHERS):
        desk.fill_in(str(number))
    forbidden = [ask(desk) for _ in range(FORBIDDEN_TICKETS)]
    others = [ask(desk, ticket=str(number)) for number in range(100, 100 + OTHERS)]
    # The ticket is read before anything is written on it, and that is refused each time.
    desk.next("write", *[says(403)] * FORBIDDEN_TICKETS)
    for _ in forbidden:
        assert answer_one()
    assert [standing(event).attempts for event in forbidden] == [1] * FORBIDDEN_TICKETS
    # All of them are due again, and are the older ones.
    let_time_pass()
    for _ in others:
        assert answer_one()
    assert {standing(event).state for event in others} == {"done"}
    assert {standing(event).attempts for event in forbidden} == {1}
    assert answer_one()
    assert sum(standing(event).attempts for event in forbidden) == FORBIDDEN_TICKETS + 1


def test_what_was_tried_does_not_wait_for_ever_behind_what_is_new(desk: FakeZendesk) -> None:
    event = ask(desk)
    desk.next("write", says(403))
    answer_one()
    rows("UPDATE effect SET not_before = now() - interval '6 minutes' WHERE state = 'pending' RETURNING id")
    ask(desk, ticket="1")
    assert answer_one()
    assert standing(event).state == "done"


# A desk that is slow


def test_destinations_take_turns_whoever_has_waited_longest(file: DesksFile) -> None:
    one, other = FakeFreshdesk(), FakeZammad()
    file.write(one, other)
    for number in range(3):
        ask(one, ticket=str(number + 1))
    ask(other)
    reported = []
    for _ in range(4):
        leased = lease()
        settle(leased)
        reported.append(leased.row.source)
    assert reported.index(other.source) <= 1


def test_a_slow_desk_has_one_try_on_its_way_and_the_others_go_on(file: DesksFile) -> None:
    slow, quick = FakeFreshdesk(), FakeZammad()
    file.write(slow, quick)
    took(slow, 20)
    is_quick(quick)
    for ticket in "123":
        ask(slow, ticket=ticket)
    first = lease()
    assert first.row.source == slow.source
    # Another process finds nothing that it may do, and so is free for whatever comes.
    assert in_transaction(answers.lease) is None
    ask(quick, ticket="1")
    ask(quick, ticket="2")
    assert [lease().row.source, lease().row.source] == [quick.source] * 2
    assert in_transaction(answers.lease) is None
    settle(first)
    assert lease().row.source == slow.source


def test_a_desk_that_nobody_knows_has_one_try_on_its_way_until_it_has_shown_that_it_is_quick(file: DesksFile) -> None:
    desk = FakeFreshdesk()
    file.write(desk)
    for ticket in "123":
        ask(desk, ticket=ticket)
    first = lease()
    assert in_transaction(answers.lease) is None
    settle(first)
    assert [lease().row.source, lease().row.source] == [desk.source] * 2


def test_a_desk_that_was_quick_and_is_slow_now_gets_no_second_try_beside_the_one_that_takes_so_long(
    file: DesksFile,
) -> None:
    desk = FakeFreshdesk()
    file.write(desk)
    is_quick(desk)
    for ticket in "12":
        ask(desk, ticket=ticket)
    lease()
    rows("UPDATE notification SET leased_at = now() - interval '3 seconds' WHERE state = 'sending' RETURNING id")
    assert in_transaction(answers.lease) is None


def test_after_a_slow_answer_others_are_served_for_as_long_as_it_took(file: DesksFile) -> None:
    slow, quick = FakeFreshdesk(), FakeZammad()
    file.write(slow, quick)
    is_quick(quick)
    for ticket in "12":
        ask(slow, ticket=ticket)
    leased = lease()
    rows("UPDATE notification SET leased_at = now() - interval '20 seconds' WHERE state = 'sending' RETURNING id")
    settle(leased)
    for ticket in "123":
        ask(quick, ticket=ticket)
    reported = []
    for _ in range(4):
        leased = lease()
        settle(leased)
        reported.append(leased.row.source)
    assert reported == [quick.source] * 3 + [slow.source]


def test_a_try_whose_process_has_died_keeps_its_desk_from_nothing(file: DesksFile) -> None:
    desk = FakeFreshdesk()
    file.write(desk)
    for ticket in "12":
        ask(desk, ticket=ticket)
    lease()
    assert in_transaction(answers.lease) is None
    let_time_pass()
    assert lease().row.ticket == "2"
