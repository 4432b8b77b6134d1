"""Applying changes, first half: the undecided requests of locked orders, decided in sequence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, func, select, text

from database.locks import claim_orders
from database.planner import force_index_plans
from database.queries import AnyRow, is_one_of
from database.tables import RequestState, change_request, constant
from orders.inbox import IncomingRequest
from orders.messages import ChangeMessage, parse_change
from rules.decide import Faults, decide
from rules.model import (
    Address,
    AddressFault,
    AddressRole,
    ChangeRequest,
    Decision,
    Edi,
    Order,
    OrderAddress,
    Outcome,
    Status,
)

# How many requests at once are looked through, at most, for one that need not wait.
_LOOK_AHEAD = 20_000

# Order by order, the oldest of each: one order may have very many. What is cut off are the last ones of each. One that
# is not due, or not among the given, holds up all that came after it.
_UNDECIDED = text(
    """
    SELECT request.* FROM unnest(CAST(:numbers AS text[])) AS number, LATERAL (
        SELECT id, body, received_at, order_number, bool_and(
            not_before <= statement_timestamp()
            AND (CAST(:among AS bigint[]) IS NULL OR id = ANY(CAST(:among AS bigint[])))
        ) OVER (ORDER BY order_number, id) AS is_next
        FROM change_request
        -- Not `=`: for that the planner may go through all that is undecided, once an order, as if few were.
        WHERE order_number BETWEEN number AND number AND state = 'received'
        ORDER BY order_number, id LIMIT :limit) AS request
    WHERE is_next ORDER BY id LIMIT :limit
    """
)


class StaleRowError(Exception):
    """Rows were not in the state that their lock should have kept them in. Nothing of the batch is written."""


class AddressCheck(Protocol):
    """Says what the document for a warehouse could not say of an address; nothing if all of it goes in."""

    def __call__(self, warehouse: str, role: AddressRole, address: Address, /) -> Sequence[AddressFault]: ...


class OpenRequest(Protocol):
    """An undecided request: one that waits in the inbox, or one that has just arrived."""

    @property
    def body(self) -> bytes:
        """The request as it came."""

    @property
    def message(self) -> ChangeMessage:
        """What it says. Raises UnreadableMessage."""

    @property
    def received_at(self) -> datetime | None:
        """When it was received."""


_Request = TypeVar("_Request", bound=OpenRequest)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An undecided request in the inbox."""

    id: int
    body: bytes
    received_at: datetime

    @property
    def message(self) -> ChangeMessage:
        """What it says, parsed anew each time."""
        return parse_change(self.body)


@dataclass(frozen=True, slots=True)
class OpenOrder(Generic[_Request]):
    """A locked order and its undecided requests, in the sequence of their acceptance."""

    id: int
    version: int
    row: AnyRow
    requests: list[_Request] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Decided(Generic[_Request]):
    """One request with its answer, and the order as it was before."""

    order_id: int
    request: _Request
    message: ChangeMessage
    before: Order
    decision: Decision


def claim_open_orders(
    connection: Connection, *, limit: int, among: Sequence[int] | None = None
) -> list[OpenOrder[Waiting]]:
    """Locks the orders of up to `limit` due requests and returns them with the requests to decide now.

    Of each order the requests are taken from the oldest on, up to the first that is not due (or not `among` the
    given ids): none overtakes another.
    """
    after, many = 0, limit
    while due := _due_requests(connection, limit=many, among=among, after=after):
        numbers = list(dict.fromkeys(row.order_number for row in due))
        while claimed := claim_orders(connection, numbers, limit=limit):
            if open_orders := _with_their_requests(connection, claimed, limit, among):
                return open_orders
            blocked = {row.number for row in claimed}
            numbers = [number for number in numbers if number not in blocked]
        # All of these wait: for their order, its interchange, another worker or an earlier try. Others need not.
        after, many = due[-1].id, min(many * 4, _LOOK_AHEAD)
    return []


def _due_requests(connection: Connection, *, limit: int, among: Sequence[int] | None, after: int) -> Sequence[AnyRow]:
    """Returns up to `limit` undecided requests that are due, oldest first, with ids above `after`.

    `among` narrows it to these ids.
    """
    request = change_request.c
    due = select(request.id, request.order_number).where(
        request.state == constant(RequestState.RECEIVED), request.not_before <= func.now(), request.id > after
    )
    if among is not None:
        due = due.where(is_one_of(request.id, among))
    force_index_plans(connection)
    return connection.execute(due.order_by(request.id).limit(limit)).all()


def claim_orders_of(connection: Connection, arrived: Sequence[IncomingRequest]) -> list[OpenOrder[IncomingRequest]]:
    """Locks the orders of requests that have arrived and returns those that it has got, with all these requests."""
    numbers = list(dict.fromkeys(one.order_number for one in arrived))
    claimed = claim_orders(connection, numbers, limit=len(numbers)) if numbers else ()
    open_orders = _by_number(claimed)
    for one in arrived:
        if one.order_number in open_orders:
            open_orders[one.order_number].requests.append(one)
    return list(open_orders.values())


def _by_number(claimed: Sequence[AnyRow]) -> dict[str, OpenOrder[Any]]:
    return {row.number: OpenOrder(row.id, row.version, row) for row in claimed}


def _with_their_requests(
    connection: Connection, claimed: Sequence[AnyRow], limit: int, among: Sequence[int] | None
) -> list[OpenOrder[Waiting]]:
    open_orders = _by_number(claimed)
    narrowed = None if among is None else list(among)
    found = connection.execute(_UNDECIDED, {"numbers": list(open_orders), "among": narrowed, "limit": limit})
    for row in found:
        open_orders[row.order_number].requests.append(Waiting(row.id, row.body, row.received_at))
    return [open_order for open_order in open_orders.values() if open_order.requests]


def order_for_the_rules(row: AnyRow) -> Order:
    """Makes the rules' frozen value of a row of `orders`."""
    return Order(
        status=Status(row.status),
        edi=Edi(row.edi_state),
        customer_email=row.customer["email"],
        shipping=OrderAddress(Address(**row.shipping), row.shipping_asked_at),
        billing=OrderAddress(Address(**row.billing), row.billing_asked_at),
    )


def faults_of(request: ChangeRequest, warehouse: str, check: AddressCheck) -> Faults:
    """Returns what the document for a warehouse could not say of the addresses that a request wants."""
    wanted = ((AddressRole.SHIPPING, request.shipping), (AddressRole.BILLING, request.billing))
    return {role: check(warehouse, role, address) for role, address in wanted if address is not None}


def decide_requests(open_order: OpenOrder[_Request], check: AddressCheck) -> Iterator[Decided[_Request]]:
    """Decides the requests of one order; each sees the order as the one before it left it."""
    before = order_for_the_rules(open_order.row)
    for request in open_order.requests:
        message = request.message
        asked = message.to_rules(request.received_at)
        decision = decide(before, asked, faults_of(asked, open_order.row.warehouse, check))
        if decision.outcome is Outcome.DEFERRED:
            raise StaleRowError(f"order {message.data.order} is {before.edi} to the warehouse under its own lock")
        yield Decided(open_order.id, request, message, before, decision)
        before = decision.order
