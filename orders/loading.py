"""Loading orders from the store: new ones are inserted, known ones are compared, nothing is overwritten."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from database.locks import (
    lock_numbers_for_accepting,
    lock_orders_by_number,
    lock_requests_that_mean,
)
from database.queries import AnyRow, is_one_of
from database.tables import RequestState, change_request, constant, order_line, orders
from orders import changelog
from orders.messages import OrderMessage
from orders.reprocessing import revive_unknown
from rules.model import Status

STORE = "store"


@dataclass(frozen=True, slots=True)
class Difference:
    """A known order that the store now describes otherwise: which fields, nothing of what they hold."""

    number: str
    fields: tuple[str, ...]


@dataclass(slots=True)
class Loaded:
    """What became of the orders handed over."""

    new: int = 0
    validated: int = 0
    unchanged: int = 0
    differences: list[Difference] = field(default_factory=list)


def load_orders(connection: Connection, messages: Sequence[OrderMessage]) -> Loaded:
    """Inserts new orders with their lines; of known ones takes `pre_order` → `validated`, and reports the rest.

    Requests that were parked because their order was not known become undecided again.
    """
    # Prevents: a request that is parked, as of an unknown order, beside the transaction that loads it.
    lock_numbers_for_accepting(connection, [message.number for message in messages])
    ids = _insert_new(connection, messages)
    new = _first_of_each(messages, ids)
    _describe_new(connection, new, ids)
    result = Loaded(new=len(new))
    known = [message for message in messages if new.get(message.number) is not message]
    if known:
        _compare_known(connection, known, result)
    # After the locks on known orders: requests come after orders.
    if ids:
        _adopt_requests(connection, list(ids.values()))
        revive_unknown(connection, list(ids))
    return result


def _insert_new(connection: Connection, messages: Sequence[OrderMessage]) -> dict[str, int]:
    """Inserts the orders whose number is new; returns their ids by their numbers."""
    rows = [{**_order_row(message), "validated_at": _validated_at(message)} for message in messages]
    inserted = connection.execute(
        upsert(orders).values(rows).on_conflict_do_nothing().returning(orders.c.id, orders.c.number)
    )
    return {row.number: row.id for row in inserted}


def _first_of_each(messages: Sequence[OrderMessage], ids: Mapping[str, int]) -> dict[str, OrderMessage]:
    new: dict[str, OrderMessage] = {}
    for message in messages:
        if message.number in ids:
            new.setdefault(message.number, message)
    return new


def _describe_new(connection: Connection, new: Mapping[str, OrderMessage], ids: Mapping[str, int]) -> None:
    """Writes the lines of new orders, and that they were loaded."""
    if not new:
        return
    lines = [line for number, message in new.items() for line in _line_rows(ids[number], message)]
    connection.execute(insert(order_line), lines)
    entries = [
        changelog.Entry(ids[number], STORE, changelog.Action.LOADED, after={"status": message.status})
        for number, message in new.items()
    ]
    changelog.write(connection, entries)


def _adopt_requests(connection: Connection, orders: Sequence[int]) -> None:
    """Gives requests that have waited for these orders, or were parked, under another spelling the order's number."""
    meant: dict[str, list[int]] = {}
    for row in lock_requests_that_mean(connection, orders):
        meant.setdefault(row.number, []).append(row.id)
    for number, ids in meant.items():
        is_undecided = change_request.c.state != constant(RequestState.DECIDED)
        of_this_order = update(change_request).where(is_one_of(change_request.c.id, ids), is_undecided)
        connection.execute(of_this_order.values(order_number=number))


def _order_row(message: OrderMessage) -> dict[str, Any]:
    return {
        "number": message.number,
        "status": message.status,
        "placed_at": message.placed_at,
        "currency": message.currency,
        "warehouse": message.warehouse,
        "hold_until": message.hold_until,
        "customer": message.customer.model_dump(),
        "shipping": message.shipping.model_dump(exclude_none=True),
        "billing": message.billing.model_dump(exclude_none=True),
    }


def _validated_at(message: OrderMessage) -> Any:
    return func.statement_timestamp() if message.status == Status.VALIDATED.value else None


def _line_rows(order_id: int, message: OrderMessage) -> list[dict[str, Any]]:
    return [
        {
            "order_id": order_id,
            "line_no": line_no,
            "sku": line.sku,
            "description": line.description,
            "quantity": line.quantity,
            "unit_price": line.price,
        }
        for line_no, line in enumerate(message.lines, start=1)
    ]


def _compare_known(connection: Connection, messages: Sequence[OrderMessage], result: Loaded) -> None:
    rows = {row.number: row for row in lock_orders_by_number(connection, [message.number for message in messages])}
    lines = _lines_of(connection, [row.id for row in rows.values()])
    validated: dict[int, AnyRow] = {}
    for message in messages:
        row = rows[message.number]
        fields = _differing_fields(message, row, lines[row.id])
        # The same order may come twice, and each time is compared with what the one before has left.
        status = Status.VALIDATED if row.id in validated else row.status
        is_released = (status, message.status) == (Status.PRE_ORDER, Status.VALIDATED)
        if is_released:
            validated[row.id] = row
        elif message.status != status:
            fields = ("status", *fields)
        if fields:
            result.differences.append(Difference(message.number, fields))
        elif not is_released:
            result.unchanged += 1
    _validate(connection, list(validated.values()))
    result.validated = len(validated)


def _lines_of(connection: Connection, ids: Sequence[int]) -> dict[int, list[tuple[Any, ...]]]:
    lines: dict[int, list[tuple[Any, ...]]] = {order_id: [] for order_id in ids}
    of_orders = select(order_line).where(order_line.c.order_id.in_(ids)).order_by(order_line.c.line_no)
    for row in connection.execute(of_orders):
        lines[row.order_id].append((row.sku, row.description, row.quantity, row.unit_price))
    return lines


def _differing_fields(message: OrderMessage, row: AnyRow, lines: list[tuple[Any, ...]]) -> tuple[str, ...]:
    described = _order_row(message)
    del described["status"]
    differing = [name for name, value in described.items() if getattr(row, name) != value]
    if [(line.sku, line.description, line.quantity, line.price) for line in message.lines] != lines:
        differing.append("lines")
    return tuple(differing)


def _validate(connection: Connection, rows: Sequence[AnyRow]) -> None:
    if not rows:
        return
    connection.execute(
        update(orders)
        .where(orders.c.id.in_([row.id for row in rows]), orders.c.status == Status.PRE_ORDER)
        .values(status=Status.VALIDATED, version=orders.c.version + 1, validated_at=func.statement_timestamp())
    )
    entries = [
        changelog.Entry(
            row.id,
            STORE,
            changelog.Action.VALIDATED,
            before={"status": Status.PRE_ORDER},
            after={"status": Status.VALIDATED},
        )
        for row in rows
    ]
    changelog.write(connection, entries)
