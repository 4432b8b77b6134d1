"""Drafts: the messages of orders, made before their claim where that can be, so that its locks are short.

What was read without a lock counts for as long as the order's version is the same: every change of an order raises it.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from sqlalchemy import Connection, select

from edi import rests
from edi.documents.order import CannotRender, Line, Message, OrderDocument
from edi.documents.standards import render_order
from edi.partners import Partner
from orders import locks
from orders.locks import AnyRow, Exportable
from orders.tables import order_line, orders
from rules.model import Address


@dataclass(frozen=True, slots=True)
class Draft:
    """The message of an order as it was at a version."""

    version: int
    message: Message


@dataclass(frozen=True, slots=True)
class Drafts:
    """Drafts by the ids of their orders, up to `last`, of what one interchange takes; `is_full` if more may be due."""

    by_order: Mapping[int, Draft]
    last: int = 0
    is_full: bool = False


def make(connection: Connection, partner: Partner, *, patience: timedelta, after: int = 0) -> Drafts:
    """Returns drafts of the next orders that are due for a partner, those with ids above `after`; locks nothing.

    Of what cannot be rendered there is none. From the beginning (`after` is 0) there are none while a claim would find
    nothing: while an interchange is on its way or the partner rests.
    """
    now = locks.begin_to_claim(connection)
    if not after and not rests.may_be_claimed_for(connection, partner.name, now):
        return Drafts({})
    limit = partner.orders_per_interchange
    due = locks.next_exportable(connection, wanted(partner, now, patience), limit=limit, after=after)
    together = within(partner.lines_per_interchange, due)
    if not together:
        return Drafts({})
    drafts, _ = _drafts(connection, [row.id for row in together], partner)
    return Drafts(drafts, together[-1].id, is_full=len(due) == limit or len(together) < len(due))


def of_claimed(
    connection: Connection, claimed: Sequence[AnyRow], partner: Partner, made: Mapping[int, Draft]
) -> tuple[dict[int, Message], dict[int, str]]:
    """Returns the messages of locked orders (id, version), and of those that have none why.

    What was `made` of the same version before is not made again.
    """
    drafts = {row.id: made[row.id] for row in claimed if row.id in made and made[row.id].version == row.version}
    others, errors = _drafts(connection, [row.id for row in claimed if row.id not in drafts], partner)
    drafts |= others
    return {row.id: drafts[row.id].message for row in claimed if row.id in drafts}, errors


def wanted(partner: Partner, now: datetime, patience: timedelta) -> Exportable:
    """Returns which orders are due for a partner at a moment."""
    return Exportable(partner.warehouses, partner.others, now - partner.grace, now - patience)


def within(lines: int, due: Sequence[AnyRow]) -> Sequence[AnyRow]:
    """Returns the first of these orders that have so many lines together; one at least, if there is one."""
    totals = list(accumulate(row.lines for row in due))
    return due[: max(1, bisect_right(totals, lines))]


def _drafts(connection: Connection, ids: Sequence[int], partner: Partner) -> tuple[dict[int, Draft], dict[int, str]]:
    drafts, errors = {}, {}
    for order_id, version, document in documents(connection, ids):
        try:
            drafts[order_id] = Draft(version, render_order(document, partner))
        except CannotRender as error:
            errors[order_id] = str(error)
    return drafts, errors


def documents(connection: Connection, ids: Sequence[int]) -> Iterator[tuple[int, int, OrderDocument]]:
    """Yields the documents of orders, by ascending id: the id, the version that was read, the document."""
    if not ids:
        return
    lines: dict[int, list[Line]] = {order_id: [] for order_id in ids}
    line = order_line.c
    of_lines = select(line.order_id, line.line_no, line.sku, line.description, line.quantity, line.unit_price)
    for order_id, *columns in connection.execute(
        of_lines.where(locks.is_one_of(line.order_id, ids)).order_by(line.order_id, line.line_no)
    ).all():
        lines[order_id].append(Line(*columns))
    order = orders.c
    of_orders = select(
        order.id, order.version, order.number, order.placed_at, order.currency, order.shipping, order.billing
    )
    for row in connection.execute(of_orders.where(locks.is_one_of(order.id, ids)).order_by(order.id)).all():
        document = OrderDocument(
            number=row.number,
            placed_at=row.placed_at,
            currency=row.currency,
            shipping=Address(**row.shipping),
            billing=Address(**row.billing),
            lines=tuple(lines[row.id]),
        )
        yield row.id, row.version, document
