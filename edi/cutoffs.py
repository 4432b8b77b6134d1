"""Keeping a partner's schedule: whether a cut-off has passed since the last one that was kept."""

from datetime import datetime

from sqlalchemy import Connection, func, select, update

from database.tables import partner as partner_table
from edi import counters
from edi.partners import Partner


def passed(connection: Connection, partner: Partner) -> datetime | None:
    """Returns now if what is due for a partner shall go out, None if its next cut-off lies ahead.

    A partner that was never looked at begins with its next cut-off: the one before it belongs to whoever sent then.
    """
    now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    if partner.schedule is None:
        return now
    counters.ensure(connection, partner)
    is_new = partner_table.c.name == partner.name, partner_table.c.scheduled_until.is_(None)
    connection.execute(update(partner_table).where(*is_new).values(scheduled_until=now))
    kept = select(partner_table.c.scheduled_until).where(partner_table.c.name == partner.name)
    return now if partner.schedule.next_after(connection.execute(kept).scalar_one()) <= now else None


def keep(connection: Connection, partner: Partner, moment: datetime) -> None:
    """Notes that all that was due at a moment is on its way; never goes back."""
    kept = update(partner_table).where(partner_table.c.name == partner.name, partner_table.c.scheduled_until < moment)
    connection.execute(kept.values(scheduled_until=moment))
