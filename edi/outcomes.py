"""The outcome of an interchange: sent, released, or still open. It counts only from the holder of the newest fence."""

from sqlalchemy import Connection, TextClause, func, select, text, update

from database import locks
from database.queries import AnyRow
from database.tables import InterchangeState, interchange
from database.tables import partner as partner_table
from delivery.leases import expect_fence
from edi import partner_state
from edi.interchanges import InFlight, expect_all
from orders import changelog
from rules.model import Edi


def _settlement(moment: str) -> TextClause:
    # One statement, after the partner, the interchange and the orders are locked. It reads what was before it.
    return text(
        f"""
        WITH settled AS (
            UPDATE interchange SET state = :state, error = :error, {moment} = clock_timestamp() WHERE id = :interchange
        ), logged AS (
            INSERT INTO changelog (order_id, actor, action, note, before, after)
            SELECT id, CAST(:actor AS text), CAST(:action AS text), CAST(:note AS text),
                jsonb_build_object('edi', edi_state), jsonb_build_object('edi', CAST(:edi AS text),
                    'partner', CAST(:partner AS text), 'control_number', CAST(:control_number AS bigint))
            FROM orders WHERE interchange_id = :interchange ORDER BY id
        ), changed AS (
            UPDATE orders SET edi_state = :edi, version = version + 1,
                interchange_id = CASE WHEN :edi <> 'not_sent' THEN interchange_id END
            WHERE interchange_id = :interchange AND edi_state = 'claimed'
            RETURNING 1
        )
        SELECT count(*) FROM changed
        """  # noqa: S608  # our own constants
    )


_SETTLE = {InterchangeState.SENT: _settlement("sent_at"), InterchangeState.RELEASED: _settlement("released_at")}


def confirm(connection: Connection, sent: InFlight, *, actor: str | None = None) -> None:
    """Marks an interchange and its orders as sent: EDI SENT, final. Raises LostFence.

    `actor` is whose doing it was, if not the exporter's.
    """
    partner = _settle(connection, sent, InterchangeState.SENT, changelog.Action.EDI_SENT, Edi.SENT, actor=actor)
    if partner.failures:
        partner_state.forget_failures(connection, sent.partner)


def release(connection: Connection, undelivered: InFlight, error: str, *, reuse_number: bool = False) -> None:
    """Gives the orders of an interchange that was certainly not delivered free again. Raises LostFence.

    Its number stays used up and accounted for, unless the partner expects it of the next one (`reuse_number`). The
    partner backs off, twice as long after each failure in a row.
    """
    settle_as_released(connection, undelivered, error, reuse_number=reuse_number)
    partner_state.back_off(connection, undelivered.partner, error)


def settle_as_released(
    connection: Connection,
    undelivered: InFlight,
    error: str,
    *,
    reuse_number: bool,
    actor: str | None = None,
    note: str | None = None,
) -> None:
    """Releases an interchange and its orders. Raises LostFence."""
    released, action = InterchangeState.RELEASED, changelog.Action.EDI_RELEASED
    _settle(connection, undelivered, released, action, Edi.NOT_SENT, error, actor=actor, note=note)
    if reuse_number:
        # It is the partner's last one, as no other is claimed while one is in flight; unless an operator has set which
        # comes next. Then its number stays used.
        counted = update(partner_table).where(
            partner_table.c.name == undelivered.partner,
            partner_table.c.last_control_number == undelivered.control_number,
        )
        if connection.execute(counted.values(last_control_number=undelivered.control_number - 1)).rowcount:
            freed = update(interchange).where(interchange.c.id == undelivered.id)
            connection.execute(freed.values(number_is_free=True))


def note_error(connection: Connection, unsettled: InFlight, error: str, *, delivered_nothing: bool = False) -> None:
    """Notes why an interchange could not be settled; it stays claimed until its lease runs out.

    With `delivered_nothing` this attempt is known to have delivered nothing.
    """
    noted: dict[str, object] = {"error": error}
    if delivered_nothing and unsettled.is_undelivered:
        noted["clean_fence"] = unsettled.fence
    connection.execute(
        update(interchange)
        .where(
            interchange.c.id == unsettled.id,
            interchange.c.fence == unsettled.fence,
            interchange.c.state == InterchangeState.CLAIMED,
        )
        .values(noted)
    )


def note_late_delivery(connection: Connection, delivered: InFlight) -> bool:
    """Notes of an interchange that was released meanwhile that it was delivered nevertheless; False if it was not."""
    late = update(interchange).where(interchange.c.id == delivered.id, interchange.c.state == InterchangeState.RELEASED)
    return connection.execute(late.values(delivered_late_at=func.clock_timestamp())).rowcount == 1


def state_of(connection: Connection, interchange_id: int) -> InterchangeState:
    """Returns the present state of an interchange."""
    state = select(interchange.c.state).where(interchange.c.id == interchange_id)
    return InterchangeState(connection.execute(state).scalar_one())


def _settle(
    connection: Connection,
    settled: InFlight,
    state: InterchangeState,
    action: changelog.Action,
    edi: Edi,
    error: str | None = None,
    *,
    actor: str | None = None,
    note: str | None = None,
) -> AnyRow:
    """Returns the partner's counter row."""
    partner = locks.lock_partner(connection, settled.partner)
    assert partner is not None  # noqa: S101  # a foreign key keeps the partner of an interchange
    row = locks.lock_interchange(connection, settled.id)
    name = f"interchange {row.control_number} of {row.partner}"
    expect_fence(name, (row.state, row.fence), (InterchangeState.CLAIMED, settled.fence))
    locks.lock_orders_of_interchange(connection, settled.id)
    values = {
        "interchange": settled.id,
        "state": state,
        "error": error,
        "actor": actor or f"edi:{row.partner}",
        "action": action,
        "note": note,
        "edi": edi,
        "partner": row.partner,
        "control_number": row.control_number,
    }
    expect_all(row.orders, connection.execute(_SETTLE[state], values).scalar_one(), row)
    return partner
