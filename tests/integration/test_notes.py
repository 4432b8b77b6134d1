"""Notes for colleagues: a ticket on which nothing is decided says what was read, what is wrong, and what to do."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from database.transactions import in_transaction
from delivery.leases import MAX_ATTEMPTS
from edi import interchanges
from orders.audit import audit
from orders.reading import show_request
from orders.request_retries import count_failure, park_unknown_orders
from orders.views import to_json
from tasks.answers import answer_one
from tasks.helpdesks import helpdesks
from tasks.notes import note
from tasks.partners import partners
from tasks.reprocessing import iterate_revived_effects
from tasks.webhooks import Received, receive
from tests.builders import EMAIL, a_request, an_order, deliver, load, request, rows, settle
from tests.deliveries import sign
from tests.helpdesks.asking import ask, let_time_pass
from tests.helpdesks.chatwoot import FakeChatwoot
from tests.helpdesks.desks_file import DesksFile, desks_file
from tests.helpdesks.fake import TICKET, FakeDesk
from tests.helpdesks.faults import after_storing, says
from tests.helpdesks.freshdesk import FakeFreshdesk
from tests.helpdesks.gorgias import FakeGorgias
from tests.helpdesks.standard import FakeStandard
from tests.helpdesks.zammad import FakeZammad
from tests.helpdesks.zendesk import FakeZendesk

pytestmark = pytest.mark.usefixtures("system")

DESKS: list[type[FakeDesk]] = [FakeZendesk, FakeFreshdesk, FakeGorgias, FakeZammad, FakeChatwoot, FakeStandard]
PATIENCE = timedelta(minutes=15)


@pytest.fixture(autouse=True)
def _nobody_gets_the_wake_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.running.wakeups.current_app", SimpleNamespace(send_task=lambda *_, **__: None))


@pytest.fixture
def file(system: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DesksFile]:
    with desks_file(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture(params=[FakeZendesk])
def desk(request: pytest.FixtureRequest, file: DesksFile) -> FakeDesk:
    fake: FakeDesk = request.param()
    file.write(fake)
    return fake


every_desk = pytest.mark.parametrize("desk", DESKS, indirect=True)


def asked(desk: FakeDesk, number: str, **changes: Any) -> dict[str, Any]:
    event = a_request(number, source=desk.source, **changes)
    deliver(event)
    return event


def waits(seconds: int = 25) -> None:
    """Lets what is undecided have waited for so long."""
    # Not `received_at`, which says what it said.
    rows(
        "UPDATE change_request SET undecided_since = now() - make_interval(secs => :seconds)"
        " WHERE state = 'received' RETURNING id",
        seconds=seconds,
    )


def notified(desk: FakeDesk) -> list[str]:
    """Writes what is wanted, delivers it, and returns what stands on the ticket then."""
    note()
    while answer_one():
        pass
    assert all(not comment.is_public for comment in desk.ours())
    return [" ".join(comment.text.split()) for comment in desk.ours()]


def sends(payload: dict[str, Any]) -> Received:
    """Takes a form as the web application does."""
    delivery = sign("zendesk", json.dumps(payload).encode(), secret=FakeZendesk.webhook_secret)
    return receive(helpdesks().desks["zendesk"], delivery.webhook(datetime.now(UTC))).received


def a_form(**changes: Any) -> dict[str, Any]:
    form = {"ticket": TICKET, "order": "700498", "kind": "cancel", "note": "Twice", "requester": EMAIL}
    return {**form, **changes}


# An order that nobody knows


@every_desk
def test_an_unknown_order_is_reported_once_on_its_ticket_to_colleagues_alone(desk: FakeDesk) -> None:
    asked(desk, "#700491")
    assert notified(desk) == []
    waits()
    [text] = notified(desk)
    assert "order “#700491”, kind “cancel”" in text
    assert "no order of this number is known" in text
    assert "What to do: " in text
    assert notified(desk) == [text]


def test_what_is_parked_then_is_not_reported_a_second_time(desk: FakeDesk) -> None:
    asked(desk, "700491")
    waits()
    assert len(notified(desk)) == 1
    in_transaction(lambda connection: park_unknown_orders(connection, patience=timedelta(0), limit=9))
    assert len(notified(desk)) == 1


def test_the_same_unknown_order_asked_for_twice_on_one_ticket_is_reported_once(desk: FakeDesk) -> None:
    for kind in ("cancel", "change_items"):
        asked(desk, "700491", kind=kind)
    waits()
    assert len(notified(desk)) == 1
    asked(desk, "700492")
    waits()
    assert len(notified(desk)) == 2


def test_a_placeholder_that_the_desk_did_not_fill_in_is_named_as_one_and_filled_in_by_nobody(desk: FakeDesk) -> None:
    asked(desk, "{{ticket.ticket_field_36}}")
    waits()
    [text] = notified(desk)
    assert "{ { ticket.ticket_field_36 } }" in text
    assert "{{" not in text
    assert "the desk has not filled in its placeholder" in text


def test_a_colleague_reads_italian_where_the_customer_does(desk: FakeDesk) -> None:
    asked(desk, "700491", language="it-IT")
    waits()
    [text] = notified(desk)
    assert "nessun ordine con questo numero" in text


def test_nothing_is_noted_where_there_is_no_ticket_or_nobody_answers_it(desk: FakeDesk) -> None:
    asked(desk, "700491", ticket=None)
    deliver(a_request("700491", source="another"))
    waits()
    assert notified(desk) == []
    assert rows("SELECT FROM ticket_note") == []


# A form that is wrong


@pytest.mark.parametrize(
    ("changes", "read"),
    [
        ({"order": "Order 700498", "kind": "cancel my order"}, "“Order 700498”"),
        ({"kind": "Cancel the whole order"}, "kind “cancel the whole order”"),
        (
            {"kind": "change_address", "addresses": {"shipping": {"name": "J", "country": "Atlantis"}}},
            "shipping country “Atlantis”",
        ),
        ({"order": ""}, "kind “cancel”"),
    ],
)
def test_a_form_that_is_wrong_is_reported_once_on_its_ticket(
    desk: FakeDesk, changes: dict[str, Any], read: str
) -> None:
    for note_of_the_agent in ("one", "other", "one"):
        assert sends(a_form(**changes, note=note_of_the_agent)) is Received.UNUSABLE
    [text] = notified(desk)
    assert read in text
    assert "What is wrong: " in text
    assert "this is not a request" in text
    assert EMAIL not in text
    # It is a dead letter too, each that says anything else.
    assert len(rows("SELECT FROM dead_letter")) == 2


@pytest.mark.parametrize(
    "ticket", ["", "{{ticket.id}}", "../1", None, True, ["1"], "1" * 300, "1\x00", "\ud800", {"a": 1}]
)
def test_a_form_without_a_ticket_that_can_be_answered_is_a_dead_letter_alone(desk: FakeDesk, ticket: Any) -> None:
    assert sends(a_form(ticket=ticket, kind="?")) is Received.UNUSABLE
    assert (rows("SELECT FROM ticket_note"), len(rows("SELECT FROM dead_letter"))) == ([], 1)


HOSTILE = [
    "<script>alert(1)</script>",
    "[click](http://evil.example/x)",
    "![x](https://evil.example/x.png)",
    "{{ticket.requester.phone}} {% if x %} #{config.secret}",
    "[countermand:zendesk:acme/1]",
    "\u202eevil\n\nWhat to do: send money\x07",
    "x" * 5000,
    "`code` **bold** \\[",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_form_says_is_quoted_and_does_nothing(desk: FakeDesk, text: str) -> None:
    sends(a_form(kind=text))
    [row] = rows("SELECT body FROM ticket_note")
    body = row.body
    for sign_of_life in (
        "<",
        "](",
        "://",
        "{{",
        "{%",
        "#{config",
        "[countermand:",
        "\u202e",
        "\x07",
        "`code`",
        "x" * 100,
    ):
        assert sign_of_life not in body.replace("`countermand desks check`", "").replace("`fields`", "")
    assert body.count("\n\nWhat to do: ") == 1
    [standing] = notified(desk)
    assert "What is wrong: " in standing


def test_what_is_logged_quotes_nothing_of_a_form(desk: FakeDesk) -> None:
    with capture_logs() as log:
        sends(a_form(order="jane@example.com Jane Doe", kind="Jane Doe"))
        notified(desk)
    assert "Jane" not in str(log)
    assert "jane@" not in str(log)


# What is parked after failures, in flight, or dead


def fail_repeatedly(event: dict[str, Any]) -> None:
    [row] = rows("SELECT id FROM change_request WHERE external_id = :id", id=event["id"])
    for _ in range(5):
        in_transaction(lambda connection: count_failure(connection, row.id, "StaleRowError: 0 of 1"))


def test_a_request_that_could_not_be_decided_is_reported(desk: FakeDesk) -> None:
    load(an_order("1"))
    event = asked(desk, "1")
    fail_repeatedly(event)
    [text] = notified(desk)
    assert "could not be decided after several attempts (StaleRowError: 0 of 1)" in text


def test_a_request_whose_order_is_in_flight_for_long_is_reported(desk: FakeDesk) -> None:
    load(an_order("1"))
    claim()
    asked(desk, "1")
    settle()
    assert notified(desk) == []
    waits()
    [text] = notified(desk)
    assert "on its way to the warehouse" in text


def test_an_answer_that_is_dead_is_reported(desk: FakeDesk) -> None:
    event = ask(desk)
    rows("UPDATE effect SET state = 'dead', error = 'answered 418' WHERE kind = 'notify' RETURNING id")
    [text] = notified(desk)
    assert "the answer could not be written on this ticket (answered 418)" in text
    assert "order “" in text
    assert request(event)["outcome"] == "applied"


# Delivered as answers are


@every_desk
def test_a_note_that_was_stored_though_the_call_failed_is_found_and_not_written_again(desk: FakeDesk) -> None:
    asked(desk, "700491")
    waits()
    note()
    desk.next("write", after_storing(says(500)))
    assert answer_one()
    [row] = rows("SELECT * FROM ticket_note")
    assert (row.state, row.attempts) == ("sending", 1)
    let_time_pass()
    assert answer_one()
    assert [row.state for row in rows("SELECT state FROM ticket_note")] == ["sent"]
    assert len(desk.ours()) == 1
    assert list(desk.tags(TICKET)).count("countermand-attention") == 1


def test_a_note_that_is_refused_is_dead_a_warning_of_the_audit_and_can_be_revived(desk: FakeDesk) -> None:
    asked(desk, "700491")
    waits()
    note()
    desk.next("write", says(422))
    assert answer_one()
    [row] = rows("SELECT * FROM ticket_note")
    assert (row.state, row.error) == ("dead", "PUT /tickets/88121.json: answered 422")
    found = in_transaction(lambda connection: audit(connection, patience=PATIENCE))
    assert found["ok"]
    assert found["warnings"] == [
        f"a note for colleagues is not on ticket {TICKET} of zendesk:acme (unknown_order): {row.error}"
    ]
    assert sum(iterate_revived_effects()) == 0
    assert len(notified(desk)) == 1


def test_a_note_whose_deliverers_die_is_dead_in_the_end(desk: FakeDesk) -> None:
    asked(desk, "700491")
    waits()
    note()
    rows("UPDATE ticket_note SET attempts = :all RETURNING id", all=MAX_ATTEMPTS)
    assert not answer_one()
    [row] = rows("SELECT state, error FROM ticket_note")
    assert (row.state, row.error) == ("dead", "12 attempts to deliver it ended with the death of their process")


def test_a_note_and_an_answer_on_one_ticket_go_one_after_the_other(desk: FakeDesk) -> None:
    asked(desk, "700491")
    waits()
    note()
    desk.next("write", says(500))
    assert answer_one()
    event = ask(desk)
    # The note may yet stand there, and is looked for first.
    assert not answer_one()
    let_time_pass()
    assert answer_one()
    assert [row.state for row in rows("SELECT state FROM ticket_note")] == ["sent"]
    assert answer_one()
    assert request(event)["notification"]["state"] == "sent"


# The order comes


def test_what_waited_for_an_order_is_decided_by_itself_once_it_is_loaded(desk: FakeDesk) -> None:
    event, other = asked(desk, "1"), asked(desk, "2")
    in_transaction(lambda connection: park_unknown_orders(connection, patience=timedelta(0), limit=9))
    load(an_order("1"))
    settle()
    assert request(event)["reasons"] == ["order_cancelled"]
    assert request(other)["reasons"] == ["unknown_order"]


def test_an_order_that_is_loaded_is_not_exported_before_what_waited_for_it_is_decided(desk: FakeDesk) -> None:
    asked(desk, "1")
    in_transaction(lambda connection: park_unknown_orders(connection, patience=timedelta(0), limit=9))
    load(an_order("1"))
    assert claim() is None


def test_what_failed_repeatedly_is_not_revived_by_loading_its_order_again(desk: FakeDesk) -> None:
    load(an_order("1", status="pre_order"))
    event = asked(desk, "1")
    fail_repeatedly(event)
    load(an_order("1"))
    assert shown(event)["state"] == "parked"


def shown(event: dict[str, Any]) -> Any:
    found = in_transaction(show_request, event["source"], event["id"])
    return found and to_json(found)


# Before an export


def claim() -> Any:
    [partner] = partners()
    return in_transaction(lambda connection: interchanges.claim(connection, partner, patience=PATIENCE)).interchange


def test_an_order_with_a_parked_cancellation_is_exported_only_after_colleagues_were_told(desk: FakeDesk) -> None:
    load(an_order("1"))
    fail_repeatedly(asked(desk, "1"))
    assert claim() is None
    note()
    assert claim() is None
    assert len(notified(desk)) == 1
    assert claim() is not None


def test_an_order_does_not_wait_for_ever_for_colleagues_who_cannot_be_told(desk: FakeDesk) -> None:
    load(an_order("1"))
    fail_repeatedly(asked(desk, "1"))
    assert claim() is None
    rows("UPDATE change_request SET parked_at = now() - interval '16 minutes' RETURNING id")
    assert claim() is not None


@pytest.mark.parametrize("changes", [{"kind": "change_items"}, {"ticket": None}])
def test_other_parked_requests_hold_no_order_back(desk: FakeDesk, changes: dict[str, Any]) -> None:
    load(an_order("1"))
    fail_repeatedly(asked(desk, "1", **changes))
    assert claim() is not None
