"""Claiming: what is due for a partner becomes one interchange, its bytes stored before anything is sent.

After the claim's commit no change is applied to its orders. What is sent is what was stored, also the second time.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from sqlalchemy import Connection, func, insert, select, text, update

from edi import counters
from edi.documents.order import CannotRender, Line, Message, OrderDocument
from edi.documents.standards import assemble, largest_control_number, render_order, suffix
from edi.partners import Partner
from orders import changelog, locks
from orders.fingerprint import ORDER_SHA256
from orders.locks import AnyRow
from orders.reading import as_utc
from orders.tables import interchange, order_line, orders
from orders.tables import partner as partner_table
from rules.model import Address, Edi

# Longer than a delivery by SFTP may take; when it runs out, whoever comes next sends the same bytes. One that takes
# longer nevertheless (a disk that hangs) has lost its fence.
LEASE = timedelta(seconds=60)


class LostFence(Exception):
    """Someone else has taken the interchange over since; what became of it is theirs to say."""


class WrongOrders(Exception):
    """An interchange holds other orders than its locks should have kept: nothing may go on as if it did not."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """An interchange to be sent by whoever holds this fence."""

    id: int
    partner: str
    control_number: int
    filename: str
    content: bytes
    orders: int
    fence: int
    # No earlier attempt can have delivered it.
    is_undelivered: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim found: an interchange to send (or none), how many orders it held back, what it has to wait for."""

    interchange: InFlight | None
    held_back: int = 0
    waits_for: str | None = None

    @property
    def found_something(self) -> bool:
        """True if another claim may find more."""
        return self.interchange is not None or self.held_back > 0


def claim(connection: Connection, partner: Partner, *, patience: timedelta, only_resume: bool = False) -> Claim:
    """Claims what is due for a partner as one interchange, or takes over one whose sender is gone.

    Nothing is claimed while another interchange is on its way, or while the partner rests after a failure; with
    `only_resume` nothing new is claimed at all.
    """
    counter = counters.lock(connection, partner)
    on_its_way = locks.lock_interchange_in_flight(connection, partner.name)
    now = connection.execute(select(func.clock_timestamp())).scalar_one()
    if on_its_way is not None:
        if on_its_way.lease_until <= now:
            return Claim(take_over(connection, on_its_way))
        why = f" ({on_its_way.error})" if on_its_way.error else ""
        again = f"; it is tried again after {_to_the_second(on_its_way.lease_until)}" if on_its_way.error else ""
        return Claim(None, waits_for=f"interchange {on_its_way.control_number} is on its way{why}{again}")
    if only_resume:
        return Claim(None)
    since = now - patience
    wanted = locks.Exportable(partner.warehouses, partner.others, now - partner.grace, since)
    if counter.not_before is not None and counter.not_before > now:
        if not locks.is_anything_exportable(connection, wanted):
            return Claim(None)
        failed = "1 failed delivery" if counter.failures == 1 else f"{counter.failures} failed deliveries"
        again = f"it is tried again after {_to_the_second(counter.not_before)}"
        return Claim(None, waits_for=f"it rests after {failed}: {counter.error}; {again}")
    number = counter.last_control_number + 1
    if number > largest_control_number(partner.standard):
        return Claim(None, waits_for=f"its control numbers are used up: {number} is beyond what {partner.standard} has")
    ids = locks.claim_exportable(connection, wanted, limit=partner.orders_per_interchange)
    free = locks.without_undecided(connection, ids, since)
    documents = _documents(connection, _within(partner.lines_per_interchange, connection, free))
    messages, unrenderable = _render(documents, partner)
    _hold_back(connection, unrenderable)
    if not messages:
        # Passed by because of somebody's lock; a cut-off must not be over before they have gone.
        is_busy = not unrenderable and locks.is_anything_exportable(connection, wanted)
        return Claim(None, len(unrenderable), waits_for="due orders are locked at the moment" if is_busy else None)
    claimed = _store(connection, partner, number, list(messages.values()), now, since)
    _mark_claimed(connection, claimed, list(messages))
    return Claim(claimed, len(unrenderable))


def _to_the_second(moment: datetime) -> str | None:
    # Rounded up, for before it nothing is tried.
    return as_utc(moment.replace(microsecond=0) + timedelta(seconds=1))


def take_over(connection: Connection, row: AnyRow) -> InFlight:
    """Takes a locked, claimed interchange from whoever held it before, for another attempt."""
    taken = connection.execute(
        update(interchange)
        .where(interchange.c.id == row.id, interchange.c.fence == row.fence)
        .values(fence=row.fence + 1, lease_until=func.clock_timestamp() + LEASE, error=None)
        .returning(interchange)
    )
    whole = taken.one()
    return in_flight(whole, whole.content)


def in_flight(row: AnyRow, content: bytes) -> InFlight:
    """Returns an interchange as the holder of its newest fence needs it to send it."""
    return InFlight(
        row.id,
        row.partner,
        row.control_number,
        row.filename,
        content,
        row.orders,
        row.fence,
        is_undelivered=row.clean_fence == row.fence - 1,
    )


