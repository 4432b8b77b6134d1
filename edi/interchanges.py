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
from sqlalchemy.dialects.postgresql import insert as upsert

from edi.documents import CannotRender, Line, OrderDocument
from edi.edifact import Message, assemble, render_order
from edi.partners import Partner
from orders import changelog, locks
from orders.fingerprint import ORDER_SHA256
from orders.locks import AnyRow
from orders.tables import interchange, order_line, orders
from orders.tables import partner as partner_table
from rules.model import Address, Edi

# Longer than any delivery takes; when it runs out, whoever comes next sends the same bytes.
LEASE = timedelta(seconds=60)


class LostFence(Exception):
    """Someone else has taken the interchange over since; what became of it is theirs to say."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A claimed interchange, to be sent by whoever holds this fence."""

    id: int
    partner: str
    control_number: int
    filename: str
    content: bytes
    orders: int
    fence: int

    @property
    def is_first_attempt(self) -> bool:
        """True while no earlier attempt can have delivered it."""
        return self.fence == 1


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


def claim(connection: Connection, partner: Partner, *, patience: timedelta) -> Claim:
    """Claims what is due for a partner as one interchange, or takes over one whose sender is gone.

    Nothing is claimed while another interchange is on its way, or while the partner rests after a failure.
    """
    counter = _lock_counter(connection, partner)
    on_its_way = locks.lock_interchange_in_flight(connection, partner.name)
    now = connection.execute(select(func.clock_timestamp())).scalar_one()
    if on_its_way is not None:
        if on_its_way.lease_until <= now:
            return Claim(_take_over(connection, on_its_way))
        why = f" ({on_its_way.error})" if on_its_way.error else ""
        return Claim(None, waits_for=f"interchange {on_its_way.control_number} is on its way{why}")
    if counter.not_before is not None and counter.not_before > now:
        return Claim(None, waits_for=f"it rests after {counter.failures} failed deliveries: {counter.error}")
    since = now - patience
    ids = locks.claim_exportable(connection, limit=partner.orders_per_interchange, patience_since=since)
    free = locks.without_undecided(connection, ids, since)
    documents = _documents(connection, _within(partner.lines_per_interchange, connection, free))
    messages, unrenderable = _render(documents, partner)
    _hold_back(connection, unrenderable)
    if not messages:
        return Claim(None, len(unrenderable))
    row = _store(connection, partner, counter.last_control_number + 1, list(messages.values()), now, since)
    _mark_claimed(connection, row, list(messages))
    return Claim(_in_flight(row), len(unrenderable))


def _lock_counter(connection: Connection, partner: Partner) -> AnyRow:
    row = locks.lock_partner(connection, partner.name)
    if row is None:
        connection.execute(upsert(partner_table).values(name=partner.name).on_conflict_do_nothing())
        row = locks.lock_partner(connection, partner.name)
    return row


def _take_over(connection: Connection, row: AnyRow) -> InFlight:
    taken = connection.execute(
        update(interchange)
        .where(interchange.c.id == row.id, interchange.c.fence == row.fence)
        .values(fence=row.fence + 1, lease_until=func.clock_timestamp() + LEASE)
        .returning(interchange)
    )
    return _in_flight(taken.one())


def _in_flight(row: AnyRow) -> InFlight:
    return InFlight(row.id, row.partner, row.control_number, row.filename, row.content, row.orders, row.fence)


def _within(lines: int, connection: Connection, ids: Sequence[int]) -> list[int]:
    """Returns the first of these orders that have so many lines together; one at least."""
    counted = (
        select(order_line.c.order_id, func.count().label("lines"))
        .where(order_line.c.order_id.in_(ids))
        .group_by(order_line.c.order_id)
        .order_by(order_line.c.order_id)
    )
    totals = list(accumulate(row.lines for row in connection.execute(counted)))
    return list(ids[: max(1, bisect_right(totals, lines))])


def _documents(connection: Connection, ids: Sequence[int]) -> dict[int, OrderDocument]:
    lines: dict[int, list[Line]] = {order_id: [] for order_id in ids}
    of_orders = select(order_line).where(order_line.c.order_id.in_(ids)).order_by(order_line.c.line_no)
    for row in connection.execute(of_orders):
        lines[row.order_id].append(Line(row.line_no, row.sku, row.description, row.quantity, row.unit_price))
    rows = connection.execute(select(orders).where(orders.c.id.in_(ids)).order_by(orders.c.id))
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


def _store(
    connection: Connection, partner: Partner, number: int, messages: Sequence[Message], now: datetime, since: datetime
) -> AnyRow:
    content = assemble(messages, partner, number, now)
    stored = insert(interchange).values(
        partner=partner.name,
        control_number=number,
        filename=f"{partner.name}-{number:09d}.edi",
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        orders=len(messages),
        lease_until=func.clock_timestamp() + LEASE,
        patience_since=since,
    )
    return connection.execute(stored.returning(interchange)).one()


def retry_held_back(connection: Connection) -> None:
    """Lets orders that could not be rendered be tried once more: they, the partner or the program may have changed."""
    ids = locks.claim_held_back(connection)
    connection.execute(update(orders).where(orders.c.id.in_(ids)).values(export_error=None))


_LOG_CLAIM = text(
    f"""
    INSERT INTO changelog (order_id, actor, action, before, after)
    SELECT id, CAST(:actor AS text), :action, jsonb_build_object('edi', edi_state), jsonb_build_object(
        'edi', CAST(:edi AS text), 'partner', CAST(:partner AS text),
        'control_number', CAST(:control_number AS bigint), 'order_sha256', {ORDER_SHA256})
    FROM orders WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id
    """  # noqa: S608  # our own constant
)


def _mark_claimed(connection: Connection, row: AnyRow, ids: Sequence[int]) -> None:
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
        .where(orders.c.id.in_(ids), orders.c.edi_state == Edi.NOT_SENT)
        .values(edi_state=Edi.CLAIMED, interchange_id=row.id, version=orders.c.version + 1)
    )
    expect_all(len(ids), connection.execute(claimed).rowcount, row)
    counted = update(partner_table).where(partner_table.c.name == row.partner)
    connection.execute(counted.values(last_control_number=row.control_number))


def expect_all(expected: int, found: int, row: AnyRow) -> None:
    """Raises LostFence unless all orders of an interchange were where their locks should have kept them."""
    if found != expected:
        raise LostFence(f"interchange {row.control_number} of {row.partner}: {found} of its {expected} orders are its")
