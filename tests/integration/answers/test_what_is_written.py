"""What a desk is given to write, and how our own answer is recognised there."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from tasks.answers import answer_one
from tests.builders import EMAIL, an_address, request
from tests.helpdesks.asking import answers_to, ask, assert_answered_once, standing, try_again
from tests.helpdesks.chatwoot import FakeChatwoot
from tests.helpdesks.fake import NEIGHBOUR, TICKET, FakeDesk
from tests.helpdesks.faults import says
from tests.helpdesks.freshdesk import FakeFreshdesk
from tests.helpdesks.gorgias import LONGEST_EXTERNAL_ID, FakeGorgias
from tests.helpdesks.zammad import FakeZammad
from tests.helpdesks.zendesk import FakeZendesk
from tests.integration.answers.desks import STORED, every_desk_with_tickets

pytestmark = pytest.mark.usefixtures("system")


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
        reported = request(event)
        assert reported["outcome"] == outcome
        (comment,) = answers_to(desk, event)
        assert comment.is_public
        assert " ".join(reported["advice"].split()) in " ".join(comment.text.split())
        assert list(desk.tags(TICKET)) == [*before, f"countermand-{outcome}"]
        assert_answered_once(desk, event)


def test_what_is_escalated_is_told_to_colleagues_alone_with_the_reason(desk: FakeDesk) -> None:
    event = ask(desk, kind="partial_cancel")
    answer_one()
    (comment,) = answers_to(desk, event)
    assert (comment.is_public, comment.to) == (False, None)
    assert "partial_cancellation" in comment.text
    assert_answered_once(desk, event, is_public=False)


@pytest.mark.parametrize("requester", ["stranger@example.com", ""])
def test_a_stranger_is_told_nothing(desk: FakeDesk, requester: str) -> None:
    event = ask(desk, requester=requester)
    answer_one()
    assert [comment.is_public for comment in desk.comments(TICKET)] == [False]
    assert "requester_is_not_the_customer" in answers_to(desk, event)[0].text
    assert_answered_once(desk, event, is_public=False)


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
