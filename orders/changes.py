"""Applying changes, first half: the undecided requests of locked orders, decided in sequence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from orders.locks import AnyRow, claim_undecided
from orders.messages import ChangeMessage, parse_change
from orders.tables import RequestState, change_request
from rules.decide import decide
from rules.model import Address, Decision, Edi, Order, OrderAddress, Outcome, Status


class LostGuard(Exception):
    """Rows were not in the state that their lock should have kept them in. Nothing of the batch is written."""


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """An undecided request, as it lies in the inbox."""

    id: int
    source: str
    body: bytes


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """A locked order and its undecided requests, in the sequence of their acceptance."""

    id: int
    version: int
    row: AnyRow
    requests: list[OpenRequest] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Decided:
    """One request with its answer, and the order as it was before."""

    order_id: int
    request: OpenRequest
    message: ChangeMessage
    before: Order
    decision: Decision


def claim_open_orders(connection: Connection, *, limit: int, among: Sequence[int] | None = None) -> list[OpenOrder]:
    """Locks the orders of up to `limit` due requests and returns them with what is to be decided now.

    Of each order the requests are taken from the oldest on, up to the first that is not due (or not `among` the
    given ids): none overtakes another.
    """
    open_orders = {
        row.number: OpenOrder(row.id, row.version, row) for row in claim_undecided(connection, limit=limit, among=among)
    }
    blocked = set()
    for row in _undecided_requests(connection, list(open_orders), limit):
        if not row.due or (among is not None and row.id not in among):
            blocked.add(row.order_number)
        if row.order_number not in blocked:
            open_orders[row.order_number].requests.append(OpenRequest(row.id, row.source, row.body))
    return list(open_orders.values())


def _undecided_requests(connection: Connection, numbers: list[str], limit: int) -> Sequence[AnyRow]:
    request = change_request.c
    undecided = (
        select(
            request.id,
            request.source,
            request.body,
            request.order_number,
            (request.not_before <= func.now()).label("due"),
        )
        .where(request.order_number.in_(numbers), request.state == RequestState.RECEIVED)
        .order_by(request.id)
        # The oldest of all: what is cut off are the last ones of each order. One order may have very many.
        .limit(limit)
    )
    return connection.execute(undecided).all()


def order_for_the_rules(row: AnyRow) -> Order:
    """Makes the rules' frozen value of a row of `orders`."""
    return Order(
        status=Status(row.status),
        edi=Edi(row.edi_state),
        customer_email=row.customer["email"],
        shipping=OrderAddress(Address(**row.shipping), row.shipping_asked_at),
        billing=OrderAddress(Address(**row.billing), row.billing_asked_at),
    )


def decide_requests(open_order: OpenOrder) -> Iterator[Decided]:
    """Decides the requests of one order; each sees the order as the one before it left it."""
    before = order_for_the_rules(open_order.row)
    for request in open_order.requests:
        message = parse_change(request.body)
        decision = decide(before, message.to_rules())
        if decision.outcome is Outcome.DEFERRED:
            raise LostGuard(f"order {message.data.order} is {before.edi} to the warehouse under its own lock")
        yield Decided(open_order.id, request, message, before, decision)
        before = decision.order
