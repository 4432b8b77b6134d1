"""Partners rest after failures in a row, twice as long after each; what delivers nothing again is found out before."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from database.tables import InterchangeState, constant, interchange
from database.tables import partner as partner_table

# The longest pause after failures; it doubles from two seconds.
LONGEST_PAUSE = timedelta(minutes=5)
# Longer than a transport's check may take: meanwhile nobody else tries the same.
CHECK = timedelta(seconds=60)


def pause_after(failures: ColumnElement[Any]) -> ColumnElement[Any]:
    """Returns how long a partner rests after so many failures in a row."""
    # The exponent is bounded too: a partner may be away for weeks.
    return func.least(func.power(2, func.least(failures, 10)) * timedelta(seconds=1), LONGEST_PAUSE)


def begin(connection: Connection, partner_name: str, error: str, *, failures: int | None = None) -> None:
    """Lets a partner rest after one more failure; with `failures`, only if there were so many before."""
    row = partner_table.c
    rested = update(partner_table).where(row.name == partner_name)
    if failures is not None:
        rested = rested.where(row.failures == failures)
    connection.execute(
        rested.values(
            failures=row.failures + 1,
            failing_since=func.coalesce(row.failing_since, func.clock_timestamp()),
            not_before=func.clock_timestamp() + pause_after(row.failures + 1),
            error=error,
        )
    )


def end(connection: Connection, partner_name: str, *, failures: int | None = None) -> None:
    """Forgets the failures of a partner; with `failures`, only if there are so many."""
    rested = update(partner_table).where(partner_table.c.name == partner_name)
    if failures is not None:
        rested = rested.where(partner_table.c.failures == failures)
    connection.execute(rested.values(failures=0, failing_since=None, not_before=None, error=None))


def take_check(connection: Connection, partner_name: str) -> int:
    """Returns after how many failures the way to a partner is to be checked before a claim; 0 if it need not be.

    Whoever is told so is the only one for a minute. What is on its way already is its own trial.
    """
    row = partner_table.c
    is_over = or_(row.not_before.is_(None), row.not_before <= func.clock_timestamp())
    taken = (
        update(partner_table)
        .where(row.name == partner_name, row.failures > 0, is_over, ~_is_on_its_way(partner_name))
        .values(not_before=func.clock_timestamp() + CHECK)
        .returning(row.failures)
    )
    return connection.execute(taken).scalar_one_or_none() or 0


def pass_check(connection: Connection, partner_name: str, failures: int) -> None:
    """Lets a partner be claimed for whose way works again; its failures count until something has arrived."""
    row = partner_table.c
    passed = update(partner_table).where(row.name == partner_name, row.failures == failures)
    connection.execute(passed.values(not_before=None))


def may_be_claimed_for(connection: Connection, partner_name: str, now: datetime) -> bool:
    """True unless an interchange is on its way to a partner, or the partner rests; locks nothing."""
    rests = select(partner_table.c.name).where(partner_table.c.name == partner_name, partner_table.c.not_before > now)
    return bool(connection.execute(select(~rests.exists() & ~_is_on_its_way(partner_name))).scalar_one())


def _is_on_its_way(partner_name: str) -> ColumnElement[bool]:
    claimed = select(interchange.c.id).where(
        interchange.c.partner == partner_name, interchange.c.state == constant(InterchangeState.CLAIMED)
    )
    return claimed.exists()
