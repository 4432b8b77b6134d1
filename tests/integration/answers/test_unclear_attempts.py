"""An attempt whose outcome is unknown: the answer is looked for before it is written again."""

import gzip
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from structlog.testing import capture_logs

from orders.answers import UNKNOWN_PAUSE
from tasks.answers import answer_one
from tests.builders import rows
from tests.helpdesks.asking import (
    answers_to,
    ask,
    assert_answered_once,
    let_time_pass,
    standing,
    try_again,
)
from tests.helpdesks.desks_file import DesksFile
from tests.helpdesks.fake import NEIGHBOUR, FakeDesk
from tests.helpdesks.faults import (
    Fault,
    after_storing,
    arrives_late,
    before_the_answer,
    hangs,
    hangs_up,
    says,
)
from tests.helpdesks.standard import FakeStandard
from tests.helpdesks.zendesk import FakeZendesk
from tests.integration.answers.desks import IMPATIENT, NOT_STORED, PATIENCE_SECONDS, STORED, every_desk_with_tickets

pytestmark = pytest.mark.usefixtures("system")


@pytest.mark.parametrize("fault", STORED.values(), ids=STORED)
def test_an_answer_that_was_stored_though_the_call_failed_is_found_and_not_written_again(
    desk: FakeDesk, fault: Fault
) -> None:
    event = ask(desk)
    desk.next("write", fault)
    answer_one()
    assert (standing(event).state, standing(event).delivery_state) == ("pending", "sending")
    assert standing(event).pause > UNKNOWN_PAUSE.total_seconds() - 1
    assert try_again() is True
    assert_answered_once(desk, event)


def test_an_answer_that_was_stored_before_the_time_out_is_found_and_not_written_again(
    desk: FakeDesk, file: DesksFile, gate: Event
) -> None:
    event = ask(desk)
    file.write(desk, timeout_seconds=IMPATIENT)
    desk.next("write", hangs(gate))
    answer_one()
    assert (standing(event).state, standing(event).delivery_state) == ("pending", "sending")
    assert standing(event).pause > UNKNOWN_PAUSE.total_seconds() - 1
    file.write(desk)
    assert try_again() is True
    assert_answered_once(desk, event)


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
    assert (standing(event).state, standing(event).delivery_state) == ("pending", "sending")
    try_again()
    assert_answered_once(desk, event)


def test_a_call_for_which_no_time_is_left_is_not_begun(desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    event = ask(desk)
    with monkeypatch.context() as patched:
        patched.setattr("desks.api.MAX_SECONDS", 0.0)
        answer_one()
    assert (standing(event).state, standing(event).delivery_state, desk.calls) == ("pending", "pending", [])
    assert "no time was left" in standing(event).error
    try_again()
    assert_answered_once(desk, event)


def test_an_answer_that_was_not_stored_though_the_call_ended_unclear_is_written_once(desk: FakeDesk) -> None:
    for fault in NOT_STORED:
        event = ask(desk)
        desk.next("write", fault)
        answer_one()
        assert (standing(event).delivery_state, answers_to(desk, event)) == ("sending", [])
        try_again()
        assert_answered_once(desk, event)


@every_desk_with_tickets
def test_a_good_answer_that_is_no_json_is_not_believed(desk: FakeDesk) -> None:
    portal = says(200, b"<html>Welcome to our hotel</html>")
    for fault in (portal, after_storing(portal)):
        event = ask(desk)
        desk.next("write", fault)
        answer_one()
        assert (standing(event).state, standing(event).delivery_state) == ("pending", "sending")
        try_again()
        assert_answered_once(desk, event)


@every_desk_with_tickets
def test_an_answer_that_is_compressed_though_nobody_asked_for_that_is_not_unpacked(desk: FakeDesk) -> None:
    event = ask(desk)
    desk.next("write", after_storing(says(200, gzip.compress(b"{}"), Content_Encoding="gzip")))
    answer_one()
    assert (standing(event).state, standing(event).delivery_state) == ("pending", "sending")
    assert standing(event).error.endswith("the answer is not JSON")
    try_again()
    assert_answered_once(desk, event)


@pytest.mark.parametrize("answer", [b"{}", b'{"payload": 7}', b'["hotel"]', b"7", b'"welcome"', b"null"])
@every_desk_with_tickets
def test_an_answer_of_another_shape_is_reported_with_its_call_and_what_to_look_at(
    desk: FakeDesk, answer: bytes
) -> None:
    event = ask(desk)
    desk.next("write", STORED["500"])
    answer_one()
    desk.next("look", says(200, answer))
    with capture_logs() as log:
        try_again()
    # The last one asks whose the key is: the desk works, and this ticket alone does not.
    call = next(path for path in reversed(desk.paths[:-1]) if path.startswith("GET "))
    error = standing(event).error.removeprefix("this ticket alone: ")
    assert error.startswith("the response to GET /")
    assert error.partition(" is not what ")[0].removeprefix("the response to GET ") in call
    assert f" is not what {desk.kind}'s API describes (" in error
    assert error.endswith("; is `url` right?")
    # No traceback.
    assert [line["log_level"] for line in log] == ["warning"]
    try_again()
    assert_answered_once(desk, event)


@pytest.mark.parametrize("desk", [FakeStandard], indirect=True)
def test_a_receiver_may_say_in_words_that_all_is_well(desk: FakeDesk) -> None:
    event = ask(desk)
    desk.next("write", after_storing(says(200, b"ok")))
    answer_one()
    assert standing(event).error is None
    assert_answered_once(desk, event)


@every_desk_with_tickets
def test_the_mark_is_found_under_what_others_have_written_before_and_after(desk: FakeDesk) -> None:
    desk.others_write(120)
    event = ask(desk)
    desk.next("write", STORED["500"])
    answer_one()
    desk.others_write(60)
    try_again()
    assert_answered_once(desk, event)


@every_desk_with_tickets
def test_a_look_that_fails_leaves_open_what_became_of_the_first_try(desk: FakeDesk) -> None:
    event = ask(desk)
    desk.next("write", STORED["500"])
    answer_one()
    for fault in (says(503, Retry_After="100"), says(401), says(404), hangs_up):
        desk.next("look", fault)
        try_again()
        assert (standing(event).state, standing(event).delivery_state) == ("pending", "sending")
        assert "could not check whether the answer is on the ticket" in standing(event).error
    try_again()
    assert_answered_once(desk, event)


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
    assert_answered_once(desk, event)


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
    assert_answered_once(desk, event)


@pytest.mark.parametrize("desk", [FakeZendesk], indirect=True)
def test_a_ticket_that_changed_since_it_was_read_is_read_again(desk: FakeDesk) -> None:
    event = ask(desk)
    desk.next("read", before_the_answer(lambda: desk.others_write(1)))
    answer_one()
    assert (standing(event).state, len(desk.ours())) == ("pending", 0)
    try_again()
    assert_answered_once(desk, event)


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
    assert_answered_once(desk, event)
