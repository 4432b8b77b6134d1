"""Answers on the tickets of fake desks: once each, whatever goes wrong on the way, and nothing on the wrong ticket."""

import gzip
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import StringIO
from itertools import product
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
import structlog
from sqlalchemy import Connection
from structlog.testing import capture_logs

import tasks.answers
from database.transactions import in_transaction
from delivery.leases import MAX_ATTEMPTS, LostFence
from delivery.outcomes import Failure
from desks.desk import TicketChannel
from orders import answers
from orders.answers import UNKNOWN_PAUSE, Leased
from orders.reading import list_requests
from tasks.answers import answer_one
from tasks.reprocessing import iterate_revived_effects
from tests.builders import EMAIL, an_address, encoded, request, rows
from tests.helpdesks.asking import (
    answers_to,
    ask,
    assert_told_once,
    broken_promises,
    is_quick,
    let_time_pass,
    resting,
    standing,
    try_again,
)
from tests.helpdesks.chatwoot import FakeChatwoot
from tests.helpdesks.desks_file import DesksFile, desks_file
from tests.helpdesks.fake import NEIGHBOUR, TICKET, FakeDesk
from tests.helpdesks.faults import (
    HUGE,
    Fault,
    after_storing,
    arrives_late,
    before_the_answer,
    hangs,
    hangs_up,
    http_date,
    says,
)
from tests.helpdesks.freshdesk import FakeFreshdesk
from tests.helpdesks.gorgias import LONGEST_EXTERNAL_ID, FakeGorgias
from tests.helpdesks.standard import FakeStandard
from tests.helpdesks.zammad import FakeZammad
from tests.helpdesks.zendesk import FakeZendesk
from tests.integration.test_locks import waits_for_a_lock
from tests.race.kills import kill_at_the_point, stop_here
from workers.logs import configure_logs

pytestmark = pytest.mark.usefixtures("system")

# A desk with tickets can be looked at, tagged, and named a ticket that it does not have.
WITH_TICKETS: list[type[FakeDesk]] = [FakeZendesk, FakeFreshdesk, FakeGorgias, FakeZammad, FakeChatwoot]
DESKS = [*WITH_TICKETS, FakeStandard]

every_desk_with_tickets = pytest.mark.parametrize("desk", WITH_TICKETS, indirect=True)
IMPATIENT = 1.0
PATIENCE_SECONDS = 30.0


# These run in the processes that are killed.


def answer_up_to_the_call() -> None:
    with patch.object(tasks.answers, "_deliver", stop_here):
        answer_one()


def answer_up_to_the_settlement() -> None:
    with patch.object(answers, "confirm", stop_here):
        answer_one()


# These run here.


@pytest.fixture(autouse=True)
def _nobody_gets_the_wake_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.running.wakeups.current_app", SimpleNamespace(send_task=lambda *_, **__: None))


