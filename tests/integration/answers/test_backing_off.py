"""A desk that fails or asks for time: its answers wait, and those of other desks go on."""

from collections.abc import Callable

import pytest

from database.transactions import in_transaction
from delivery.leases import MAX_ATTEMPTS
from delivery.outcomes import Failure
from orders import answers
from orders.reading import list_requests
from tasks.answers import answer_one
from tasks.reprocessing import iterate_revived_effects
from tests.builders import rows
from tests.helpdesks.asking import (
    answers_to,
    ask,
    assert_answered_once,
    broken_promises,
    is_quick,
    resting,
    standing,
    try_again,
)
from tests.helpdesks.desks_file import DesksFile
from tests.helpdesks.fake import FakeDesk
from tests.helpdesks.faults import Fault, http_date, says
from tests.helpdesks.freshdesk import FakeFreshdesk
from tests.helpdesks.zammad import FakeZammad
from tests.helpdesks.zendesk import FakeZendesk
from tests.integration.answers.desks import STORED, lease

pytestmark = pytest.mark.usefixtures("system")


WAITING: list[Callable[[], Fault]] = [
    lambda: says(429, b"Number of allowed API requests per minute exceeded", Retry_After="120"),
    lambda: says(503, Retry_After="120"),
    lambda: says(503, Retry_After=http_date(121)),
]


def test_a_desk_that_asks_for_time_gets_it_and_rests_meanwhile(desk: FakeDesk) -> None:
    for fault in WAITING:
        event = ask(desk)
        desk.next("write", fault())
        answer_one()
        assert (standing(event).state, standing(event).delivery_state, answers_to(desk, event)) == (
            "pending",
            "pending",
            [],
        )
        assert 110 < standing(event).pause < 125
        assert 110 < resting(desk).pause < 125
        assert answer_one() is False
        try_again()
        assert_answered_once(desk, event)
        assert rows("SELECT FROM destination WHERE failures > 0") == []


HUGE_ZONE = "Mon, 01 Jan 2001 00:00:00 +9999999999999999999999"


def test_a_desk_that_asks_for_nonsense_neither_breaks_anything_nor_buries_the_answer(file: DesksFile) -> None:
    desk = FakeZendesk()
    file.write(desk)
    event = ask(desk)
    for asked in ("", "soon", "-5", "Mon, 01 Jan 2001 00:00:00 GMT", "999999999999", "9" * 400, HUGE_ZONE):
        desk.next("write", says(429, Retry_After=asked))
        try_again()
        assert "answered 429" in standing(event).error
        assert 0 < standing(event).pause <= 3600
        assert 0 < resting(desk).pause <= 3600


def test_other_desks_go_on_while_one_rests(desk: FakeDesk, file: DesksFile) -> None:
    other = FakeZammad() if isinstance(desk, FakeFreshdesk) else FakeFreshdesk()
    file.write(desk, other)
    first, second, elsewhere = ask(desk), ask(desk), ask(other)
    desk.next("write", says(503, Retry_After="600"))
    assert [answer_one() for _ in range(3)] == [True, True, False]
    assert (standing(first).attempts, standing(second).attempts) == (1, 0)
    assert (len(desk.ours()), desk.count("write"), len(other.ours())) == (0, 1, 1)
    assert [try_again() for _ in range(3)] == [True, True, False]
    for fake, event in ((desk, first), (desk, second), (other, elsewhere)):
        assert_answered_once(fake, event)


def test_an_answer_that_arrives_does_not_end_a_rest_that_another_was_asked_for(file: DesksFile) -> None:
    desk = FakeFreshdesk()
    file.write(desk)
    is_quick(desk)
    for ticket in "123":
        ask(desk, ticket=ticket)
    one, other, third = lease(), lease(), lease()
    asked = Failure("answered 429", retry_after=600)
    in_transaction(lambda connection: answers.fail(connection, one, asked))
    in_transaction(lambda connection: answers.confirm(connection, other))
    assert 590 < resting(desk).pause <= 600
    rows("UPDATE destination SET not_before = now() WHERE failures > 0 RETURNING name")
    in_transaction(lambda connection: answers.confirm(connection, third))
    assert rows("SELECT FROM destination WHERE failures > 0") == []


def test_pauses_double_until_after_the_last_try_the_answer_is_dead_and_reported_and_once_revived_it_is_reported(
    desk: FakeDesk,
) -> None:
    event = ask(desk)
    desk.next("write", *[says(503)] * MAX_ATTEMPTS)
    for tries in range(1, MAX_ATTEMPTS + 1):
        assert answer_one() is True
        assert standing(event).attempts == tries
        assert min(2.0**tries, 900) - 2 < standing(event).pause <= min(2.0**tries, 900)
        assert min(2.0**tries, 120) - 2 < resting(desk).pause <= min(2.0**tries, 120)
        assert standing(event).state == ("pending" if tries < MAX_ATTEMPTS else "dead")
        # The desk's failures in a row are to stay.
        rows("UPDATE effect SET not_before = now() RETURNING id")
        rows("UPDATE destination SET not_before = now() WHERE failures > 0 RETURNING name")
    assert answer_one() is False
    (reported,) = broken_promises().pop(6)
    assert event["id"] in reported
    assert "dead" in reported
    (listed,) = in_transaction(list_requests)
    assert listed.dead_effects == ["notify"]
    assert sum(iterate_revived_effects()) == 1
    try_again()
    assert_answered_once(desk, event)
    assert in_transaction(list_requests)[0].dead_effects == []


def test_an_answer_that_may_stand_there_is_looked_for_even_after_it_was_dead_and_revived(desk: FakeDesk) -> None:
    event = ask(desk)
    desk.next("write", STORED["500"])
    answer_one()
    rows("UPDATE effect SET attempts = :last RETURNING id", last=MAX_ATTEMPTS)
    assert try_again() is False
    assert standing(event).state == "dead"
    assert "12 attempts to deliver it ended with the death of their process" in standing(event).error
    sum(iterate_revived_effects())
    try_again()
    assert_answered_once(desk, event)


def test_a_wrong_token_is_not_final_and_once_it_is_right_the_answer_is_reported(
    desk: FakeDesk, file: DesksFile
) -> None:
    event = ask(desk)
    file.environment(**{desk.variable: desk.wrong_token})
    answer_one()
    assert (standing(event).state, standing(event).delivery_state, desk.ours()) == ("pending", "pending", [])
    assert "the key to the API is wrong" in standing(event).error
    assert resting(desk).failures == 1
    file.environment(**{desk.variable: desk.token})
    try_again()
    assert_answered_once(desk, event)


def test_a_desk_that_is_not_there_is_not_final_either(desk: FakeDesk, file: DesksFile) -> None:
    event = ask(desk)
    file.write(desk, url="http://127.0.0.1:1")
    answer_one()
    assert (standing(event).state, standing(event).delivery_state) == ("pending", "pending")
    assert "no connection to 127.0.0.1" in standing(event).error
    file.write(desk)
    try_again()
    assert_answered_once(desk, event)
