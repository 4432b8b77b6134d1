"""Tickets that are read by the desks' APIs: named by a webhook or found in a list, each form taken exactly once."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from database.transactions import in_transaction
from delivery.leases import MAX_ATTEMPTS, LostFence
from desks.desk import Webhook
from orders import tickets
from orders.tickets import OVERLAP
from tasks.helpdesks import helpdesks
from tasks.pulling import list_page, list_tickets
from tasks.tickets import Read, read_one, readable
from tasks.webhooks import Received, receive
from tests.builders import EMAIL, an_order, deliver, load, request, rows, settle
from tests.deliveries import sign
from tests.helpdesks.chatwoot import FakeChatwoot
from tests.helpdesks.desks_file import DesksFile, desks_file
from tests.helpdesks.fake import NEIGHBOUR, TICKET, FakeDesk
from tests.helpdesks.faults import hangs, hangs_up, says
from tests.helpdesks.freshdesk import FakeFreshdesk
from tests.helpdesks.gorgias import FakeGorgias
from tests.helpdesks.reading import FORM, let_time_pass, letters, list_all, listing, read_all, taken, unread
from tests.helpdesks.zammad import FakeZammad
from tests.helpdesks.zendesk import FakeZendesk

pytestmark = pytest.mark.usefixtures("system")

DESKS: list[type[FakeDesk]] = [FakeZendesk, FakeFreshdesk, FakeGorgias, FakeZammad, FakeChatwoot]
# By what action each fake reads a ticket.
READS: dict[type[FakeDesk], str] = {FakeChatwoot: "show"}
SINCE = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _nobody_gets_the_wake_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.running.wakeups.current_app", SimpleNamespace(send_task=lambda *_, **__: None))


@pytest.fixture
def file(system: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DesksFile]:
    with desks_file(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture(params=DESKS)
def desk(request: pytest.FixtureRequest, file: DesksFile) -> FakeDesk:
    fake: FakeDesk = request.param()
    file.write(fake)
    return fake


def only(*desks: type[FakeDesk]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("desk", desks, indirect=True)


def names(desk: FakeDesk, ticket: str = TICKET) -> None:
    """A webhook names a ticket, as if it had been verified."""
    in_transaction(lambda connection: tickets.note(connection, desk.source, [ticket]))


def action_of(desk: FakeDesk) -> str:
    return READS.get(type(desk), "read")


def asked_at() -> list[datetime]:
    bodies = rows("SELECT body FROM change_request ORDER BY id")
    return [datetime.fromisoformat(json.loads(bytes(row.body))["time"]) for row in bodies]


# One ticket


def test_a_ticket_that_was_named_is_read_and_its_form_is_decided(desk: FakeDesk) -> None:
    load(an_order())
    desk.fill_in(**FORM)
    names(desk)
    assert read_all() == [Read.TAKEN]
    settle()
    [(source, request_id)] = taken()
    shown = request({"source": source, "id": request_id})
    assert source == desk.source
    assert request_id.startswith("88121-cancel-1001-")
    assert (shown["ticket"], shown["outcome"], shown["reasons"]) == (TICKET, "applied", ["order_cancelled"])
    assert unread() == []


def test_requester_and_language_are_the_desks_own_and_not_typed_by_anybody(desk: FakeDesk) -> None:
    desk.fill_in(**FORM).requester = "jane.roe@example.com"
    names(desk)
    read_all()
    (row,) = rows("SELECT body FROM change_request")
    data = json.loads(bytes(row.body))["data"]
    assert (data["requester"], data["language"]) == ("jane.roe@example.com", "de")


@pytest.mark.parametrize("requester", [None, ""])
def test_a_ticket_whose_customer_has_no_address_goes_to_a_colleague(desk: FakeDesk, requester: str | None) -> None:
    load(an_order())
    desk.fill_in(**FORM).requester = requester
    names(desk)
    assert read_all() == [Read.TAKEN]
    settle()
    [(source, request_id)] = taken()
    assert request({"source": source, "id": request_id})["reasons"] == ["requester_is_not_the_customer"]


@only(FakeChatwoot)
@pytest.mark.parametrize("channel", ["Channel::WebWidget", "Channel::Api", "Channel::Email"])
def test_an_address_that_nothing_proves_does_not_count(desk: FakeChatwoot, channel: str) -> None:
    # The API does not tell from which address an e-mail conversation came.
    desk.channel = channel
    desk.fill_in(**FORM)
    names(desk)
    read_all()
    (row,) = rows("SELECT body FROM change_request")
    assert json.loads(bytes(row.body))["data"]["requester"] == ""


def test_whatever_is_typed_into_a_form_stays_text(desk: FakeDesk) -> None:
    note = 'He said "no", \\"left\\"\r\n{{ticket.id}} #{ticket.id} ", "requester": "john@example.com", "x": "'
    desk.fill_in(**FORM | {"note": note})
    names(desk)
    read_all()
    (row,) = rows("SELECT body FROM change_request")
    data = json.loads(bytes(row.body))["data"]
    assert (data["note"], data["requester"]) == (note, EMAIL)


@only(FakeFreshdesk)
def test_a_requester_who_is_no_contact_has_no_language_and_is_read_all_the_same(desk: FakeDesk) -> None:
    desk.fill_in(**FORM)
    names(desk)
    desk.next("contact", says(404))
    assert read_all() == [Read.TAKEN]


def test_a_ticket_that_is_named_again_is_read_again_and_its_form_known(desk: FakeDesk) -> None:
    desk.fill_in(**FORM)
    names(desk)
    names(desk)
    assert read_all() == [Read.TAKEN]
    names(desk)
    desk.fill_in()
    assert read_all() == [Read.KNOWN]
    assert len(taken()) == 1
    assert letters() == []


def test_a_form_whose_kind_is_blank_asks_for_nothing(desk: FakeDesk) -> None:
    desk.fill_in(**FORM | {"kind": ""})
    names(desk)
    assert read_all() == [Read.ASKS_NOTHING]
    assert (taken(), letters(), unread()) == ([], [], [])


@only(FakeZendesk, FakeFreshdesk, FakeGorgias, FakeZammad)
def test_another_form_on_the_ticket_is_another_request_and_so_is_the_first_when_it_comes_back(desk: FakeDesk) -> None:
    for note in ("To Bonn", "To Köln", "To Bonn", "To Bonn"):
        desk.fill_in(**FORM | {"note": note})
        names(desk)
        read_all()
    ids = [request_id for _, request_id in taken()]
    assert len(ids) == len(set(ids)) == 3
    assert ids[2] == f"{ids[0]}-2"
    assert letters() == []


@only(FakeChatwoot)
def test_a_form_that_was_changed_after_its_kind_was_chosen_is_reported_and_not_taken(desk: FakeDesk) -> None:
    desk.fill_in(**FORM)
    names(desk)
    read_all()
    desk.fill_in(note="Half an old one")
    names(desk)
    with capture_logs() as logs:
        assert read_all() == [Read.DIFFERS]
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == [
        "a form was changed after its kind was chosen, and is not taken: choose the kind again"
    ]
    desk.fill_in(kind="change_items")
    names(desk)
    assert read_all() == [Read.TAKEN]


@only(FakeZendesk, FakeFreshdesk, FakeGorgias)
def test_a_form_that_came_whole_by_a_webhook_is_known_when_it_is_read(desk: FakeDesk) -> None:
    payload = {"ticket": TICKET, "requester": EMAIL, **FORM, "note": "Two\nlines", "time": "2026-11-23T09:00Z"}
    ours = helpdesks().desks[desk.kind]
    event = ours.read(Webhook({}, json.dumps(payload).encode(), datetime.now(UTC)))
    deliver(event)
    desk.fill_in(**FORM | {"note": "Two\r\nlines"})
    names(desk)
    assert read_all() == [Read.KNOWN]
    assert len(taken()) == 1


def test_it_was_asked_when_the_ticket_changed_or_was_named_whichever_came_first(desk: FakeDesk) -> None:
    changed = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
    desk.fill_in(at=changed, **FORM)
    names(desk)
    (row,) = unread()
    read_all()
    # Chatwoot does not say when a conversation was changed.
    assert asked_at() == [row.noted_at if desk.kind == "chatwoot" else changed]
    desk.fill_in(NEIGHBOUR, at=datetime.now(UTC) + timedelta(hours=1), **FORM)
    names(desk, NEIGHBOUR)
    (row,) = unread()
    read_all()
    assert asked_at()[1] == row.noted_at


# What is wrong


def test_a_form_that_is_no_request_is_a_dead_letter_that_names_the_ticket_and_says_why(desk: FakeDesk) -> None:
    desk.fill_in(**FORM | {"kind": "refund", "order": "Jane Doe"})
    for _ in range(2):
        names(desk)
        assert read_all() == [Read.UNUSABLE]
    [(origin, raw, error)] = letters()
    assert (origin, json.loads(raw)) == (f"webhook:{desk.kind}", {"ticket": TICKET})
    assert "kind" in error
    assert not {"refund", "Jane"} & set(error.split())
    assert (taken(), unread()) == ([], [])


def test_a_ticket_that_is_gone_is_a_dead_letter_at_once_and_the_desk_goes_on(desk: FakeDesk) -> None:
    names(desk, "999")
    assert read_all() == [Read.UNUSABLE]
    [(_, raw, error)] = letters()
    assert json.loads(raw) == {"ticket": "999"}
    assert "answered 404" in error
    desk.fill_in(**FORM)
    names(desk)
    assert read_all() == [Read.TAKEN]


@pytest.mark.parametrize("fault", [hangs_up, says(500), says(503), says(429, Retry_After="7"), says(200, b"<html>")])
def test_a_desk_that_is_away_rests_and_its_tickets_wait_for_it(desk: FakeDesk, fault: Any) -> None:
    desk.fill_in(**FORM)
    desk.fill_in(NEIGHBOUR, **FORM)
    names(desk)
    names(desk, NEIGHBOUR)
    desk.next(action_of(desk), fault)
    assert read_all() == [Read.FAILED]
    assert (listing(desk).rests, listing(desk).failures, len(unread())) == (True, 1, 2)
    let_time_pass()
    assert read_all() == [Read.TAKEN, Read.TAKEN]
    assert (listing(desk).failures, listing(desk).error, unread()) == (0, None, [])


def test_a_desk_that_is_away_for_hours_loses_nothing_and_after_a_day_each_ticket_is_a_dead_letter(
    desk: FakeDesk,
) -> None:
    names(desk)
    for _ in range(2 * MAX_ATTEMPTS):
        desk.next(action_of(desk), hangs_up)
        assert read_all() == [Read.FAILED]
        let_time_pass()
    rows("UPDATE ticket_to_read SET noted_at = now() - interval '25 hours' RETURNING id")
    desk.next(action_of(desk), hangs_up)
    assert read_all() == [Read.UNUSABLE]
    assert len(letters()) == 1


def test_what_is_forbidden_of_one_ticket_holds_up_no_other_and_ends_as_a_dead_letter(desk: FakeDesk) -> None:
    desk.fill_in(NEIGHBOUR, **FORM)
    names(desk)
    names(desk, NEIGHBOUR)
    desk.next(action_of(desk), says(403))
    assert read_all() == [Read.FAILED, Read.TAKEN]
    for _ in range(MAX_ATTEMPTS - 2):
        let_time_pass()
        desk.next(action_of(desk), says(403))
        assert read_all() == [Read.FAILED]
    let_time_pass()
    desk.next(action_of(desk), says(403))
    assert read_all() == [Read.UNUSABLE]
    assert len(letters()) == 1


def test_a_ticket_at_which_its_desk_breaks_comes_after_the_others(desk: FakeDesk) -> None:
    names(desk)
    desk.next(action_of(desk), says(500))
    assert read_all() == [Read.FAILED]
    desk.fill_in(NEIGHBOUR, **FORM)
    names(desk, NEIGHBOUR)
    let_time_pass()
    desk.next(action_of(desk), says(200, b"{}"))
    # The fault is the first reading's: that is the neighbour's.
    assert read_one(readable()) is Read.FAILED
    assert [row.attempts for row in unread()] == [1, 1]


# Leases


@only(FakeZendesk)
def test_what_is_named_while_it_is_read_is_read_again(desk: FakeDesk) -> None:
    desk.fill_in(**FORM)
    names(desk)
    gate, seen = Event(), Event()
    desk.next("read", hangs(gate, stored=seen))
    became: list[Read | None] = []
    reader = Thread(target=lambda: became.append(read_one(readable())))
    reader.start()
    assert seen.wait(30)
    desk.fill_in(note="Something else")
    names(desk)
    # A slow desk keeps one reader at most.
    assert read_one(readable()) is None
    gate.set()
    reader.join(30)
    assert became == [Read.TAKEN]
    assert read_all() == [Read.TAKEN]
    assert len(taken()) == 2


def test_a_late_reader_cannot_settle(file: DesksFile) -> None:
    desk = FakeZendesk()
    file.write(desk)
    names(desk)
    late = in_transaction(lambda connection: tickets.lease(connection, [desk.source]))
    assert late is not None
    rows("UPDATE ticket_to_read SET lease_until = now() RETURNING id")
    assert read_one(readable()) is Read.ASKS_NOTHING
    with pytest.raises(LostFence):
        in_transaction(lambda connection: tickets.settle(connection, late))


def test_a_slow_desk_holds_up_no_other(file: DesksFile) -> None:
    slow, quick = FakeZendesk(), FakeFreshdesk()
    file.write(slow, quick)
    names(slow)
    names(slow, NEIGHBOUR)
    quick.fill_in(**FORM)
    names(quick)
    gate, seen = Event(), Event()
    slow.next("read", hangs(gate, stored=seen))
    reader = Thread(target=lambda: read_one(readable()))
    reader.start()
    assert seen.wait(30)
    assert read_all() == [Read.TAKEN]
    gate.set()
    reader.join(30)


# By webhook


def test_a_webhook_that_names_its_ticket_is_kept_and_not_read_yet(desk: FakeDesk) -> None:
    ours = helpdesks().desks[desk.kind]
    for ticket in (TICKET, int(TICKET)):
        webhook = Webhook(_signed(desk, {"ticket": ticket}), json.dumps({"ticket": ticket}).encode(), datetime.now(UTC))
        receipt = receive(ours, webhook)
        assert receipt.received is Received.NOTED
        assert receipt.request == {"source": desk.source, "ticket": TICKET, "state": "to_be_read"}
    [row] = unread()
    assert (row.ticket, row.wanted, desk.count(action_of(desk))) == (TICKET, 2, 0)


@pytest.mark.parametrize("ticket", ["", "{{ticket.id}}", "../users/me", "88121\n", 1.5, None, ["88121"], "８"])
def test_what_cannot_be_a_ticket_is_never_called_for(desk: FakeDesk, ticket: Any) -> None:
    body = {"ticket": ticket}
    ours = helpdesks().desks[desk.kind]
    receipt = receive(ours, Webhook(_signed(desk, body), json.dumps(body).encode(), datetime.now(UTC)))
    assert receipt.received is (Received.NOTED if ticket == "88121\n" else Received.UNUSABLE)
    assert desk.calls == []


def _signed(desk: FakeDesk, body: dict[str, Any]) -> dict[str, str]:
    signed = sign(desk.kind, json.dumps(body).encode(), secret=desk.webhook_secret)
    return {name.lower(): value for name, value in signed.headers.items()}


# Lists


def test_the_forms_that_got_lost_are_found_in_a_list_and_taken_once(desk: FakeDesk) -> None:
    for ticket in range(100, 130):
        desk.fill_in(str(ticket), at=SINCE + timedelta(minutes=ticket), **FORM | {"order": str(ticket)})
    desk.fill_in("131", at=SINCE + timedelta(minutes=131), note="Nothing is asked for")
    list_all(desk, since=SINCE)
    assert set(read_all()) <= {Read.TAKEN, Read.ASKS_NOTHING}
    assert len(taken()) == 30
    list_all(desk, since=SINCE)
    assert set(read_all()) <= {Read.KNOWN, Read.ASKS_NOTHING}
    assert len(taken()) == 30
    assert letters() == []


@only(FakeZendesk, FakeFreshdesk, FakeGorgias, FakeZammad)
def test_a_list_is_read_page_by_page_and_a_ticket_that_changes_meanwhile_hides_no_other(desk: FakeDesk) -> None:
    for ticket in range(1000, 1250):
        desk.fill_in(str(ticket), at=SINCE + timedelta(seconds=ticket), **FORM)
    ours = helpdesks().desks[desk.kind]
    assert list_page(ours, SINCE) is not None
    assert listing(desk).listing_since is not None
    for ticket in range(1000, 1050):
        desk.fill_in(str(ticket), at=datetime.now(UTC))
    while listing(desk).listing_since is not None:
        assert list_page(ours) is not None
    # Where the newest come first, what has changed meanwhile is in the next list, which looks back a little.
    list_all(desk)
    named = {int(row.ticket) for row in unread()}
    assert set(range(1000, 1250)) <= named


@only(FakeZendesk, FakeFreshdesk, FakeZammad)
def test_a_page_of_tickets_that_changed_in_one_second_is_got_over(desk: FakeDesk) -> None:
    for ticket in range(1000, 1250):
        desk.fill_in(str(ticket), at=SINCE + timedelta(hours=1), **FORM)
    list_all(desk, since=SINCE)
    assert len(unread()) == 250


def test_a_list_that_fails_moves_nothing_and_is_asked_again_from_the_same_moment(desk: FakeDesk) -> None:
    desk.fill_in(at=SINCE + timedelta(hours=1), **FORM)
    list_all(desk, since=SINCE)
    seen = listing(desk).seen_until
    rows("UPDATE desk_progress SET seen_until = :since, listed_at = :since RETURNING source", since=SINCE)
    let_time_pass()
    desk.next("list", says(500))
    with capture_logs() as logs:
        list_tickets.run()
    assert "changed tickets could not be listed" in [line["event"] for line in logs]
    assert (listing(desk).seen_until, listing(desk).rests) == (SINCE, True)
    let_time_pass()
    list_all(desk)
    assert listing(desk).seen_until > seen


def test_a_desk_that_was_never_listed_is_so_from_now_on_and_what_stands_there_is_left_alone(desk: FakeDesk) -> None:
    desk.fill_in(**FORM)
    list_tickets.run()
    assert (desk.count("list"), unread()) == (0, [])
    assert listing(desk).seen_until is not None


def test_after_a_downtime_a_desk_is_listed_by_itself_with_an_overlap(desk: FakeDesk) -> None:
    list_tickets.run()
    stopped = datetime.now(UTC) - timedelta(hours=3)
    rows("UPDATE desk_progress SET seen_until = :stopped RETURNING source", stopped=stopped)
    # Its webhook came late, after what had been listed last.
    desk.fill_in(at=stopped - OVERLAP / 2, **FORM)
    list_tickets.run()
    assert read_all() == [Read.TAKEN]
    count = desk.count("list")
    list_tickets.run()
    # Not again before its time.
    assert desk.count("list") == count


def test_a_desk_is_not_listed_by_itself_where_the_file_says_so(file: DesksFile) -> None:
    desk = FakeZendesk()
    file.write(desk, pull_minutes=0)
    list_tickets.run()
    assert rows("SELECT FROM desk_progress") == []


def test_a_list_in_hand_is_nobody_elses(file: DesksFile) -> None:
    desk = FakeZendesk()
    file.write(desk)
    first = in_transaction(lambda connection: tickets.begin_listing(connection, desk.source, SINCE))
    assert first is not None
    assert list_page(helpdesks().desks["zendesk"]) is None
    rows("UPDATE desk_progress SET lease_until = now() RETURNING source")
    assert list_page(helpdesks().desks["zendesk"]) is not None
    with pytest.raises(LostFence):
        in_transaction(lambda connection: tickets.end_page(connection, first, ["1"], None))
    assert unread() == []


def test_who_asks_from_a_later_moment_leaves_nothing_out(file: DesksFile) -> None:
    desk = FakeZendesk()
    file.write(desk)
    list_all(desk, since=SINCE)
    rows("UPDATE desk_progress SET seen_until = :since RETURNING source", since=SINCE)
    desk.fill_in(at=SINCE + timedelta(minutes=5), **FORM)
    list_all(desk, since=SINCE + timedelta(hours=2))
    assert read_all() == [Read.TAKEN]
