"""Which answer or note is delivered next: destinations take turns, and a slow one gets one attempt at a time.

Of one destination the oldest comes first, what was tried before behind what was not. On one ticket they go one after
the other. Nothing is locked here: `database.locks` locks what is found, and all claims go one after the other.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

from sqlalchemy import Connection, text

# SQLAlchemy types a row by its columns in sequence; ours are read by name.
_Row: TypeAlias = Any

# A destination whose last attempt took longer, or is on its way for longer, gets one at a time: another process
# is to be free for the others.
SLOW = timedelta(seconds=2)
# So far behind what was not tried goes what was: it does not wait for ever, should there always be something new.
_BEHIND = timedelta(minutes=5)

# An effect is an answer once its text is written: it has its destination then.
_ANSWER_WAITS = "effect.state = 'pending' AND effect.destination IS NOT NULL"
_NOTE_WAITS = "ticket_note.state IN ('pending', 'sending')"


def _distinct_destinations(name: str, table: str, waits: str) -> str:
    # From one to the next in the index: never through all that waits for one of them.
    return f"""
        {name} (name) AS (
            (SELECT destination FROM {table} WHERE {waits} ORDER BY destination LIMIT 1)
            UNION ALL
            SELECT (
                SELECT destination FROM {table} WHERE {waits} AND destination > {name}.name
                ORDER BY destination LIMIT 1
            ) FROM {name} WHERE name IS NOT NULL
        )"""  # noqa: S608  # our own constants


_DESTINATIONS = text(
    f"""
    WITH RECURSIVE
        {_distinct_destinations("answering", "effect", _ANSWER_WAITS)},
        {_distinct_destinations("noting", "ticket_note", _NOTE_WAITS)}
    SELECT waiting.name, coalesce(took > :slow, true) AS is_slow
    FROM (SELECT name FROM answering UNION SELECT name FROM noting) AS waiting LEFT JOIN destination USING (name)
    WHERE waiting.name IS NOT NULL
        AND coalesce(not_before <= now(), true)
    ORDER BY turn_at NULLS FIRST, waiting.name
    """  # noqa: S608  # our own constants
)
_SENDING = text("SELECT change_request_id FROM notification WHERE state = 'sending'")
# By what was found to be sending, and its effect's state is asked last: the planner would go through all that pends.
_TRIES = text(
    """
    SELECT false AS is_note, effect.id, effect.destination, source, ticket, effect.state, leased_at, effect.not_before,
        clock_timestamp() AS now
    FROM notification
    JOIN change_request AS request ON request.id = change_request_id
    JOIN effect ON effect.change_request_id = request.id AND effect.kind = 'notify'
    WHERE notification.change_request_id = ANY(CAST(:sending AS bigint[]))
    UNION ALL
    SELECT true, id, destination, source, ticket, 'pending', leased_at, not_before, clock_timestamp()
    FROM ticket_note WHERE state = 'sending'
    """
)


def _first(is_note: str, table: str, waits: str, its_ticket: str, join: str, tried: str) -> str:
    return f"""
        (SELECT {is_note} AS is_note, {table}.id, {table}.not_before AS since, {table}.attempts > 0 AS was_tried
         FROM {table} {join}
         WHERE {waits} AND {table}.destination = :destination AND {table}.attempts {tried}
             AND {table}.not_before <= now()
             AND NOT EXISTS (
                SELECT FROM jsonb_to_recordset(CAST(:tries AS jsonb))
                    AS try (is_note boolean, id bigint, source text, ticket text)
                WHERE (try.source, try.ticket) = ({its_ticket}.source, {its_ticket}.ticket)
                    AND (try.is_note, try.id) <> ({is_note}, {table}.id))
         ORDER BY {table}.not_before, {table}.id LIMIT 1)"""  # noqa: S608  # our own constants


_JOIN_REQUEST = "JOIN change_request AS request ON request.id = effect.change_request_id"
# Of a destination the oldest due answer and note: of those that were not tried yet, and of those that were.
_FIRST = text(
    " UNION ALL ".join(
        _first(*kind, tried)
        for kind in (
            ("false", "effect", _ANSWER_WAITS, "request", _JOIN_REQUEST),
            ("true", "ticket_note", _NOTE_WAITS, "ticket_note", ""),
        )
        for tried in ("= 0", "> 0")
    )
)


def next_due(connection: Connection) -> Iterator[_Row]:
    """Yields the answers and notes that can be delivered now (is_note, id), in the sequence in which they are to be.

    Destinations that back off are passed by, and slow ones with an attempt on its way, and on a ticket all that would
    be written beside, or before, another attempt that is on its way or whose outcome is unknown.
    """
    destinations = connection.execute(_DESTINATIONS, {"slow": SLOW}).all()
    if not destinations:
        return
    sending = connection.scalars(_SENDING).all()
    tries = connection.execute(_TRIES, {"sending": list(sending)}).all()
    open_tries = [one for one in tries if one.state == "pending"]
    for destination in destinations:
        if not _is_busy(destination, open_tries):
            yield from _first_of(connection, destination.name, open_tries)


def _is_busy(destination: _Row, tries: Sequence[_Row]) -> bool:
    # One whose pause is over is not on its way any more: its process has died.
    on_their_way = [
        one.now - one.leased_at
        for one in tries
        if one.destination == destination.name and one.leased_at is not None and one.not_before > one.now
    ]
    return bool(on_their_way) and (destination.is_slow or max(on_their_way) > SLOW)


def _first_of(connection: Connection, destination: str, tries: Sequence[_Row]) -> Sequence[_Row]:
    on_tickets = [
        {"is_note": one.is_note, "id": one.id, "source": one.source, "ticket": one.ticket}
        for one in tries
        if one.ticket is not None
    ]
    found = connection.execute(_FIRST, {"destination": destination, "tries": json.dumps(on_tickets)}).all()
    return sorted(found, key=lambda one: (one.since + _BEHIND * one.was_tried, one.was_tried))
