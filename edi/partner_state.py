"""The row of a partner: its control numbers, its schedule, its back-off after failures, the turns of its inbox."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from database import locks
from database.queries import AnyRow
from database.tables import InterchangeState, constant, interchange
from database.tables import partner as partner_table
from delivery.backoff import PARTNER, WORKS
from delivery.leases import lease_end
from edi.partners import Partner

# Longer than a transport's check may take: meanwhile no other exporter probes the same partner.
PROBE = timedelta(seconds=60)
# If a reader dies, no inbox is read for this long. A reader that takes longer does no harm.
INBOX_LEASE = timedelta(minutes=2)


# Control numbers


def ensure(connection: Connection, partner: Partner) -> None:
    """Makes the partner's row if there is none; its first control number can change until a number is used."""
    first = partner.first_control_number
    numbers = {"first_control_number": first, "last_control_number": first - 1}
    connection.execute(insert(partner_table).values(name=partner.name, **numbers).on_conflict_do_nothing())
    is_unused = partner_table.c.last_control_number == partner_table.c.first_control_number - 1
    is_other = partner_table.c.first_control_number != first
    renumbered = update(partner_table).where(partner_table.c.name == partner.name, is_unused, is_other)
    connection.execute(renumbered.values(numbers))


def lock(connection: Connection, partner: Partner) -> AnyRow:
    """Locks the partner's row, made if need be, and returns it."""
    row = locks.lock_partner(connection, partner.name)
    if row is None or row.first_control_number != partner.first_control_number:
        ensure(connection, partner)
        row = locks.lock_partner(connection, partner.name)
    assert row is not None  # noqa: S101  # `ensure` has inserted it
    return row


def next_number(connection: Connection, partner: Partner) -> int:
    """Returns the number that the partner's next interchange will bear."""
    row = connection.execute(select(partner_table).where(partner_table.c.name == partner.name)).one_or_none()
    if row is None or row.last_control_number == row.first_control_number - 1:
        return partner.first_control_number
    return int(row.last_control_number) + 1


# Schedule


def passed_cutoff(connection: Connection, partner: Partner) -> datetime | None:
    """Returns now if a cut-off has passed since the last one that was kept; None if the next one lies ahead.

    A new partner begins with its next cut-off: another system served the one before.
    """
    now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    if partner.schedule is None:
        return now
    ensure(connection, partner)
    is_new = partner_table.c.name == partner.name, partner_table.c.scheduled_until.is_(None)
    connection.execute(update(partner_table).where(*is_new).values(scheduled_until=now))
    kept = select(partner_table.c.scheduled_until).where(partner_table.c.name == partner.name)
    return now if partner.schedule.next_after(connection.execute(kept).scalar_one()) <= now else None


def keep_cutoff(connection: Connection, partner: Partner, moment: datetime) -> None:
    """Notes that all that was due at a moment was sent; never goes back."""
    kept = update(partner_table).where(partner_table.c.name == partner.name, partner_table.c.scheduled_until < moment)
    connection.execute(kept.values(scheduled_until=moment))


# Back-off after failed deliveries


def back_off(connection: Connection, partner_name: str, error: str, *, failures: int | None = None) -> None:
    """Counts a failure and backs off from the partner; with `failures`, only if there were so many before."""
    row = partner_table.c
    failed = update(partner_table).where(row.name == partner_name)
    if failures is not None:
        failed = failed.where(row.failures == failures)
    since = func.coalesce(row.failing_since, func.clock_timestamp())
    connection.execute(failed.values(failing_since=since, **PARTNER.after_failure(row.failures, error)))


def forget_failures(connection: Connection, partner_name: str, *, failures: int | None = None) -> None:
    """Forgets the failures of a partner; with `failures`, only if there are so many."""
    works = update(partner_table).where(partner_table.c.name == partner_name)
    if failures is not None:
        works = works.where(partner_table.c.failures == failures)
    connection.execute(works.values(failing_since=None, **WORKS))


def begin_probe(connection: Connection, partner_name: str) -> int:
    """Returns after how many failures the caller must probe the partner before it claims; 0 if it need not.

    Only this caller may probe the partner for the next minute. An interchange in flight is a probe of its own.
    """
    row = partner_table.c
    is_over = or_(row.not_before.is_(None), row.not_before <= func.clock_timestamp())
    taken = (
        update(partner_table)
        .where(row.name == partner_name, row.failures > 0, is_over, ~_is_in_flight(partner_name))
        .values(not_before=lease_end(PROBE))
        .returning(row.failures)
    )
    return connection.execute(taken).scalar_one_or_none() or 0


def pass_probe(connection: Connection, partner_name: str, failures: int) -> None:
    """Allows claims for a partner that can be reached again; its failures count until a delivery succeeds."""
    row = partner_table.c
    passed = update(partner_table).where(row.name == partner_name, row.failures == failures)
    connection.execute(passed.values(not_before=None))


def may_be_claimed_for(connection: Connection, partner_name: str, now: datetime) -> bool:
    """True unless an interchange is in flight to the partner, or the partner backs off; locks nothing."""
    row = partner_table.c
    backing_off = select(row.name).where(row.name == partner_name, row.not_before > now)
    return bool(connection.execute(select(~backing_off.exists() & ~_is_in_flight(partner_name))).scalar_one())


def _is_in_flight(partner_name: str) -> ColumnElement[bool]:
    claimed = select(interchange.c.id).where(
        interchange.c.partner == partner_name, interchange.c.state == constant(InterchangeState.CLAIMED)
    )
    return claimed.exists()


# Turns of inboxes: one is read at a time, and the one that has waited longest comes first


@dataclass(frozen=True, slots=True)
class InboxTurn:
    """The turn of one partner's inbox, known by its beginning."""

    partner: str
    began: datetime


def begin_inbox_round(connection: Connection, partners: Collection[Partner]) -> datetime:
    """Returns the moment since when each of these inboxes has its turn once."""
    known = set(connection.scalars(select(partner_table.c.name)))
    for partner in partners:
        if partner.name not in known:
            ensure(connection, partner)
    moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return moment


def take_inbox_turn(connection: Connection, names: Collection[str], since: datetime) -> InboxTurn | None:
    """Takes the next turn of a round; None if each inbox had its turn or backs off, or another process reads one."""
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
        .values(inbox_read_at=now, inbox_lease_until=lease_end(INBOX_LEASE))
        .returning(row.name, row.inbox_read_at)
    )
    found = connection.execute(taken).one_or_none()
    return InboxTurn(*found) if found else None


def end_inbox_turn(connection: Connection, turn: InboxTurn, error: str | None) -> None:
    """Ends a turn; after an error the inbox backs off. Changes nothing if another process has taken a turn since."""
    row = partner_table.c
    ended = update(partner_table).where(row.name == turn.partner, row.inbox_read_at == turn.began)
    outcome = PARTNER.after_failure(row.inbox_failures, error) if error else WORKS
    values = {f"inbox_{name}": value for name, value in outcome.items()}
    connection.execute(ended.values(inbox_lease_until=None, **values))
