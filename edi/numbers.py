"""A partner's next control number, as an operator sees and sets it: after a restore the partner has had later ones."""

from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from database.tables import interchange, renumbering
from database.tables import partner as partner_table
from edi import partner_state
from edi.documents.standards import largest_control_number
from edi.operator_actions import NotPossible
from edi.partners import Partner
from orders.views import as_utc


def show(connection: Connection, partner: Partner) -> dict[str, Any]:
    """Returns a partner's next number, the last that an interchange bears (None if none does), and what was set."""
    was_set = select(renumbering).where(renumbering.c.partner == partner.name).order_by(renumbering.c.id)
    return {
        "partner": partner.name,
        "next_control_number": partner_state.next_number(connection, partner),
        "last_used": _last_used(connection, partner),
        "set": [
            {"at": as_utc(row.at), "before": row.next_before, "after": row.next_after}
            for row in connection.execute(was_set)
        ],
    }


def set_next(connection: Connection, partner: Partner, number: int) -> None:
    """Has the partner's next interchange bear this number; what is skipped is noted. Raises NotPossible.

    An interchange that is on its way keeps its own. Setting the number that comes next anyway changes nothing.
    """
    counter = partner_state.lock(connection, partner)
    # After the lock: every claim for the partner has committed, or has not begun.
    last = _last_used(connection, partner)
    if last is not None and number <= last:
        raise NotPossible(
            f"interchange {last} of {partner.name} bears its number already: the next one can be {last + 1} or later, "
            f"not {number}"
        )
    if number > (largest := largest_control_number(partner.standard)):
        raise NotPossible(f"{number} is beyond the numbers of {partner.standard}: the last one is {largest}")
    unused = counter.first_control_number - 1
    if last is None and number <= unused:
        raise NotPossible(
            f"the numbers of {partner.name} begin at {unused + 1}: set `first_control_number` lower first"
        )
    before = counter.last_control_number + 1
    if number == before:
        return
    noted = {"last_used": unused if last is None else last, "next_before": before, "next_after": number}
    connection.execute(insert(renumbering).values(partner=partner.name, **noted))
    counted = update(partner_table).where(partner_table.c.name == partner.name)
    connection.execute(counted.values(last_control_number=number - 1))


def _last_used(connection: Connection, partner: Partner) -> int | None:
    used = interchange.c.partner == partner.name, ~interchange.c.number_is_free
    last: int | None = connection.execute(select(func.max(interchange.c.control_number)).where(*used)).scalar_one()
    return last
