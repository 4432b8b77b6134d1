"""Tickets whose forms are read by the desks' APIs: noted durably, read under a lease, settled by the newest fence.

A ticket is named by a webhook or by a listing, and stays here until it was read. What names it again while it is being
read makes it due once more, so no change is overlooked.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, case, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from database.locks import claim_ticket_to_read, lock_desk_progress, lock_ticket_to_read
from database.queries import AnyRow
from database.tables import desk_progress, ticket_to_read
from delivery.backoff import DESTINATION, ITEM, WORKS
from delivery.leases import MAX_ATTEMPTS, LostFence, expect_fence, lease_end
from delivery.outcomes import Failure

# Longer than the task that reads may run (it is killed then): nobody reads beside the holder of a lease.
LEASE = timedelta(seconds=90)
# After MAX_ATTEMPTS failures that may be the desk's, a ticket is given up only when it is this old: a desk may be away
# for hours, and its tickets wait for it.
LONGEST_WAIT = timedelta(days=1)
# Listings look back so far: a desk's search may know of a change minutes later, and two clocks differ.
OVERLAP = timedelta(minutes=15)

_NOTE = text(
    """
    INSERT INTO ticket_to_read (source, ticket)
    SELECT :source, ticket FROM unnest(CAST(:tickets AS text[])) AS named (ticket) ORDER BY ticket
    ON CONFLICT (source, ticket) DO UPDATE SET
        wanted = ticket_to_read.wanted + 1,
        noted_at = CASE WHEN ticket_to_read.read = ticket_to_read.wanted THEN statement_timestamp()
            ELSE ticket_to_read.noted_at END,
        attempts = 0, not_before = statement_timestamp()
    """
)
# The ids of a ticket's forms begin with it, and go on with a kind. The bounds are for the index, whatever the collation
# makes of hyphens; `starts_with` decides.
_REQUESTS_FROM = text(
    """
    SELECT external_id, body FROM change_request
    WHERE source = :source AND external_id BETWEEN :prefix AND :prefix || 'zzzz'
        AND starts_with(external_id, :prefix) AND ticket = :ticket
    ORDER BY id
    """
)


@dataclass(frozen=True, slots=True)
class Leased:
    """A ticket that is ours to read until the lease ends; `wanted` is which of its changes this reading covers."""

    id: int
    source: str
    ticket: str
    wanted: int
    fence: int
    noted_at: datetime


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a desk's changed tickets that is ours to ask for until the lease ends."""

    source: str
    since: datetime
    cursor: str | None
    fence: int


def note(connection: Connection, source: str, tickets: Collection[str]) -> None:
    """Notes tickets that are to be read, or read again."""
    if tickets:
        connection.execute(_NOTE, {"source": source, "tickets": sorted(set(tickets))})


def lease(connection: Connection, sources: Collection[str]) -> Leased | None:
    """Takes the next ticket to read of these desks, by their sources; None if there is none."""
    row = claim_ticket_to_read(connection, sources)
    if row is None:
        return None
    fence = row.fence + 1
    connection.execute(_of(row.id).values(fence=fence, lease_until=lease_end(LEASE)))
    return Leased(row.id, row.source, row.ticket, row.wanted, fence, row.noted_at)


def settle(connection: Connection, leased: Leased) -> None:
    """Notes that a ticket was read, and that its desk works. Raises LostFence.

    What has named it since the reading began is still to be read.
    """
    _hold(connection, leased)
    ticket, now = ticket_to_read.c, func.clock_timestamp()
    named_since = case((ticket.wanted > leased.wanted, now), else_=ticket.noted_at)
    done = {"read": leased.wanted, "noted_at": named_since, "attempts": 0, "not_before": now}
    connection.execute(_of(leased.id).values(lease_until=None, error=None, **done))
    works = update(desk_progress).where(desk_progress.c.source == leased.source, desk_progress.c.failures > 0)
    connection.execute(works.values(WORKS))


def is_hopeless(connection: Connection, leased: Leased, failure: Failure) -> bool:
    """True if a reading that failed was the last one: a person has to look at the ticket."""
    ticket = ticket_to_read.c
    is_last = ticket.attempts + 1 >= MAX_ATTEMPTS
    if not failure.destination_works:
        is_last = and_(is_last, ticket.noted_at < func.now() - LONGEST_WAIT)
    return bool(connection.execute(select(is_last).where(ticket.id == leased.id)).scalar_one())


def fail(connection: Connection, leased: Leased, failure: Failure) -> None:
    """Notes a reading that failed: the ticket waits, twice as long as before, and its desk backs off. Raises LostFence.

    Where the failure is the ticket's own the desk goes on.
    """
    attempts = _hold(connection, leased).attempts + 1
    later = ITEM.next_attempt(attempts, at_least=failure.retry_after)
    connection.execute(
        _of(leased.id).values(lease_until=None, attempts=attempts, not_before=later, error=failure.reason)
    )
    if not failure.destination_works:
        back_off(connection, leased.source, failure)


def back_off(connection: Connection, source: str, failure: Failure) -> None:
    """Backs off from a desk after a call that failed, twice as long after each; its listings wait too."""
    made = upsert(desk_progress).values(source=source, seen_until=func.clock_timestamp())
    connection.execute(made.on_conflict_do_nothing())
    failed = DESTINATION.after_failure(desk_progress.c.failures, failure.reason, retry_after=failure.retry_after)
    connection.execute(_of_desk(source).values(failed))


