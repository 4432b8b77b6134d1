"""Asking for something on a ticket of a fake desk, and what has become of the answer."""

from datetime import timedelta
from itertools import count
from typing import Any

from database.transactions import in_transaction
from orders.audit import audit
from tasks.answers import answer_one
from tasks.effects import NOTIFY
from tasks.running.batches import run_batch
from tests.builders import a_request, an_order, decide_all, deliver, load, request, rows
from tests.helpdesks.fake import TICKET, Comment, FakeDesk

_numbers = count(1001)


def ask(desk: FakeDesk, **changes: Any) -> dict[str, Any]:
    """Lets a customer of a new order ask for something, and puts the decision into words."""
    number = str(next(_numbers))
    load(an_order(number))
    event = a_request(number, source=desk.source, **changes)
    deliver(event)
    decide_all()
    run_batch(NOTIFY)
    return event


def standing(event: dict[str, Any]) -> Any:
    """Returns where an answer stands: effect, notification, tries, error, and seconds until the next try."""
    (row,) = rows(
        """
        SELECT effect.state, notification.state AS delivery_state, effect.attempts, effect.error,
            extract(epoch FROM effect.not_before - clock_timestamp())::float AS pause
        FROM change_request AS request
        JOIN effect ON effect.change_request_id = request.id AND effect.kind = 'notify'
        JOIN notification ON notification.change_request_id = request.id
        WHERE source = :source AND external_id = :id
        """,
        source=event["source"],
        id=event["id"],
    )
    return row


def resting(desk: FakeDesk) -> Any:
    """Returns the row of a desk that backs off."""
    pause = "extract(epoch FROM not_before - clock_timestamp())::float AS pause"
    (row,) = rows(f"SELECT *, {pause} FROM destination WHERE name = :name AND failures > 0", name=desk.source)
    return row


def is_quick(desk: FakeDesk) -> None:
    """Lets a desk be known as one that answers quickly: several of its answers may be on their way at once."""
    rows(
        "INSERT INTO destination (name, turn_at, took) VALUES (:name, now(), '0') RETURNING name",
        name=desk.source,
    )


def let_time_pass() -> None:
    """Ends every pause and every lease."""
    rows("UPDATE effect SET not_before = now() WHERE state = 'pending' RETURNING id")
    rows("UPDATE ticket_note SET not_before = now() WHERE state IN ('pending', 'sending') RETURNING id")
    # Its failures stay until it works again.
    rows("UPDATE destination SET not_before = now() WHERE failures > 0 RETURNING name")


def try_again() -> bool:
    """Delivers the next answer, without the pauses; returns False if there is none."""
    let_time_pass()
    return answer_one()


def broken_promises() -> dict[int, list[str]]:
    """Returns what the audit finds, by the number of the promise."""
    found = in_transaction(lambda connection: audit(connection, patience=timedelta(minutes=15)))
    return {check["promise"]: check["examples"] for check in found["checks"] if check["violations"]}


def answers_to(desk: FakeDesk, event: dict[str, Any]) -> list[Comment]:
    """Returns what stands on the ticket with the mark of a request."""
    mark = f"[countermand:{event['source']}/{event['id']}]"
    return [comment for comment in desk.comments(TICKET) if mark in comment.text + comment.mark]


def assert_answered_once(desk: FakeDesk, event: dict[str, Any], *, is_public: bool = True) -> None:
    """The answer stands on the ticket once, tagged, and is settled; nothing is left to do."""
    reported = request(event)
    (comment,) = answers_to(desk, event)
    visible = [word for word in comment.text.split() if not word.startswith("[countermand:")]
    assert visible == reported["notification"]["body"].split()
    assert comment.is_public is is_public
    assert list(desk.tags(TICKET)).count(f"countermand-{reported['outcome']}") == 1
    assert (standing(event).state, standing(event).delivery_state, standing(event).error) == ("done", "sent", None)
    assert try_again() is False
    assert broken_promises() == {}
