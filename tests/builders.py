"""Orders and requests of the contract's shape, made up; tests name only what they are about."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, text

from database.transactions import in_transaction
from orders.inbox import Accepted, Delivery, store
from orders.loading import load_orders
from orders.messages import OrderMessage
from orders.reading import show_order, show_request
from orders.views import to_json
from tasks.changes import CHANGES
from tasks.effects import NOTIFY, RESTOCK
from tasks.running.batches import Batch, run_batch

EMAIL = "jane@example.com"
_ids = itertools.count(1)


def an_address(**changes: Any) -> dict[str, Any]:
    """Returns a valid German address."""
    return {
        "name": "Jane Doe",
        "line1": "Hofstraße 5",
        "postal_code": "50667",
        "city": "Köln",
        "country": "DE",
        **changes,
    }


def an_order(number: str = "1001", **changes: Any) -> dict[str, Any]:
    """Returns a validated order of two lines."""
    return {
        "number": number,
        "status": "validated",
        "placed_at": "2026-11-20T10:00:00Z",
        "currency": "EUR",
        "warehouse": "MAIN",
        "customer": {"name": "Jane Doe", "email": EMAIL},
        "shipping": an_address(),
        "billing": an_address(),
        "lines": [
            {"sku": "RED-1", "description": "Red mug", "quantity": 3, "unit_price": "4.50"},
            {"sku": "BLUE-2", "description": "Blue mug", "quantity": 1, "unit_price": "5"},
        ],
        **changes,
    }


def a_request(order: str = "1001", kind: str = "cancel", **changes: Any) -> dict[str, Any]:
    """Returns a request with an id of its own; `id`, `source` and `time` go to the event, the rest to its data."""
    event: dict[str, Any] = {name: changes.pop(name) for name in ("id", "source", "time") if name in changes}
    data = {"order": order, "kind": kind, "ticket": "88121", "note": "Ordered twice", "requester": EMAIL, **changes}
    return {
        "specversion": "1.0",
        "type": "order.change.requested",
        "source": "zendesk:acme",
        "id": f"r{next(_ids)}",
        "time": "2026-11-23T09:00:00Z",
        **event,
        "data": {name: value for name, value in data.items() if value is not None},
    }


def encoded(value: Any) -> bytes:
    """Writes a value as one line of JSON."""
    return json.dumps(value).encode()


def load(*orders: dict[str, Any]) -> None:
    """Loads orders."""
    messages = [OrderMessage.model_validate_json(encoded(order)) for order in orders]
    in_transaction(lambda connection: load_orders(connection, messages))


def deliver(*requests: dict[str, Any] | bytes) -> Accepted:
    """Takes requests into the inbox, in one transaction, as an intake does."""
    raw = [request if isinstance(request, bytes) else encoded(request) for request in requests]
    deliveries = [Delivery("test", None, body) for body in raw]
    return in_transaction(lambda connection: store(connection, deliveries))


def _decisions_alone(connection: Connection, limit: int, among: Sequence[int] | None) -> Batch:
    return replace(CHANGES.claim(connection, limit, among), after=lambda: None)


# What a worker does, as one does it that dies after the decisions' commit: what follows is left pending.
DECIDING = replace(CHANGES, claim=_decisions_alone)


def decide_all() -> None:
    """Decides everything that is due."""
    while run_batch(DECIDING):
        pass


def settle() -> None:
    """Decides everything that is due, and does every effect that is due."""
    decide_all()
    for job in (RESTOCK, NOTIFY):
        while run_batch(job):
            pass


def order(number: str = "1001") -> dict[str, Any]:
    """Returns an order as `orders show` shows it."""
    found = in_transaction(lambda connection: show_order(connection, number))
    assert found is not None
    return to_json(found)


def request(event: dict[str, Any]) -> dict[str, Any]:
    """Returns a request as `requests show` shows it."""
    found = in_transaction(lambda connection: show_request(connection, event["source"], event["id"]))
    assert found is not None
    return to_json(found)


def rows(sql: str, **parameters: Any) -> Sequence[Any]:
    """Returns the rows of a query on the test's database."""
    return in_transaction(lambda connection: connection.execute(text(sql), parameters).all())
