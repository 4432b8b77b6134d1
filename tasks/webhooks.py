"""One webhook delivery: verified, read, and stored before it is answered."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import structlog
from sqlalchemy import Connection

from database.tables import RequestState
from database.transactions import in_transaction
from desks.desk import Desk, Ignored, Unusable, Webhook
from desks.notes import as_text, write_note
from orders import tickets
from orders.dead_letters import DeadLetter, keep_dead_letters
from orders.inbox import Delivery
from orders.messages import ChangeMessage, Unreadable, UnreadableMessage, parse_change
from orders.notes import Cause, NoteRow, write_notes
from orders.reading import show_request
from orders.views import to_json
from tasks.helpdesks import store_texts
from tasks.intake import store

_log = structlog.get_logger()

# A dead letter that came by a webhook holds what the desk sent, and its origin says which desk can read it.
ORIGIN = "webhook:"
# As in a change request.
_LONGEST_TICKET = 255


class Received(Enum):
    """What became of a delivery."""

    NEW = auto()
    NOTED = auto()
    REPEATED = auto()
    CONFLICT = auto()
    UNUSABLE = auto()
    IGNORED = auto()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery: the request as it is shown where there is one, and why it was not taken otherwise."""

    received: Received
    request: Mapping[str, Any] | None = None
    reason: str | None = None


def receive(desk: Desk, webhook: Webhook) -> Receipt:
    """Verifies a delivery and keeps what it asks for; when this returns nothing of it can be lost.

    Raises Unauthorized for one that is not proved to be the desk's, and the database's error when that is away.
    """
    desk.verify(webhook)
    log = _log.bind(desk=desk.name)
    try:
        if ticket := desk.ticket_named(webhook):
            return _note(desk, ticket)
        event = desk.read(webhook)
        message = parse_change(event)
    except Ignored as ignored:
        log.info("webhook ignored", why=str(ignored))
        return Receipt(Received.IGNORED, reason=str(ignored))
    except Unusable as unusable:
        reason = Unreadable.INVALID_MESSAGE if unusable.is_json else Unreadable.NOT_JSON
        return _unusable(desk, webhook, reason, str(unusable), unusable.form)
    except UnreadableMessage as unreadable:
        return _unusable(desk, webhook, unreadable.reason, str(unreadable), form_in(event))
    return _store(desk, webhook, message, event)


def _note(desk: Desk, ticket: str) -> Receipt:
    in_transaction(tickets.note, desk.source, [ticket])
    _log.info("webhook names a ticket, which is to be read", desk=desk.name, ticket=ticket)
    return Receipt(Received.NOTED, {"source": desk.source, "ticket": ticket, "state": "to_be_read"})


def _unusable(desk: Desk, webhook: Webhook, reason: Unreadable, error: str, form: Mapping[str, Any] | None) -> Receipt:
    letter = DeadLetter(ORIGIN + desk.name, _fingerprint(webhook.body), webhook.body, reason, error)
    notes = notes_on(desk, form or {}, error)

    def keep_and_note(connection: Connection) -> None:
        keep_dead_letters(connection, [letter])
        write_notes(connection, notes)

    in_transaction(keep_and_note)
    _log.warning("webhook unusable, kept as a dead letter", desk=desk.name, reason=reason, error=error)
    return Receipt(Received.UNUSABLE, reason=error)


def form_in(event: bytes) -> Mapping[str, Any] | None:
    """Returns the `data` of what is no change request, for a note on its ticket; None if there is none."""
    try:
        data = json.loads(event)["data"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def notes_on(desk: Desk, form: Mapping[str, Any], error: str) -> list[NoteRow]:
    """Returns the note for the ticket of a form that is wrong; none where it names no ticket that can be answered."""
    ticket = as_text(form.get("ticket")).strip()
    is_ticket = 0 < len(ticket) <= _LONGEST_TICKET and ticket.isprintable() and desk.is_ticket(ticket)
    if not (desk.config.answers and is_ticket):
        return []
    words = write_note(Cause.INVALID_FORM, form, wrong=error, texts=store_texts())
    return [NoteRow(desk.source, ticket, Cause.INVALID_FORM, words.key, desk.source, words.subject, words.body)]


def _store(desk: Desk, webhook: Webhook, message: ChangeMessage, event: bytes) -> Receipt:
    # Known by what the desk sent: the event may say when we received it, which differs each time.
    delivery = Delivery(ORIGIN + desk.name, _fingerprint(webhook.body), event, message=message)
    accepted = store([delivery])
    if accepted.new:
        _log.info("webhook accepted", desk=desk.name, source=message.source, request=message.id)
        request = {"source": message.source, "id": message.id, "state": RequestState.RECEIVED}
        return Receipt(Received.NEW, request)
    known = in_transaction(show_request, message.source, message.id)
    if accepted.repeated:
        return Receipt(Received.REPEATED, to_json(known) if known else None)
    if known:
        reason = f"request {message.id} of {message.source} is known with other data; the first one stays"
        return Receipt(Received.CONFLICT, reason=reason)
    return Receipt(Received.UNUSABLE, reason="the database refused it; it is kept as a dead letter")


def _fingerprint(raw: bytes) -> str:
    # A desk that tries again must not make a second dead letter, and has no id that all desks have.
    return hashlib.sha256(raw).hexdigest()
