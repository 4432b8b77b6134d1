"""Both sides of a history, the database and the model, and how each looks in the shapes of `list` and `show`."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from edi.reading import list_interchanges
from orders.dead_letters import list_dead_letters
from orders.reading import list_orders, list_requests, show_order, show_request
from orders.views import to_json
from tests.race.model.contract import Interchange, Key, Order, Request
from tests.race.model.model import Model


class Comparison:
    """Compares the whole each time, and details where the model has changed since they were last compared."""

    def __init__(self, model: Model, dead_letters: dict[str, str]) -> None:
        self._model = model
        self._dead_letters = dead_letters
        self._compared: dict[str | Key, dict[str, Any]] = {}

    def forget(self) -> None:
        """Lets everything be compared anew."""
        self._compared.clear()

    def run(self, connection: Connection) -> bool:
        """Raises AssertionError where the two differ; returns True if something is new."""
        model, before = self._model, self._compared.copy()
        listed = [(one.source, one.id, one.state, one.outcome) for one in list_requests(connection)]
        assert listed == [(*one.key, one.state, one.outcome) for one in model.requests.values()]
        orders = {one.number: (one.status, one.edi) for one in list_orders(connection)}
        assert orders == {number: (one.status, one.edi) for number, one in model.orders.items()}
        interchanges = [_shown_interchange(one) for one in reversed(list_interchanges(connection))]
        assert interchanges == [_said_interchange(one) for one in model.interchanges]
        assert {one.position: one.reason for one in list_dead_letters(connection)} == self._dead_letters
        stock = {row.sku: row.quantity for row in connection.execute(text("SELECT sku, quantity FROM stock"))}
        assert stock == model.stock
        for number, order in model.orders.items():
            self._compare(number, _said_order(order, model.now), lambda name: _shown_order(connection, name))
        for key, request in model.requests.items():
            self._compare(key, _said_request(request), lambda name: _shown_request(connection, name))
        return self._compared != before

    def _compare(self, name: Any, said: dict[str, Any], shown: Callable[[Any], dict[str, Any]]) -> None:
        if self._compared.get(name) != said:
            assert shown(name) == said
            self._compared[name] = said


def _shown_order(connection: Connection, number: str) -> dict[str, Any]:
    """As `orders show` shows it, without its times and version."""
    shown = show_order(connection, number)
    assert shown is not None
    found = to_json(shown)
    held = found["interchange"]
    return {
        **{name: found[name] for name in ("status", "edi", "customer", "shipping", "billing", "lines", "warehouse")},
        "interchange": held and (held["partner"], held["control_number"], held["state"]),
        "changelog": [_shown_entry(entry) for entry in found["changelog"]],
        "held_for": sorted(found.get("held_for", ())),
    }


def _shown_entry(entry: dict[str, Any]) -> dict[str, Any]:
    cause = entry["request"] and (entry["request"]["source"], entry["request"]["id"])
    after = {name: value for name, value in entry["after"].items() if name != "order_sha256"}
    return {**{name: entry[name] for name in ("actor", "action", "note", "before")}, "request": cause, "after": after}


def _said_order(order: Order, now: int) -> dict[str, Any]:
    held = order.interchange
    can_be_held = order.status in ("pre_order", "validated") and order.edi == "not_sent"
    return {
        "status": order.status,
        "edi": order.edi,
        **{name: order.message[name] for name in ("customer", "lines", "warehouse")},
        **order.addresses,
        "interchange": held and (held.partner.name, held.number, held.state),
        "changelog": order.changelog[:],
        "held_for": sorted(reason for reason, until in order.holds.items() if can_be_held and until > now),
    }


def _shown_request(connection: Connection, key: Key) -> dict[str, Any]:
    """As `requests show` shows it, without its times, and of the texts only whether they name the order."""
    shown = show_request(connection, *key)
    assert shown is not None
    found = to_json(shown)
    reported = found["notification"]
    return {
        **{name: found[name] for name in ("order", "kind", "ticket", "state", "outcome", "reasons")},
        "has_error": found["error"] is not None,
        "has_advice": found["advice"] is not None,
        "effects": [(one["kind"], one["state"], one.get("attempts", 0)) for one in found["effects"]],
        "told": reported and (reported["visibility"], reported["state"], found["order"] in reported["body"]),
    }


def _said_request(request: Request) -> dict[str, Any]:
    is_internal = request.outcome == "escalated" or "note_required" in request.reasons
    is_answered = any((one.kind, one.state) == ("notify", "done") for one in request.effects)
    return {
        **{name: request.data.get(name) for name in ("order", "kind", "ticket")},
        **{name: getattr(request, name) for name in ("state", "outcome", "reasons", "has_error")},
        "has_advice": bool(request.reasons),
        "effects": [(one.kind, one.state, one.attempts if one.state != "done" else 0) for one in request.effects],
        "told": ("internal" if is_internal else "public", "sent", True) if is_answered else None,
    }


def _shown_interchange(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["partner"], one["control_number"], one["state"], one["orders"], one["error"] is not None


def _said_interchange(one: Interchange) -> tuple[Any, ...]:
    return one.partner.name, one.number, one.state, len(one.orders), one.has_error
