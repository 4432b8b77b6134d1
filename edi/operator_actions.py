"""What an operator may do to an interchange: send it again, or give its orders free after asking the partner."""

from sqlalchemy import Connection, func, select, update

from database import locks
from database.queries import AnyRow
from database.tables import InterchangeState, interchange, orders
from edi import interchanges, outcomes, partner_state
from edi.interchanges import InFlight
from edi.partners import Partner
from orders import changelog
from orders.views import as_utc
from rules.model import Edi

OPERATOR = "operator"


class NotPossible(Exception):
    """An interchange is not in a state in which this can be done; says which, and what can be."""


def find_releasable(connection: Connection, partner: Partner, control_number: int) -> InFlight:
    """Returns an interchange that can still be released. Raises NotPossible."""
    row = _releasable(connection, partner, control_number)
    return interchanges.in_flight(row, row.content)


def release(connection: Connection, partner: Partner, control_number: int, *, asked_the_partner: bool) -> int:
    """Gives the orders of an interchange free that was not delivered; returns how many. Raises NotPossible.

    Without `asked_the_partner` only where every attempt is known to have delivered nothing.
    """
    row = _releasable(connection, partner, control_number)
    if row.clean_fence != row.fence and not asked_the_partner:
        raise NotPossible(
            f"{_named(row)} may have been delivered: ask {partner.name} whether it has {row.filename}. If it has, send "
            "it again (`countermand interchanges resend`); if it certainly has not and will not find it later, "
            "release it with --i-asked-the-partner"
        )
    note = "the partner says that it has not got it" if asked_the_partner else "no attempt had delivered anything"
    taken = interchanges.take_over(connection, row)
    reuse = partner.reuses_released_numbers
    outcomes.settle_as_released(
        connection, taken, "released by an operator", reuse_number=reuse, actor=OPERATOR, note=note
    )
    partner_state.forget_failures(connection, partner.name)
    return taken.orders


def take_to_resend(connection: Connection, partner: Partner, control_number: int) -> InFlight:
    """Returns the interchange to send once more, the same bytes under the same name. Raises NotPossible."""
    row = _locked(connection, partner, control_number)
    if row.state == InterchangeState.RELEASED:
        raise NotPossible(f"{_named(row)} is released: its orders are free and go out with another interchange")
    if row.state == InterchangeState.CLAIMED:
        _expect_no_attempt(connection, row)
    # Also of one that was sent: another attempt is what explains that the partner then calls it a duplicate.
    return interchanges.take_over(connection, row)


def note_resent(connection: Connection, resent: InFlight) -> bool:
    """Notes that an operator has sent an interchange again; one that was sent before can then be answered anew.

    False if it was released meanwhile. Raises LostFence.
    """
    locks.lock_partner(connection, resent.partner)
    row = locks.lock_interchange(connection, resent.id)
    if row.state == InterchangeState.CLAIMED:
        outcomes.confirm(connection, resent, actor=OPERATOR)
        return True
    if outcomes.note_late_delivery(connection, resent):
        return False
    if row.state == InterchangeState.REJECTED:
        again = {"state": InterchangeState.SENT, "sent_at": func.clock_timestamp(), "answered_at": None}
        connection.execute(
            update(interchange).where(interchange.c.id == row.id).values(**again, answer_reasons=[], late_told_at=None)
        )
    sent = {"edi": Edi.SENT, "partner": row.partner, "control_number": row.control_number}
    held = select(orders.c.id).where(orders.c.interchange_id == row.id).order_by(orders.c.id)
    changelog.write(
        connection,
        [
            changelog.Entry(
                order_id, OPERATOR, changelog.Action.EDI_SENT, note="sent again", before={"edi": Edi.SENT}, after=sent
            )
            for order_id in connection.scalars(held)
        ],
    )
    return True


def _releasable(connection: Connection, partner: Partner, control_number: int) -> AnyRow:
    row = _locked(connection, partner, control_number)
    if row.state != InterchangeState.CLAIMED:
        raise NotPossible(f"{_named(row)} is {row.state}; only one that is still claimed can be released")
    _expect_no_attempt(connection, row)
    return row


def _locked(connection: Connection, partner: Partner, control_number: int) -> AnyRow:
    locks.lock_partner(connection, partner.name)
    row = locks.lock_interchange_by_number(connection, partner.name, control_number)
    if row is None:
        raise NotPossible(
            f"{partner.name} has no interchange {control_number}; `countermand interchanges list` lists those there are"
        )
    return row


def _expect_no_attempt(connection: Connection, row: AnyRow) -> None:
    """Raises NotPossible while a sender may be at work: what it delivers later would contradict us."""
    now = connection.execute(select(func.clock_timestamp())).scalar_one()
    if row.error is None and row.lease_until > now:
        raise NotPossible(f"{_named(row)} is being sent at this moment; try again after {as_utc(row.lease_until)}")


def _named(row: AnyRow) -> str:
    return f"interchange {row.control_number} of {row.partner}"