def _within(lines: int, connection: Connection, ids: Sequence[int]) -> list[int]:
    """Returns the first of these orders that have so many lines together; one at least."""
    counted = (
        select(order_line.c.order_id, func.count().label("lines"))
        .where(locks.is_one_of(order_line.c.order_id, ids))
        .group_by(order_line.c.order_id)
        .order_by(order_line.c.order_id)
    )
    totals = list(accumulate(row.lines for row in connection.execute(counted)))
    return list(ids[: max(1, bisect_right(totals, lines))])


def _documents(connection: Connection, ids: Sequence[int]) -> dict[int, OrderDocument]:
    lines: dict[int, list[Line]] = {order_id: [] for order_id in ids}
    line = order_line.c
    of_lines = select(line.order_id, line.line_no, line.sku, line.description, line.quantity, line.unit_price)
    for order_id, *columns in connection.execute(
        of_lines.where(locks.is_one_of(line.order_id, ids)).order_by(line.order_id, line.line_no)
    ).all():
        lines[order_id].append(Line(*columns))
    order = orders.c
    of_orders = select(order.id, order.number, order.placed_at, order.currency, order.shipping, order.billing)
    rows = connection.execute(of_orders.where(locks.is_one_of(order.id, ids)).order_by(order.id)).all()
    return {
        row.id: OrderDocument(
            number=row.number,
            placed_at=row.placed_at,
            currency=row.currency,
            shipping=Address(**row.shipping),
            billing=Address(**row.billing),
            lines=tuple(lines[row.id]),
        )
        for row in rows
    }


def _render(documents: dict[int, OrderDocument], partner: Partner) -> tuple[dict[int, Message], dict[int, str]]:
    messages, errors = {}, {}
    for order_id, document in documents.items():
        try:
            messages[order_id] = render_order(document, partner)
        except CannotRender as error:
            errors[order_id] = str(error)
    return messages, errors


def _hold_back(connection: Connection, errors: dict[int, str]) -> None:
    for order_id, error in errors.items():
        held = update(orders).where(orders.c.id == order_id, orders.c.edi_state == Edi.NOT_SENT)
        connection.execute(held.values(export_error=error))


# The values are parameters of the execution: among `values()` the megabytes would be part of the statement's cache key.
_STORE = insert(interchange).values(lease_until=func.clock_timestamp() + LEASE).returning(*locks.ALL_BUT_CONTENT)


def _store(
    connection: Connection, partner: Partner, number: int, messages: Sequence[Message], now: datetime, since: datetime
) -> InFlight:
    content = assemble(messages, partner, number, now)
    stored = {
        "partner": partner.name,
        "control_number": number,
        "filename": f"{partner.name}-{number:09d}{suffix(partner.standard)}",
        "content": content,
        "sha256": hashlib.sha256(content).hexdigest(),
        "orders": len(messages),
        "patience_since": since,
        "acknowledge_within": partner.acknowledged_within,
    }
    return in_flight(connection.execute(_STORE, stored).one(), content)


def retry_held_back(connection: Connection) -> None:
    """Lets orders that could not be rendered be tried once more: they, the partner or the program may have changed."""
    ids = locks.claim_held_back(connection)
    connection.execute(update(orders).where(locks.is_one_of(orders.c.id, ids)).values(export_error=None))


_LOG_CLAIM = text(
    f"""
    INSERT INTO changelog (order_id, actor, action, before, after)
    SELECT id, CAST(:actor AS text), :action, jsonb_build_object('edi', edi_state), jsonb_build_object(
        'edi', CAST(:edi AS text), 'partner', CAST(:partner AS text),
        'control_number', CAST(:control_number AS bigint), 'order_sha256', {ORDER_SHA256})
    FROM orders WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id
    """  # noqa: S608  # our own constant
)


def _mark_claimed(connection: Connection, row: InFlight, ids: Sequence[int]) -> None:
    connection.execute(
        _LOG_CLAIM,
        {
            "actor": f"edi:{row.partner}",
            "action": changelog.Action.EDI_CLAIMED,
            "edi": Edi.CLAIMED,
            "partner": row.partner,
            "control_number": row.control_number,
            "ids": list(ids),
        },
    )
    claimed = (
        update(orders)
        .where(locks.is_one_of(orders.c.id, ids), orders.c.edi_state == Edi.NOT_SENT)
        .values(edi_state=Edi.CLAIMED, interchange_id=row.id, version=orders.c.version + 1)
    )
    expect_all(len(ids), connection.execute(claimed).rowcount, row)
    counted = update(partner_table).where(partner_table.c.name == row.partner)
    connection.execute(counted.values(last_control_number=row.control_number))


def expect_all(expected: int, found: int, row: AnyRow | InFlight) -> None:
    """Raises WrongOrders unless all orders of an interchange were where their locks should have kept them."""
    if found != expected:
        raise WrongOrders(
            f"interchange {row.control_number} of {row.partner}: {found} of its {expected} orders are its"
        )
