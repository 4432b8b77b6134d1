"""The inbox: every request that was accepted, known for ever by (source, id)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select, text, tuple_

from orders.dead_letters import DeadLetter, explain_conflict, keep_dead_letters
from orders.locks import AnyRow, lock_numbers_for_accepting
from orders.messages import ChangeMessage, Unreadable, UnreadableMessage, parse_change
from orders.tables import change_request

# The rows are one JSON parameter, so that the statement is the same for any number of them and is prepared once. In the
# sequence of the places the ids are handed out. What was parsed is UTF-8, so a body is a text, spelled without further
# escapes, which would make it up to three times as long; it is kept as the bytes that came.
_INSERT = text(
    """
    INSERT INTO change_request (source, external_id, order_number, kind, ticket, body, data_sha256)
    SELECT source, external_id, order_number, kind, ticket, convert_to(body, 'UTF8'), data_sha256
    FROM ROWS FROM (jsonb_to_recordset(CAST(:rows AS jsonb)) AS (source text, external_id text, order_number text,
        kind text, ticket text, body text, data_sha256 text)) WITH ORDINALITY
    ORDER BY ordinality
    ON CONFLICT DO NOTHING RETURNING id, order_number
    """
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as a broker handed it over; `position` is the broker's own id of it, where it has one.

    `given_up` says why it is put aside unread, `is_redelivered` that someone has had it in hand before.
    """

    origin: str
    position: str | None
    raw: bytes
    given_up: str | None = None
    is_redelivered: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a batch of deliveries: how many were new, repeated, and put to the dead letters."""

    new: int
    repeated: int
    dead: int
    # Of the new requests and their orders, for whoever decides them in the same transaction.
    ids: tuple[int, ...] = field(default=(), compare=False, repr=False)
    numbers: frozenset[str] = field(default=frozenset(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class _Parsed:
    delivery: Delivery
    message: ChangeMessage
    data_sha256: str

    @property
    def key(self) -> tuple[str, str]:
        return self.message.source, self.message.id


def accept(connection: Connection, deliveries: Sequence[Delivery]) -> Accepted:
    """Takes a batch of deliveries into the inbox, in their sequence; what cannot be taken becomes a dead letter.

    Nothing is lost and nothing is taken twice: a key that is known already keeps its first request, and counts as
    repeated when the data are the same, as a conflict when they are not.
    """
    parsed, dead = _parse(deliveries)
    lock_numbers_for_accepting(connection, [one.message.data.order for one in parsed])
    new = _insert(connection, parsed)
    # What was inserted has met nothing that it could contradict.
    conflicts = _conflicts(connection, parsed) if len(new) < len(parsed) else []
    keep_dead_letters(connection, dead + conflicts)
    repeated = len(parsed) - len(new) - len(conflicts)
    ids, numbers = tuple(row.id for row in new), frozenset(row.order_number for row in new)
    return Accepted(len(new), repeated, len(dead) + len(conflicts), ids, numbers)


def _parse(deliveries: Sequence[Delivery]) -> tuple[list[_Parsed], list[DeadLetter]]:
    parsed, dead = [], []
    for delivery in deliveries:
        if delivery.given_up is not None:
            # Not parsed: perhaps that is what ended whoever had received it.
            dead.append(_dead(delivery, Unreadable.INVALID_MESSAGE, delivery.given_up))
            continue
        try:
            message = parse_change(delivery.raw)
        except UnreadableMessage as unreadable:
            dead.append(_dead(delivery, unreadable.reason, str(unreadable)))
        else:
            parsed.append(_Parsed(delivery, message, message.data_sha256()))
    return parsed, dead


def _dead(delivery: Delivery, reason: Unreadable, error: str) -> DeadLetter:
    return DeadLetter(delivery.origin, delivery.position, delivery.raw, reason, error)


def _insert(connection: Connection, parsed: Sequence[_Parsed]) -> Sequence[AnyRow]:
    if not parsed:
        return ()
    rows = [
        {
            "source": one.message.source,
            "external_id": one.message.id,
            "order_number": one.message.data.order,
            "kind": one.message.data.kind,
            "ticket": one.message.data.ticket,
            "body": one.delivery.raw.decode(),
            "data_sha256": one.data_sha256,
        }
        for one in parsed
    ]
    return connection.execute(_INSERT, {"rows": json.dumps(rows, ensure_ascii=False)}).all()


def _conflicts(connection: Connection, parsed: Sequence[_Parsed]) -> list[DeadLetter]:
    key = tuple_(change_request.c.source, change_request.c.external_id)
    columns = (change_request.c.source, change_request.c.external_id, change_request.c.data_sha256)
    known = connection.execute(select(*columns).where(key.in_({one.key for one in parsed})))
    first = {(row.source, row.external_id): row.data_sha256 for row in known}
    return [
        _dead(one.delivery, Unreadable.CONFLICTING_DUPLICATE, explain_conflict(one.message))
        for one in parsed
        if first[one.key] != one.data_sha256
    ]
