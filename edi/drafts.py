"""Drafts: the messages of orders, made before their claim where that can be, so that its locks are short.

What was read without a lock counts for as long as the order's version is the same: every change of an order raises it.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from itertools import accumulate
from typing import NamedTuple

from sqlalchemy import Connection, text

from database.exportable import Exportable, next_exportable
from database.planner import force_index_plans_at
from database.queries import AnyRow
from edi import partner_state
from edi.documents.order import CannotRender, Line, Message, OrderDocument
from edi.documents.standards import render_order
from edi.partners import Partner
from rules.model import Address

_LINES_OF = text(
    """
    SELECT order_id, line_no, sku, description, quantity, unit_price
    FROM order_line WHERE order_id = ANY(CAST(:ids AS bigint[])) ORDER BY order_id, line_no
    """
)
# Taken apart there: JSON costs an export, whose limit is Python, more than all columns together.
_ADDRESS = [field.name for field in fields(Address)]
_HALF = len(_ADDRESS)
_TEXTS = ", ".join(f"{name} text" for name in _ADDRESS)
_ORDERS = text(
    f"""
    SELECT id, version, number, placed_at, currency, shipping_to.*, billing_to.*
    FROM orders, jsonb_to_record(shipping) AS shipping_to ({_TEXTS}), jsonb_to_record(billing) AS billing_to ({_TEXTS})
    WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id
    """  # noqa: S608  # our own constants
)


class Draft(NamedTuple):
    """The message of an order as it was at a version.

    It goes from one process to another (`tasks.running.prerender`), and Python pickles a tuple in less than half of the
    time that a dataclass takes.
    """

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
    nothing: while an interchange is on its way or the partner backs off.
    """
    now = force_index_plans_at(connection)
    if not after and not partner_state.may_be_claimed_for(connection, partner.name, now):
        return Drafts({})
    limit = partner.orders_per_interchange
    due = next_exportable(connection, wanted(partner, now, patience), limit=limit, after=after)
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
    versions = {row.id: row.version for row in claimed}
    drafts = {one: draft for one, version in versions.items() if (draft := made.get(one)) and draft.version == version}
    others, errors = _drafts(connection, [one for one in versions if one not in drafts], partner)
    drafts |= others
    return {one: drafts[one].message for one in versions if one in drafts}, errors


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
    for order_id, *columns in connection.execute(_LINES_OF, {"ids": list(ids)}).all():
        lines[order_id].append(Line(*columns))
    found = connection.execute(_ORDERS, {"ids": list(ids)}).all()
    for order_id, version, number, placed_at, currency, *addresses in found:
        shipping, billing = Address(*addresses[:_HALF]), Address(*addresses[_HALF:])
        yield order_id, version, OrderDocument(number, placed_at, currency, shipping, billing, tuple(lines[order_id]))
