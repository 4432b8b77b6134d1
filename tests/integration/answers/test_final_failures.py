"""Failures that no further attempt can mend, and what colleagues learn of them."""

import pytest
import structlog

from tasks.answers import answer_one
from tasks.reprocessing import iterate_revived_effects
from tests.builders import EMAIL, request, rows
from tests.helpdesks.asking import answers_to, ask, assert_answered_once, broken_promises, standing, try_again
from tests.helpdesks.desks_file import DesksFile
from tests.helpdesks.fake import TICKET, FakeDesk
from tests.helpdesks.faults import before_the_answer, hangs_up, says
from tests.helpdesks.gorgias import FakeGorgias
from tests.helpdesks.standard import FakeStandard
from tests.helpdesks.zammad import FakeZammad
from tests.helpdesks.zendesk import FakeZendesk
from tests.integration.answers.desks import STORED, every_desk_with_tickets

pytestmark = pytest.mark.usefixtures("system")


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
        assert (standing(event).state, standing(event).delivery_state) == ("pending", "sending")
        assert "but its tag is not" in standing(event).error
    try_again()
    assert_answered_once(desk, event)


@every_desk_with_tickets
@pytest.mark.parametrize("status", [403, 404, 422])
def test_an_answer_whose_tag_the_desk_does_not_take_is_reported_and_the_log_says_which_tag_is_missing(
    desk: FakeDesk, status: int
) -> None:
    event = ask(desk)
    desk.next("tag", says(status, EMAIL.encode()))
    with structlog.testing.capture_logs() as log:
        answer_one()
    assert (standing(event).state, standing(event).delivery_state, standing(event).error) == ("done", "sent", None)
    assert (len(answers_to(desk, event)), desk.count("tag"), rows("SELECT FROM destination WHERE failures > 0")) == (
        1,
        1,
        [],
    )
    (warning,) = [line for line in log if line["log_level"] == "warning"]
    assert (warning["desk"], warning["ticket"], warning["tag"]) == (desk.kind, TICKET, "countermand-applied")
    assert str(status) in warning["error"]
    assert EMAIL not in str(warning)


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


def test_an_answer_that_stands_on_a_ticket_that_was_closed_since_is_reported_without_its_tag(file: DesksFile) -> None:
    desk = FakeZendesk()
    file.write(desk)
    event = ask(desk)
    desk.next("write", STORED["500"])
    answer_one()
    desk.tickets[int(TICKET)].status = "closed"
    try_again()
    assert (standing(event).state, standing(event).delivery_state) == ("done", "sent")
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
def test_who_writes_to_gorgias_by_chat_is_reported_by_a_colleague(file: DesksFile, channel: str) -> None:
    desk = FakeGorgias()
    desk.channel = channel
    file.write(desk)
    event = ask(desk)
    answer_one()
    (comment,) = answers_to(desk, event)
    assert (comment.is_public, comment.to) == (False, None)
    assert f"the customer writes by {channel}" in comment.text
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
    assert_answered_once(desk, event)
