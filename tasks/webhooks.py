"""One webhook delivery: verified, read, and kept before it is answered."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import structlog

from desks.desk import Desk, Ignored, Unusable, Webhook
from orders import tickets
from orders.dead_letters import DeadLetter, keep_dead_letters
from orders.inbox import Delivery
from orders.messages import ChangeMessage, Unreadable, UnreadableMessage, parse_change
from orders.reading import show_request
from orders.tables import RequestState
from tasks.database import in_transaction
from tasks.intake import keep

_log = structlog.get_logger()

# A dead letter that came by a webhook holds what the desk sent, and its origin says which desk can read it.
ORIGIN = "webhook:"


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
    """What became of a delivery: the request as it is shown where there is one, and words where it was not taken."""

    received: Received
    request: Mapping[str, Any] | None = None
    told: str | None = None


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
        return Receipt(Received.IGNORED, told=str(ignored))
    except Unusable as unusable:
        reason = Unreadable.INVALID_MESSAGE if unusable.is_json else Unreadable.NOT_JSON
        return _unusable(desk, webhook, reason, str(unusable))
    except UnreadableMessage as unreadable:
        return _unusable(desk, webhook, unreadable.reason, str(unreadable))
    return _keep(desk, webhook, message, event)


def _note(desk: Desk, ticket: str) -> Receipt:
    in_transaction(lambda connection: tickets.note(connection, desk.source, [ticket]))
    _log.info("webhook names a ticket, which is to be read", desk=desk.name, ticket=ticket)
    return Receipt(Received.NOTED, {"source": desk.source, "ticket": ticket, "state": "to_be_read"})


def _unusable(desk: Desk, webhook: Webhook, reason: Unreadable, told: str) -> Receipt:
    letter = DeadLetter(ORIGIN + desk.name, _fingerprint(webhook.body), webhook.body, reason, told)
    in_transaction(lambda connection: keep_dead_letters(connection, [letter]))
    _log.warning("webhook unusable, kept as a dead letter", desk=desk.name, reason=reason, error=told)
    return Receipt(Received.UNUSABLE, told=told)


def _keep(desk: Desk, webhook: Webhook, message: ChangeMessage, event: bytes) -> Receipt:
    # By what the desk sent: the event may say when we had it, which differs each time.
    accepted = keep([Delivery(ORIGIN + desk.name, _fingerprint(webhook.body), event)])
    if accepted.new:
        _log.info("webhook accepted", desk=desk.name, source=message.source, request=message.id)
        request = {"source": message.source, "id": message.id, "state": RequestState.RECEIVED}
        return Receipt(Received.NEW, request)
    known = in_transaction(lambda connection: show_request(connection, message.source, message.id))
    if accepted.repeated:
        return Receipt(Received.REPEATED, known)
    if known:
        told = f"request {message.id} of {message.source} is known with other data; the first one stays"
        return Receipt(Received.CONFLICT, told=told)
    return Receipt(Received.UNUSABLE, told="the database refused it; it is kept as a dead letter")


def _fingerprint(raw: bytes) -> str:
    # A desk that tries again must not make a second dead letter, and has no id that all desks have.
    return hashlib.sha256(raw).hexdigest()