def _hold(connection: Connection, leased: Leased) -> AnyRow:
    row = lock_ticket_to_read(connection, leased.id)
    found = "leased" if row.lease_until else "not leased", row.fence
    expect_fence(f"ticket {leased.ticket} of {leased.source}", found, ("leased", leased.fence))
    return row


def _of(ticket_id: int) -> Any:
    return update(ticket_to_read).where(ticket_to_read.c.id == ticket_id)


def requests_from(connection: Connection, source: str, ticket: str) -> Mapping[str, Mapping[str, Any]]:
    """Returns the data of the requests that came from the forms of a ticket, by their ids, oldest first."""
    asked = connection.execute(_REQUESTS_FROM, {"source": source, "ticket": ticket, "prefix": f"{ticket}-"})
    return {row.external_id: json.loads(bytes(row.body))["data"] for row in asked}


# Listings


def begin_listing(connection: Connection, source: str, since: datetime | None = None) -> Listing | None:
    """Takes a desk's next page of changed tickets; None if another process has it, or the desk was never listed before.

    A listing that is on its way goes on. A new one begins OVERLAP before what has been seen, or at `since` if that is
    earlier: no moment is left out between the two. What was never asked begins now, for it has missed nothing.
    """
    first = upsert(desk_progress).values(source=source, seen_until=since or func.clock_timestamp())
    made = first.on_conflict_do_nothing().returning(desk_progress.c.source)
    is_first = connection.execute(made).first() is not None
    row = lock_desk_progress(connection, source)
    assert row is not None  # noqa: S101  # it was written above
    now = connection.execute(select(func.clock_timestamp())).scalar_one()
    if (is_first and since is None) or (row.lease_until and row.lease_until > now):
        return None
    begins = row.seen_until - OVERLAP
    if since is not None:
        begins, cursor, until = min(since, row.listing_since or begins, begins), None, now
    elif row.listing_since is not None:
        begins, cursor, until = row.listing_since, row.cursor, row.listing_until
    else:
        cursor, until = None, now
    fence = row.fence + 1
    lasts = {"listing_since": begins, "listing_until": until, "cursor": cursor, "fence": fence}
    connection.execute(_of_desk(source).values(lease_until=lease_end(LEASE), **lasts))
    return Listing(source, begins, cursor, fence)


def end_page(connection: Connection, listing: Listing, tickets: Collection[str], next_cursor: str | None) -> None:
    """Notes the tickets of a page; where it was the last, all up to the beginning of the listing is seen.

    Raises LostFence.
    """
    note(connection, listing.source, tickets)
    values: dict[str, Any] = {"cursor": next_cursor, **WORKS}
    if next_cursor is None:
        seen = func.greatest(desk_progress.c.seen_until, desk_progress.c.listing_until)
        values |= {"seen_until": seen, "listing_since": None, "listing_until": None}
        values["listed_at"] = func.clock_timestamp()
    _end(connection, listing, values)


def fail_page(connection: Connection, listing: Listing, failure: Failure) -> None:
    """Gives back a page that could not be listed, and backs off from the desk. Raises LostFence."""
    _end(connection, listing, {})
    back_off(connection, listing.source, failure)


def _end(connection: Connection, listing: Listing, values: Mapping[str, Any]) -> None:
    ours = _of_desk(listing.source).where(desk_progress.c.fence == listing.fence)
    if connection.execute(ours.values(lease_until=None, **values)).rowcount != 1:
        raise LostFence(f"another process lists the tickets of {listing.source}; expected fence {listing.fence}")


def _of_desk(source: str) -> Any:
    return update(desk_progress).where(desk_progress.c.source == source)


def desks_to_list(connection: Connection, every: Mapping[str, timedelta]) -> Sequence[str]:
    """Returns the desks, by their sources, whose tickets are to be listed now; `every` is how often.

    The one that was listed the longest ago comes first.
    """
    progress, now = desk_progress.c, connection.execute(select(func.now())).scalar_one()
    known = {row.source: row for row in connection.execute(select(desk_progress).where(progress.source.in_(every)))}

    def last(source: str) -> datetime:
        row = known.get(source)
        return datetime.min.replace(tzinfo=UTC) if row is None else row.listed_at or row.seen_until

    def is_due(source: str) -> bool:
        row = known.get(source)
        if row is None:
            return True
        backs_off = row.not_before is not None and row.not_before > now
        return not backs_off and (row.listing_since is not None or last(source) <= now - every[source])

    return sorted(filter(is_due, every), key=last)


def count_unread(connection: Connection, source: str) -> int:
    """Returns how many tickets of a desk wait to be read."""
    ticket = ticket_to_read.c
    unread = select(func.count()).where(ticket.source == source, ticket.read < ticket.wanted)
    return int(connection.execute(unread).scalar_one())


def seen_until(connection: Connection, source: str) -> datetime | None:
    """Returns up to when all changes of a desk's tickets have been noted; None if they were never listed."""
    found = select(desk_progress.c.seen_until).where(desk_progress.c.source == source)
    moment: datetime | None = connection.execute(found).scalar_one_or_none()
    return moment
