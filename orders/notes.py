"""Notes for colleagues on tickets where nothing is decided: found in the tables, written once for each cause."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, select, text, update

from database.locks import lock_dead_notes
from database.queries import AnyRow, is_one_of
from database.tables import NoteState, ticket_note

# The order may be loaded at any moment; after this long a note tells a colleague that a customer is waiting.
SOON = timedelta(seconds=20)


class Cause(StrEnum):
    """Why a note is written; the first two are the reasons of a parked request."""

    UNKNOWN_ORDER = "unknown_order"
    FAILED_REPEATEDLY = "failed_repeatedly"
    INVALID_FORM = "invalid_form"
    IN_FLIGHT = "in_flight"
    ANSWER_DEAD = "answer_dead"


@dataclass(frozen=True, slots=True)
class NoteRow:
    """A note as it is stored; one with the same source, ticket, cause and key is written once."""

    source: str
    ticket: str
    cause: str
    key: str
    destination: str
    subject: str
    body: str
    change_request_id: int | None = None


# The key of an unknown order is its number's, whatever asks for it on the ticket; hashed, for keys are logged.
_WANTED = text(
    """
    WITH found AS (
        SELECT id, 'unknown_order' AS cause, substr(md5(order_number), 1, 16) AS key, CAST(NULL AS text) AS error
        FROM change_request AS request
        WHERE state = 'received' AND undecided_since < now() - :soon
            AND NOT EXISTS (SELECT FROM orders WHERE number = order_number)
        UNION ALL
        SELECT id, 'in_flight', external_id, NULL FROM change_request AS request
        WHERE state = 'received' AND undecided_since < now() - :soon
            AND EXISTS (SELECT FROM orders WHERE number = order_number AND edi_state = 'claimed')
        UNION ALL
        SELECT id, reasons[1], CASE WHEN reasons[1] = 'unknown_order' THEN substr(md5(order_number), 1, 16)
            ELSE external_id END, error
        FROM change_request WHERE state = 'parked'
        UNION ALL
        SELECT change_request_id, 'answer_dead', external_id, effect.error
        FROM effect JOIN change_request AS request ON request.id = change_request_id
        WHERE effect.state = 'dead' AND effect.kind = 'notify'
    )
    SELECT request.id, source, ticket, cause, key, found.error, request.body
    FROM found JOIN change_request AS request USING (id)
    WHERE ticket IS NOT NULL AND source = ANY(CAST(:sources AS text[]))
        AND NOT EXISTS (SELECT FROM ticket_note AS note WHERE (note.source, note.ticket, note.cause, note.key)
                        = (request.source, request.ticket, found.cause, found.key))
    ORDER BY request.id LIMIT :limit
    """
)
_WRITE = text(
    """
    INSERT INTO ticket_note (change_request_id, source, ticket, cause, key, destination, subject, body)
    SELECT change_request_id, source, ticket, cause, key, destination, subject, body
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS written (change_request_id bigint, source text, ticket text,
        cause text, key text, destination text, subject text, body text)
    ON CONFLICT DO NOTHING
    """
)


def find_wanted(connection: Connection, sources: Sequence[str], *, limit: int) -> Sequence[AnyRow]:
    """Returns requests on tickets of these sources that need a note and have none, each with the cause."""
    return connection.execute(_WANTED, {"soon": SOON, "sources": list(sources), "limit": limit}).all()


def write_notes(connection: Connection, rows: Sequence[NoteRow]) -> int:
    """Writes notes to be delivered; returns how many are new."""
    if not rows:
        return 0
    return connection.execute(_WRITE, {"rows": json.dumps([asdict(row) for row in rows])}).rowcount


def revive_dead_notes(connection: Connection, *, limit: int, after: int = 0) -> Sequence[int]:
    """Makes the next dead notes, with ids above `after`, pending again with all their attempts; returns their ids."""
    ids = lock_dead_notes(connection, limit=limit, after=after)
    again: dict[str, Any] = {"state": NoteState.PENDING, "attempts": 0, "not_before": func.clock_timestamp()}
    dead = update(ticket_note).where(is_one_of(ticket_note.c.id, ids), ticket_note.c.state == NoteState.DEAD)
    connection.execute(dead.values(**again, error=None))
    return ids


def count_dead_notes(connection: Connection) -> int:
    """Returns how many notes are dead."""
    return connection.execute(select(func.count()).where(ticket_note.c.state == NoteState.DEAD)).scalar_one()
