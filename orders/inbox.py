"""The inbox: every request that was accepted, known for ever by (source, id)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, text, tuple_

from database.exportable import has_no_open_request_sql
from database.locks import lock_numbers_for_accepting
from database.order_numbers import order_meant
from database.tables import change_request
from orders.dead_letters import DeadLetter, explain_conflict, keep_dead_letters
from orders.messages import ChangeMessage, Unreadable, UnreadableMessage, parse_change

# The fields of `IncomingRequest.as_row`, for the statements that write it. A parsed body is UTF-8, so it travels as
# text without further escapes, which would make it up to three times as long; it is stored as the bytes that came.
COLUMNS = "source, external_id, order_number, kind, ticket, body, data_sha256"
VALUES = "source, external_id, order_number, kind, ticket, convert_to(body, 'UTF8'), data_sha256"
FIELDS = ", ".join(f"{name} text" for name in COLUMNS.split(", "))
# The rows are one JSON parameter, so that the statement is the same for any number of them and is prepared once. In the
# sequence of the places the ids are handed out.
_INSERT = text(
    f"""
    INSERT INTO change_request ({COLUMNS}) SELECT {VALUES.replace("order_number", order_meant("order_number"))}
    FROM ROWS FROM (jsonb_to_recordset(CAST(:rows AS jsonb)) AS ({FIELDS})) WITH ORDINALITY
    ORDER BY ordinality
    ON CONFLICT DO NOTHING
    """  # noqa: S608  # our own constants
)
_LOOK = text(
    f"""
    SELECT (SELECT data_sha256 FROM change_request
            WHERE (source, external_id) = (wanted.source, wanted.external_id)) AS data_sha256,
        number, {has_no_open_request_sql("number")} AS has_no_open_request, statement_timestamp() AS received_at
    FROM (
        SELECT source, external_id, {order_meant("written")} AS number, place
        FROM unnest(CAST(:sources AS text[]), CAST(:ids AS text[]), CAST(:numbers AS text[]))
            WITH ORDINALITY AS arrived (source, external_id, written, place)
        -- So that the number is looked up once.
        OFFSET 0) AS wanted
    ORDER BY place
    """  # noqa: S608  # our own constants
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as a broker handed it over; `position` is the broker's own id of it, where it has one.

    `given_up` says why it becomes a dead letter unread, `is_redelivered` that it was delivered before and not
    acknowledged. `message` is what `raw` says, where that was parsed already.
    """

    origin: str
    position: str | None
    raw: bytes
    given_up: str | None = None
    is_redelivered: bool = False
    message: ChangeMessage | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a batch of deliveries: how many were new, repeated, or became dead letters."""

    new: int
    repeated: int
    dead: int


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """A delivery that is a change request, on its way into the inbox."""

    delivery: Delivery
    message: ChangeMessage
    data_sha256: str
    # The number of the order that is meant, once that is known.
    meant: str | None = None
    # When it was looked up, under the lock on that number.
    received_at: datetime | None = None

    @property
    def body(self) -> bytes:
        """The request as it came."""
        return self.delivery.raw

    @property
    def key(self) -> tuple[str, str]:
        """Its idempotency key."""
        return self.message.key

    @property
    def order_number(self) -> str:
        """The number of the order that it concerns: as it was written until it is known which order is meant."""
        return self.meant or self.message.data.order

    def as_row(self) -> dict[str, Any]:
        """Returns it as the statements take it that write it into the inbox, once it is JSON."""
        return {
            "source": self.message.source,
            "external_id": self.message.id,
            "order_number": self.order_number,
            "kind": self.message.data.kind,
            "ticket": self.message.data.ticket,
            "body": self.body.decode(),
            "data_sha256": self.data_sha256,
        }


@dataclass(frozen=True, slots=True)
class Classified:
    """The new requests of a batch, in its sequence; those without an undecided request before them; the conflicts."""

    new: list[IncomingRequest]
    decidable_now: list[IncomingRequest]
    conflicts: list[DeadLetter]


def store(connection: Connection, deliveries: Sequence[Delivery]) -> Accepted:
    """Stores a batch of deliveries undecided, in their sequence; what is no new or repeated request is a dead letter.

    Nothing is lost and nothing is stored twice: a key that is known already keeps its first request, and counts as
    repeated when the data are the same, as a conflict when they are not.
    """
    arrived, dead = receive(connection, deliveries)
    new = _insert(connection, arrived)
    # A request that was inserted cannot contradict an earlier one.
    conflicts = _conflicts(connection, arrived) if new < len(arrived) else []
    keep_dead_letters(connection, dead + conflicts)
    return Accepted(new, len(arrived) - new - len(conflicts), len(dead) + len(conflicts))


def receive(connection: Connection, deliveries: Sequence[Delivery]) -> tuple[list[IncomingRequest], list[DeadLetter]]:
    """Parses deliveries and locks the numbers of their orders; returns the requests, and what cannot be parsed."""
    arrived, dead = _parse(deliveries)
    lock_numbers_for_accepting(connection, [one.order_number for one in arrived])
    return arrived, dead


def classify(connection: Connection, arrived: Sequence[IncomingRequest]) -> Classified:
    """Looks up requests before they are stored; see `store` for what counts as new.

    No other request for their orders can come before them, as their numbers are locked. One for another order may still
    take a key of theirs.
    """
    first: dict[tuple[str, str], IncomingRequest] = {}
    for one in arrived:
        first.setdefault(one.key, one)
    keys = {"sources": [source for source, _ in first], "ids": [key for _, key in first]}
    numbers = [one.order_number for one in first.values()]
    found = connection.execute(_LOOK, {**keys, "numbers": numbers}).all() if first else ()
    looked = [
        (replace(one, meant=row.number, received_at=row.received_at), row)
        for one, row in zip(first.values(), found, strict=True)
    ]
    new = [one for one, row in looked if row.data_sha256 is None]
    decidable_now = [one for one, row in looked if row.data_sha256 is None and row.has_no_open_request]
    first_data = {one.key: row.data_sha256 or one.data_sha256 for one, row in looked}
    return Classified(new, decidable_now, _contradicting(arrived, first_data))


def _parse(deliveries: Sequence[Delivery]) -> tuple[list[IncomingRequest], list[DeadLetter]]:
    arrived, dead = [], []
    for delivery in deliveries:
        if delivery.given_up is not None:
            # Not parsed: parsing may be what crashed the process that received it.
            dead.append(_dead(delivery, Unreadable.INVALID_MESSAGE, delivery.given_up))
            continue
        try:
            message = delivery.message or parse_change(delivery.raw)
        except UnreadableMessage as unreadable:
            dead.append(_dead(delivery, unreadable.reason, str(unreadable)))
        else:
            arrived.append(IncomingRequest(delivery, message, message.data_sha256()))
    return arrived, dead


def _dead(delivery: Delivery, reason: Unreadable, error: str) -> DeadLetter:
    return DeadLetter(delivery.origin, delivery.position, delivery.raw, reason, error)


def _insert(connection: Connection, arrived: Sequence[IncomingRequest]) -> int:
    if not arrived:
        return 0
    rows = json.dumps([one.as_row() for one in arrived], ensure_ascii=False)
    return connection.execute(_INSERT, {"rows": rows}).rowcount


def _conflicts(connection: Connection, arrived: Sequence[IncomingRequest]) -> list[DeadLetter]:
    key = tuple_(change_request.c.source, change_request.c.external_id)
    columns = (change_request.c.source, change_request.c.external_id, change_request.c.data_sha256)
    known = connection.execute(select(*columns).where(key.in_({one.key for one in arrived})))
    first = {(row.source, row.external_id): row.data_sha256 for row in known}
    return _contradicting(arrived, first)


def _contradicting(arrived: Sequence[IncomingRequest], first: Mapping[tuple[str, str], str]) -> list[DeadLetter]:
    return [
        _dead(one.delivery, Unreadable.CONFLICTING_DUPLICATE, explain_conflict(one.message))
        for one in arrived
        if first[one.key] != one.data_sha256
    ]