@pytest.fixture
def file(system: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DesksFile]:
    """The desks file of this process."""
    with desks_file(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture(params=DESKS)
def desk(request: pytest.FixtureRequest, file: DesksFile) -> FakeDesk:
    """A desk in the desks file; of every kind, unless a test asks for some."""
    fake: FakeDesk = request.param()
    file.write(fake)
    return fake


@pytest.fixture
def gate(file: DesksFile) -> Iterator[Event]:
    """A gate that is opened at the latest when the test ends."""
    closed = Event()
    yield closed
    closed.set()


# What is told


ASKED: dict[str, dict[str, Any]] = {
    "applied": {},
    "refused": {"kind": "change_items"},
    "unchanged": {"kind": "change_address", "addresses": {"shipping": an_address()}},
    "partly_applied": {
        "kind": "change_address",
        "addresses": {"shipping": an_address(city="Bonn"), "billing": an_address(city="Bonn")},
    },
}


def test_the_customer_gets_the_advice_as_a_public_reply_with_the_mark_and_the_ticket_gets_the_tag(
    desk: FakeDesk,
) -> None:
    desk.others_write(1)
    for outcome, asked in ASKED.items():
        event = ask(desk, **asked)
        before = list(desk.tags(TICKET))
        assert answer_one() is True
        told = request(event)
        assert told["outcome"] == outcome
        (comment,) = answers_to(desk, event)
        assert comment.is_public
        assert " ".join(told["advice"].split()) in " ".join(comment.text.split())
        assert list(desk.tags(TICKET)) == [*before, f"countermand-{outcome}"]
        assert_told_once(desk, event)


def test_what_is_escalated_is_told_to_colleagues_alone_with_the_reason(desk: FakeDesk) -> None:
    event = ask(desk, kind="partial_cancel")
    answer_one()
    (comment,) = answers_to(desk, event)
    assert (comment.is_public, comment.to) == (False, None)
    assert "partial_cancellation" in comment.text
    assert_told_once(desk, event, is_public=False)


@pytest.mark.parametrize("requester", ["stranger@example.com", ""])
def test_a_stranger_is_told_nothing(desk: FakeDesk, requester: str) -> None:
    event = ask(desk, requester=requester)
    answer_one()
    assert [comment.is_public for comment in desk.comments(TICKET)] == [False]
    assert "requester_is_not_the_customer" in answers_to(desk, event)[0].text
    assert_told_once(desk, event, is_public=False)


@pytest.mark.parametrize("desk", [FakeGorgias, FakeZammad], indirect=True)
def test_a_desk_that_asks_where_to_send_a_reply_is_told_the_customers_address(desk: FakeDesk) -> None:
    ask(desk)
    answer_one()
    assert [comment.to for comment in desk.ours()] == [EMAIL]


def test_an_answer_calls_the_desk_as_little_as_it_can_and_never_again(desk: FakeDesk) -> None:
    ask(desk)
    assert [answer_one() for _ in range(3)] == [True, False, False]
    assert [call.action for call in desk.calls] == list(desk.actions)


def test_two_requests_on_one_ticket_get_an_answer_each_and_no_mark_is_part_of_another(desk: FakeDesk) -> None:
    longer, shorter = ask(desk, id="r11"), ask(desk, id="r1")
    answer_one()
    desk.next("write", says(500))
    answer_one()
    assert len(desk.ours()) == 1
    try_again()
    assert (len(answers_to(desk, longer)), len(answers_to(desk, shorter))) == (1, 1)


# Not known whether it was stored


STORED: dict[str, Fault] = {
    "500": after_storing(says(500)),
    "the connection closed": after_storing(hangs_up),
    "a huge answer": after_storing(says(200, b" " * HUGE)),
}
NOT_STORED = [says(500), says(504), hangs_up]


@pytest.mark.parametrize("fault", STORED.values(), ids=STORED)
def test_an_answer_that_was_stored_though_the_call_failed_is_found_and_not_written_again(
    desk: FakeDesk, fault: Fault
) -> None:
    event = ask(desk)
    desk.next("write", fault)
    answer_one()
    assert (standing(event).state, standing(event).told) == ("pending", "sending")
    assert standing(event).pause > UNKNOWN_PAUSE.total_seconds() - 1
    assert try_again() is True
    assert_told_once(desk, event)


def test_an_answer_that_was_stored_before_the_time_out_is_found_and_not_written_again(
    desk: FakeDesk, file: DesksFile, gate: Event
) -> None:
    event = ask(desk)
    file.write(desk, timeout_seconds=IMPATIENT)
    desk.next("write", hangs(gate))
    answer_one()
    assert (standing(event).state, standing(event).told) == ("pending", "sending")
    assert standing(event).pause > UNKNOWN_PAUSE.total_seconds() - 1
    file.write(desk)
    assert try_again() is True
    assert_told_once(desk, event)


def test_a_desk_that_falls_silent_is_left_when_the_time_for_all_calls_is_over_however_patient_the_file_is(
    desk: FakeDesk, file: DesksFile, gate: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = ask(desk)
    file.write(desk, timeout_seconds=60)
    desk.next("write", hangs(gate))
    with ThreadPoolExecutor(1) as threads, monkeypatch.context() as patched:
        patched.setattr("desks.api.MAX_SECONDS", IMPATIENT)
        try:
            assert threads.submit(answer_one).result(PATIENCE_SECONDS) is True
        finally:
            gate.set()
    assert (standing(event).state, standing(event).told) == ("pending", "sending")
    try_again()
    assert_told_once(desk, event)


def test_a_call_for_which_no_time_is_left_is_not_begun(desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    event = ask(desk)
    with monkeypatch.context() as patched:
        patched.setattr("desks.api.MAX_SECONDS", 0.0)
        answer_one()
    assert (standing(event).state, standing(event).told, desk.calls) == ("pending", "pending", [])
    assert "no time was left" in standing(event).error
    try_again()
    assert_told_once(desk, event)


def test_an_answer_that_was_not_stored_though_the_call_ended_unclear_is_written_once(desk: FakeDesk) -> None:
    for fault in NOT_STORED:
        event = ask(desk)
        desk.next("write", fault)
        answer_one()
        assert (standing(event).told, answers_to(desk, event)) == ("sending", [])
        try_again()
        assert_told_once(desk, event)


@every_desk_with_tickets
def test_a_good_answer_that_is_no_json_is_not_believed(desk: FakeDesk) -> None:
    portal = says(200, b"<html>Welcome to our hotel</html>")
    for fault in (portal, after_storing(portal)):
        event = ask(desk)
        desk.next("write", fault)
        answer_one()
        assert (standing(event).state, standing(event).told) == ("pending", "sending")
        try_again()
        assert_told_once(desk, event)


@every_desk_with_tickets
def test_an_answer_that_is_compressed_though_nobody_asked_for_that_is_not_unpacked(desk: FakeDesk) -> None:
    event = ask(desk)
    desk.next("write", after_storing(says(200, gzip.compress(b"{}"), Content_Encoding="gzip")))
    answer_one()
    assert (standing(event).state, standing(event).told) == ("pending", "sending")
    assert standing(event).error.endswith("the answer is not JSON")
    try_again()
    assert_told_once(desk, event)


@pytest.mark.parametrize("answer", [b"{}", b'{"payload": 7}', b'["hotel"]', b"7", b'"welcome"', b"null"])
@every_desk_with_tickets
def test_an_answer_of_another_shape_is_told_with_its_call_and_what_to_look_at(desk: FakeDesk, answer: bytes) -> None:
    event = ask(desk)
    desk.next("write", STORED["500"])
    answer_one()
    desk.next("look", says(200, answer))
    with capture_logs() as log:
        try_again()
    # The last one asks whose the key is: the desk works, and this ticket alone does not.
    call = next(path for path in reversed(desk.paths[:-1]) if path.startswith("GET "))
    error = standing(event).error.removeprefix("this ticket alone: ")
    assert error.startswith("the answer to GET /")
    assert error.partition(" is not what ")[0].removeprefix("the answer to GET ") in call
    assert f" is not what {desk.kind}'s API describes (" in error
    assert error.endswith("; is `url` right?")
    # No traceback.
    assert [line["log_level"] for line in log] == ["warning"]
    try_again()
    assert_told_once(desk, event)


@pytest.mark.parametrize("desk", [FakeStandard], indirect=True)
def test_a_receiver_may_say_in_words_that_all_is_well(desk: FakeDesk) -> None:
    event = ask(desk)
    desk.next("write", after_storing(says(200, b"ok")))
    answer_one()
    assert standing(event).error is None
    assert_told_once(desk, event)


@every_desk_with_tickets
def test_the_mark_is_found_under_what_others_have_written_before_and_after(desk: FakeDesk) -> None:
    desk.others_write(120)
    event = ask(desk)
    desk.next("write", STORED["500"])
    answer_one()
    desk.others_write(60)
    try_again()
    assert_told_once(desk, event)


@every_desk_with_tickets
def test_a_look_that_fails_leaves_open_what_became_of_the_first_try(desk: FakeDesk) -> None:
    event = ask(desk)
    desk.next("write", STORED["500"])
    answer_one()
    for fault in (says(503, Retry_After="100"), says(401), says(404), hangs_up):
        desk.next("look", fault)
        try_again()
        assert (standing(event).state, standing(event).told) == ("pending", "sending")
        assert "could not look" in standing(event).error
    try_again()
    assert_told_once(desk, event)


@every_desk_with_tickets
def test_what_fails_after_an_unclear_try_does_not_make_that_one_forgotten(
    desk: FakeDesk, file: DesksFile, gate: Event
) -> None:
    arrived = Event()
    event = ask(desk)
    file.write(desk, timeout_seconds=IMPATIENT)
    # The first is still on its way when the second looks; the second is sent away; then the first arrives.
    desk.next("write", arrives_late(gate, arrived), says(429))
    answer_one()
    file.write(desk)
    try_again()
    gate.set()
    assert arrived.wait(PATIENCE_SECONDS)
    try_again()
    assert_told_once(desk, event)


@pytest.mark.parametrize("desk", [FakeZendesk], indirect=True)
def test_a_first_try_that_arrives_after_the_second_has_read_the_ticket_makes_the_second_a_conflict(
    desk: FakeDesk, file: DesksFile, gate: Event
) -> None:
    arrived = Event()

    def let_it_arrive() -> None:
        gate.set()
        assert arrived.wait(PATIENCE_SECONDS)

    event = ask(desk)
    file.write(desk, timeout_seconds=IMPATIENT)
    desk.next("write", arrives_late(gate, arrived))
    answer_one()
    file.write(desk)
    desk.next("look", before_the_answer(let_it_arrive))
    try_again()
    assert "409" in standing(event).error
    assert len(desk.ours()) == 1
    try_again()
    assert_told_once(desk, event)


@pytest.mark.parametrize("desk", [FakeZendesk], indirect=True)
def test_a_ticket_that_changed_since_it_was_read_is_read_again(desk: FakeDesk) -> None:
    event = ask(desk)
    desk.next("read", before_the_answer(lambda: desk.others_write(1)))
    answer_one()
    assert (standing(event).state, len(desk.ours())) == ("pending", 0)
    try_again()
    assert_told_once(desk, event)


@every_desk_with_tickets
@pytest.mark.parametrize("action", ["write", "look", "tag"])
def test_a_conflict_on_one_ticket_holds_up_no_other(desk: FakeDesk, action: str) -> None:
    event, other = ask(desk), ask(desk, ticket=NEIGHBOUR)
    if action == "look":
        desk.next("write", STORED["500"])
        answer_one()
        let_time_pass()
    desk.next(action, says(409))
    answer_one()
    assert (standing(event).state, rows("SELECT FROM destination WHERE failures > 0")) == ("pending", [])
    assert answer_one() is True
    assert standing(other).state == "done"
    try_again()
    assert_told_once(desk, event)


# Not now


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
        assert (standing(event).state, standing(event).told, answers_to(desk, event)) == ("pending", "pending", [])
        assert 110 < standing(event).pause < 125
        assert 110 < resting(desk).pause < 125
        assert answer_one() is False
        try_again()
        assert_told_once(desk, event)
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
        assert_told_once(fake, event)


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


def test_pauses_double_until_after_the_last_try_the_answer_is_dead_and_reported_and_once_revived_it_is_told(
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
    (told,) = broken_promises().pop(6)
    assert event["id"] in told
    assert "dead" in told
    (listed,) = in_transaction(list_requests)
    assert listed.dead_effects == ["notify"]
    assert sum(iterate_revived_effects()) == 1
    try_again()
    assert_told_once(desk, event)
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
    assert_told_once(desk, event)


def test_a_wrong_token_is_not_final_and_once_it_is_right_the_answer_is_told(desk: FakeDesk, file: DesksFile) -> None:
    event = ask(desk)
    file.environment(**{desk.variable: desk.wrong_token})
    answer_one()
    assert (standing(event).state, standing(event).told, desk.ours()) == ("pending", "pending", [])
    assert "the key to the API is wrong" in standing(event).error
    assert resting(desk).failures == 1
    file.environment(**{desk.variable: desk.token})
    try_again()
    assert_told_once(desk, event)


def test_a_desk_that_is_not_there_is_not_final_either(desk: FakeDesk, file: DesksFile) -> None:
    event = ask(desk)
    file.write(desk, url="http://127.0.0.1:1")
    answer_one()
    assert (standing(event).state, standing(event).told) == ("pending", "pending")
    assert "no connection to 127.0.0.1" in standing(event).error
    file.write(desk)
    try_again()
    assert_told_once(desk, event)


def test_a_redirect_is_not_followed_and_takes_neither_key_nor_answer_to_another_place(
    desk: FakeDesk, file: DesksFile
) -> None:
    elsewhere = type(desk)()
    event = ask(desk)
    for action in desk.actions:
        desk.next(action, says(307, Location=file.url(elsewhere)))
    answer_one()
    assert standing(event).state == "pending"
    assert "the API has moved" in standing(event).error
    assert elsewhere.paths == []


@every_desk_with_tickets
def test_a_tag_that_fails_comes_later_and_the_comment_is_not_doubled(desk: FakeDesk) -> None:
    event = ask(desk)
    for fault in (says(500), says(503, Retry_After="120"), says(401), says(409), hangs_up, says(200, b"<html>")):
        desk.next("tag", fault)
        try_again()
        assert len(desk.ours()) == 1
        assert (standing(event).state, standing(event).told) == ("pending", "sending")
        assert "but its tag is not" in standing(event).error
    try_again()
    assert_told_once(desk, event)


@every_desk_with_tickets
@pytest.mark.parametrize("status", [403, 404, 422])
def test_an_answer_whose_tag_the_desk_does_not_take_is_told_and_the_log_says_which_tag_is_missing(
    desk: FakeDesk, status: int
) -> None:
    event = ask(desk)
    desk.next("tag", says(status, EMAIL.encode()))
    with structlog.testing.capture_logs() as log:
        answer_one()
    assert (standing(event).state, standing(event).told, standing(event).error) == ("done", "sent", None)
    assert (len(answers_to(desk, event)), desk.count("tag"), rows("SELECT FROM destination WHERE failures > 0")) == (
        1,
        1,
        [],
    )
    (warning,) = [line for line in log if line["log_level"] == "warning"]
    assert (warning["desk"], warning["ticket"], warning["tag"]) == (desk.kind, TICKET, "countermand-applied")
    assert str(status) in warning["error"]
    assert EMAIL not in str(warning)


# Never


@every_desk_with_tickets
def test_an_answer_for_a_ticket_that_the_desk_does_not_have_is_dead_at_once(desk: FakeDesk) -> None:
    event = ask(desk, ticket="99")
    answer_one()
    assert (standing(event).state, standing(event).attempts) == ("dead", 1)
    assert "404" in standing(event).error
    # It was the ticket's own fault: the others are not held up.
    assert rows("SELECT FROM destination WHERE failures > 0") == []
    assert 6 in broken_promises()


@pytest.mark.parametrize("desk", [FakeStandard], indirect=True)
def test_a_receiver_that_wants_nothing_any_more_is_not_asked_again(desk: FakeDesk) -> None:
    event = ask(desk)
    desk.next("write", says(410))
    answer_one()
    assert standing(event).state == "dead"


def test_an_answer_for_a_closed_ticket_at_zendesk_is_dead_at_once_and_says_so(file: DesksFile) -> None:
    desk = FakeZendesk()
    file.write(desk)
    event = ask(desk)
    desk.tickets[int(TICKET)].status = "closed"
    answer_one()
    assert (standing(event).state, standing(event).attempts) == ("dead", 1)
    assert "is closed" in standing(event).error
    assert desk.count("write") == 0


def test_a_ticket_that_is_closed_after_it_was_read_is_no_better(file: DesksFile) -> None:
    desk = FakeZendesk()
    file.write(desk)
    event = ask(desk)
    desk.next("read", before_the_answer(lambda: setattr(desk.tickets[int(TICKET)], "status", "closed")))
    answer_one()
    assert (standing(event).state, standing(event).error) == ("dead", "PUT /tickets/88121.json: answered 422")


def test_an_answer_that_stands_on_a_ticket_that_was_closed_since_is_told_without_its_tag(file: DesksFile) -> None:
    desk = FakeZendesk()
    file.write(desk)
    event = ask(desk)
    desk.next("write", STORED["500"])
    answer_one()
    desk.tickets[int(TICKET)].status = "closed"
    try_again()
    assert (standing(event).state, standing(event).told) == ("done", "sent")
    assert (len(answers_to(desk, event)), desk.count("write")) == (1, 1)


def test_a_note_that_zammad_made_public_is_reported_and_never_written_again_even_if_revived(file: DesksFile) -> None:
    desk = FakeZammad()
    desk.is_agent = False
    file.write(desk)
    event = ask(desk, kind="partial_cancel")
    answer_one()
    assert standing(event).state == "dead"
    assert "made the internal note public" in standing(event).error
    assert "ticket.agent" in standing(event).error
    assert try_again() is False
    sum(iterate_revived_effects())
    try_again()
    assert len(desk.ours()) == 1


def test_a_reply_that_zammad_kept_as_a_note_and_mailed_to_nobody_is_not_taken_for_told(file: DesksFile) -> None:
    desk = FakeZammad()
    desk.is_agent = False
    desk.may_tag = True
    file.write(desk)
    event = ask(desk)
    answer_one()
    assert [comment.to for comment in desk.ours()] == [None]
    assert standing(event).state == "dead"
    assert "ticket.agent" in standing(event).error


@pytest.mark.parametrize("channel", ["chat", "sms", "whatsapp"])
def test_who_writes_to_gorgias_by_chat_is_told_by_a_colleague(file: DesksFile, channel: str) -> None:
    desk = FakeGorgias()
    desk.channel = channel
    file.write(desk)
    event = ask(desk)
    answer_one()
    (comment,) = answers_to(desk, event)
    assert (comment.is_public, comment.to) == (False, None)
    assert f"he writes by {channel}" in comment.text
    assert " ".join(request(event)["advice"].split()) in " ".join(comment.text.split())
    assert (standing(event).state, try_again()) == ("done", False)


def test_a_note_that_gorgias_made_public_is_reported_and_never_written_again(file: DesksFile) -> None:
    desk = FakeGorgias()
    desk.keeps_notes = False
    file.write(desk)
    event = ask(desk, kind="partial_cancel")
    answer_one()
    assert (standing(event).state, standing(event).error) == ("dead", "Gorgias has made the internal note public")
    sum(iterate_revived_effects())
    try_again()
    assert len(desk.ours()) == 1


def test_a_group_of_zammad_without_an_address_has_a_colleague_tell_the_customer(file: DesksFile) -> None:
    desk = FakeZammad()
    desk.address = False
    file.write(desk)
    event = ask(desk)
    answer_one()
    (comment,) = answers_to(desk, event)
    assert (comment.is_public, comment.to) == (False, None)
    assert "the ticket's group has no e-mail address" in comment.text
    assert " ".join(request(event)["advice"].split()) in " ".join(comment.text.split())
    assert (standing(event).state, try_again()) == ("done", False)


def test_a_zammad_that_breaks_for_another_reason_or_shows_no_groups_is_asked_again(file: DesksFile) -> None:
    desk = FakeZammad()
    file.write(desk)
    event = ask(desk)
    desk.next("write", says(500))
    answer_one()
    assert standing(event).state == "pending"
    desk.address = desk.shows_groups = False
    try_again()
    assert (standing(event).state, desk.ours()) == ("pending", [])
    desk.address = True
    try_again()
    assert_told_once(desk, event)


OLD_MARKS = {
    FakeZendesk: lambda desk, text: desk.tickets[int(TICKET)].comment(f"<p>{text}</p>", public=True),
    FakeFreshdesk: lambda desk, text: desk.tickets[int(TICKET)].add(f"<p>{text}</p>", private=False),
    FakeZammad: lambda desk, text: desk._keep(
        int(TICKET), {"type": "email", "body": f"<p>{text}</p>"}, sender="Agent", internal=False
    ),
    FakeChatwoot: lambda desk, text: desk.conversations[int(TICKET)].add(text, kind="outgoing", private=False),
}


@pytest.mark.parametrize("desk", OLD_MARKS, indirect=True)
def test_an_answer_whose_mark_is_in_the_old_form_is_found(desk: FakeDesk) -> None:
    event = ask(desk)
    desk.next("write", says(500))
    answer_one()
    write: Any = OLD_MARKS[type(desk)]
    write(desk, f"Your order is cancelled.\n\n[countermand:{event['source']}/{event['id']}]")
    try_again()
    assert (standing(event).state, desk.count("write")) == ("done", 1)


@pytest.mark.parametrize("desk", [FakeZendesk, FakeGorgias, FakeChatwoot], indirect=True)
def test_where_a_desk_can_keep_it_elsewhere_no_reader_sees_the_mark(desk: FakeDesk) -> None:
    event = ask(desk)
    answer_one()
    (comment,) = answers_to(desk, event)
    assert "countermand" not in comment.text
    assert f"{event['source']}/{event['id']}" in comment.mark


# Ids from outside


NO_TICKETS = ["../1", "a/b?x", "..", ".", "1/../2", "1?x=1", "1#x", "%2e%2e%2f1", "1/tags", "..\\1", "１", "-1", "1e0"]


@every_desk_with_tickets
def test_a_ticket_that_cannot_be_one_reaches_no_other_path_and_no_other_ticket(desk: FakeDesk) -> None:
    events = {ticket: ask(desk, ticket=ticket) for ticket in NO_TICKETS}
    while answer_one():
        pass
    assert [path for path in desk.paths if not _is_of_a_ticket(path, NO_TICKETS)] == []
    assert (desk.comments(TICKET), desk.comments(NEIGHBOUR)) == ([], [])
    assert [ticket for ticket, event in events.items() if standing(event).state != "dead"] == []


def _is_of_a_ticket(path: str, tickets: Sequence[str]) -> bool:
    # Whatever a ticket's id holds, it is one segment of the path, or stands in the body.
    segments = {f"{quote(ticket, safe='')}{suffix}" for ticket in tickets for suffix in ("", ".json")} - {".", ".."}
    in_the_body = ("POST /api/v1/ticket_articles?", "POST /api/v1/tags/add?")
    return path in in_the_body or not segments.isdisjoint(re.split("[/?=&]", path))


NAMES = ["a.b", "Ä€/?#[]&", "<b>&amp;", "_x_ *y* ~z~", "a" * LONGEST_EXTERNAL_ID, "Ä" * 120]


def test_an_answer_carries_the_mark_of_any_request_and_is_found_by_it(desk: FakeDesk) -> None:
    events = {name: ask(desk, id=name) for name in NAMES}
    for done in range(len(NAMES)):
        desk.next("write", STORED["500"])
        try_again()
        try_again()
        assert len(desk.ours()) <= done + 1
    assert [name for name, event in events.items() if standing(event).state != "done"] == []
    assert len(desk.ours()) == len(NAMES)


# One holder at a time


def lease() -> Leased:
    leased = in_transaction(answers.lease)
    assert leased is not None
    return leased


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
    assert (standing(event).state, standing(event).told, standing(event).attempts) == ("pending", "sending", 2)
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
    assert (standing(given_up).state, standing(given_up).told) == ("dead", "sending")
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
    assert_told_once(desk, event)


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
    assert (standing(event).state, standing(event).told, standing(event).attempts) == ("pending", "sending", 1)
    # Nobody takes it over while the lease lasts.
    assert answer_one() is False
    assert try_again() is True
    assert_told_once(desk, event)


# Configured otherwise meanwhile


def test_an_answer_whose_desk_is_gone_from_the_file_waits_for_it(desk: FakeDesk, file: DesksFile) -> None:
    event = ask(desk)
    file.write()
    answer_one()
    assert standing(event).state == "pending"
    assert "no longer" in standing(event).error
    file.write(desk)
    try_again()
    assert_told_once(desk, event)


# Nothing personal


@contextmanager
def logging_as_in_production(log: StringIO) -> Iterator[StringIO]:
    """Logs as a worker does, but to `log`."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    with patch.object(sys, "stderr", log):
        configure_logs()
    try:
        yield log
    finally:
        root.handlers = handlers
        root.setLevel(level)
        structlog.reset_defaults()


def test_neither_the_log_nor_the_stored_errors_say_anything_personal_or_secret(
    desk: FakeDesk, file: DesksFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERMAND_LOG", "json")
    quoting = encoded({"error": f"{EMAIL} 0221 4711", "ticket": [EMAIL], "data": EMAIL, "payload": [EMAIL]})
    broken = [says(422, quoting), says(503, quoting, Retry_After=EMAIL), says(200, quoting), says(200, EMAIL.encode())]
    with logging_as_in_production(StringIO()) as log:
        for action, fault in product((*desk.actions, "look"), broken):
            ask(desk, note="Call me on 0221 4711")
            if action == "look":
                desk.next("write", STORED["500"])
                answer_one()
                let_time_pass()
            desk.next(action, fault)
            answer_one()
            # Where it goes on from here is not asked; the next one is to be alone.
            let_time_pass()
            rows("UPDATE effect SET state = 'dead' WHERE state = 'pending' AND kind = 'notify' RETURNING id")
        ask(desk)
        with patch.object(TicketChannel, "_tag", side_effect=RuntimeError("a fault of ours")):
            answer_one()
        rows("UPDATE effect SET state = 'dead' WHERE state = 'pending' AND kind = 'notify' RETURNING id")
        let_time_pass()
        ask(desk)
        file.environment(**{desk.variable: desk.wrong_token})
        answer_one()
    # Any digits at all stand in the microseconds of a time.
    said, times = re.subn(r'"timestamp": "[^"]*"', "", log.getvalue())
    assert times
    # The libraries that call would log whole URLs, with whatever stands in them.
    assert "http://127.0.0.1" not in said
    assert ("not answered" in said, "a delivery broke" in said) == (True, True)
    assert ("API describes" in said) == (not isinstance(desk, FakeStandard))
    errors = {
        row.error for row in rows("SELECT error FROM effect UNION ALL SELECT error FROM destination") if row.error
    }
    private = [EMAIL, "Jane", "Doe", "Hofstraße", "50667", "4711", desk.token, desk.wrong_token, desk.webhook_secret]
    assert [(text, one) for text in private for one in (*said.splitlines(), *errors) if text in one] == []
