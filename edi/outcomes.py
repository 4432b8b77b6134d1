"""The outcome of an interchange: sent, released, or still open. It counts only from the holder of the newest fence."""

from datetime import timedelta

from sqlalchemy import Connection, func, update

from edi.interchanges import InFlight, LostFence, expect_all
from orders import changelog, locks
from orders.tables import InterchangeState, interchange, orders
from orders.tables import partner as partner_table
from rules.model import Edi

# The longest pause after deliveries that failed; it doubles from two seconds.
LONGEST_PAUSE = timedelta(minutes=5)


def confirm(connection: Connection, sent: InFlight) -> None:
    """Marks an interchange and its orders as sent: EDI SENT, final. Raises LostFence."""
    _settle(connection, sent, InterchangeState.SENT, changelog.Action.EDI_SENT, Edi.SENT)
    rested = update(partner_table).where(partner_table.c.name == sent.partner)
    connection.execute(rested.values(failures=0, not_before=None, error=None))


def release(connection: Connection, undelivered: InFlight, error: str) -> None:
    """Gives the orders of an interchange that was certainly not delivered free again. Raises LostFence.

    Its number stays used up and accounted for; the partner rests, twice as long after each failure in a row.
    """
    _settle(connection, undelivered, InterchangeState.RELEASED, changelog.Action.EDI_RELEASED, Edi.NOT_SENT, error)
    failures = partner_table.c.failures + 1
    # The exponent is bounded too: a partner may be away for weeks.
    pause = func.least(func.power(2, func.least(failures, 10)) * timedelta(seconds=1), LONGEST_PAUSE)
    connection.execute(
        update(partner_table)
        .where(partner_table.c.name == undelivered.partner)
        .values(failures=failures, not_before=func.clock_timestamp() + pause, error=error)
    )


def note_error(connection: Connection, unsettled: InFlight, error: str) -> None:
    """Notes why an interchange could not be settled; it stays claimed until its lease runs out."""
    connection.execute(
        update(interchange)
        .where(interchange.c.id == unsettled.id, interchange.c.fence == unsettled.fence)
        .values(error=error)
    )


def _settle(
    connection: Connection,
    settled: InFlight,
    state: InterchangeState,
    action: changelog.Action,
    edi: Edi,
    error: str | None = None,
) -> None:
    locks.lock_partner(connection, settled.partner)
    row = locks.lock_interchange(connection, settled.id)
    if (row.state, row.fence) != (InterchangeState.CLAIMED, settled.fence):
        raise LostFence(
            f"interchange {row.control_number} of {row.partner} is {row.state} at fence {row.fence}; "
            f"expected claimed at fence {settled.fence}"
        )
    held = [order.id for order in locks.lock_orders_of_interchange(connection, settled.id)]
    times = {InterchangeState.SENT: "sent_at", InterchangeState.RELEASED: "released_at"}
    connection.execute(
        update(interchange)
        .where(interchange.c.id == settled.id)
        .values({"state": state, "error": error, times[state]: func.clock_timestamp()})
    )
    is_free = edi is Edi.NOT_SENT
    outcome = (
        update(orders)
        .where(orders.c.id.in_(held), orders.c.edi_state == Edi.CLAIMED)
        .values(
            edi_state=edi, interchange_id=None if is_free else orders.c.interchange_id, version=orders.c.version + 1
        )
    )
    expect_all(row.orders, connection.execute(outcome).rowcount, row)
    before, after = {"edi": Edi.CLAIMED}, {"edi": edi, "partner": row.partner, "control_number": row.control_number}
    actor = f"edi:{row.partner}"
    changelog.write(
        connection, [changelog.Entry(order_id, actor, action, before=before, after=after) for order_id in held]
    )
