"""A partner's counter row: made when the partner is first looked at, locked by whoever takes a number."""

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert

from database import locks
from database.locks import AnyRow
from database.tables import partner as partner_table
from edi.partners import Partner


def ensure(connection: Connection, partner: Partner) -> None:
    """Makes the partner's row if there is none yet; its first control number counts until one bears a number."""
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
    return row


def next_number(connection: Connection, partner: Partner) -> int:
    """Returns the number that the partner's next interchange will bear."""
    row: AnyRow = connection.execute(select(partner_table).where(partner_table.c.name == partner.name)).one_or_none()
    is_unused = row is None or row.last_control_number == row.first_control_number - 1
    return partner.first_control_number if is_unused else int(row.last_control_number) + 1
