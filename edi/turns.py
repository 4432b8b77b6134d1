"""Inboxes are read in turn, one at a time, and first the one that has waited longest; after failures one rests."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, or_, select, update

from database import locks
from database.tables import partner as partner_table
from edi import counters
from edi.partners import Partner
from edi.rests import pause_after

# After a reader that died, nobody reads for so long. One that takes longer nevertheless does no harm.
LEASE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn of one partner's inbox, known by its beginning."""

    partner: str
    began: datetime


def begin_round(connection: Connection, partners: Collection[Partner]) -> datetime:
    """Returns the moment since when each of these inboxes has its turn once."""
    known = set(connection.scalars(select(partner_table.c.name)))
    for partner in partners:
        if partner.name not in known:
            counters.ensure(connection, partner)
    moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return moment


def take(connection: Connection, names: Collection[str], since: datetime) -> Turn | None:
    """Takes the next turn of a round; None when all have had theirs or rest, or while somebody else reads."""
    row, now = partner_table.c, func.clock_timestamp()
    if not locks.try_turns(connection):
        return None
    if connection.execute(select(row.name).where(row.inbox_lease_until > now).limit(1)).first():
        return None
    waiting = (
        select(row.name)
        .where(
            row.name.in_(names),
            or_(row.inbox_read_at.is_(None), row.inbox_read_at < since),
            or_(row.inbox_not_before.is_(None), row.inbox_not_before <= now),
        )
        .order_by(row.inbox_read_at.nulls_first(), row.name)
        .limit(1)
    )
    taken = (
        update(partner_table)
        .where(row.name == waiting.scalar_subquery())
        .values(inbox_read_at=now, inbox_lease_until=now + LEASE)
        .returning(row.name, row.inbox_read_at)
    )
    found = connection.execute(taken).one_or_none()
    return Turn(*found) if found else None


def end(connection: Connection, turn: Turn, error: str | None) -> None:
    """Ends a turn; with an error the inbox rests, twice as long after each in a row. Nothing if it was taken anew."""
    row = partner_table.c
    ended = update(partner_table).where(row.name == turn.partner, row.inbox_read_at == turn.began)
    failures = row.inbox_failures + 1
    rest = {"inbox_failures": failures, "inbox_not_before": func.clock_timestamp() + pause_after(failures)}
    well = {"inbox_failures": 0, "inbox_not_before": None}
    connection.execute(ended.values(inbox_lease_until=None, inbox_error=error, **(rest if error else well)))
