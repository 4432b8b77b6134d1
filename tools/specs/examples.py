"""Examples of what comes in and what is answered; tests hold each of them against its schema, and against the code."""

from typing import Any

_ADDRESS = {
    "name": "Jane Doe",
    "line1": "Hofstraße 5",
    "postal_code": "50667",
    "city": "Köln",
    "country": "DE",
}
_KEY = {"source": "zendesk:acme", "id": "88121-1"}


def _event(data: dict[str, Any], request_id: str = "88121-1") -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": "order.change.requested",
        "source": "zendesk:acme",
        "id": request_id,
        "time": "2026-11-23T09:00:00Z",
        "data": {"order": "536365", **data},
    }


_ASKED = {"ticket": "88121", "requester": "jane@example.com"}

# By name: what an example shows, and the change request.
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cancel": (
        "The customer cancels the whole order",
        _event({"kind": "cancel", "note": "Ordered twice", **_ASKED, "language": "de-DE"}),
    ),
    "change_address": (
        "Another shipping address; the billing address stays: an empty object is the same as none",
        _event({"kind": "change_address", **_ASKED, "addresses": {"shipping": _ADDRESS, "billing": {}}}, "88121-2"),
    ),
    "change_items": (
        "Other items: never applied, and the customer learns why",
        _event({"kind": "change_items", "note": "Blue instead of red", **_ASKED}, "88121-3"),
    ),
    "change_payment": (
        "Another way to pay: never applied, and the customer learns what to do",
        _event({"kind": "change_payment", **_ASKED}, "88121-4"),
    ),
    "partial_cancel": (
        "Some lines are to be left out: a person decides",
        _event({"kind": "partial_cancel", **_ASKED, "lines": [{"sku": "85123A", "quantity": 2}]}, "88121-5"),
    ),
    "smallest": ("No more than is required", _event({"kind": "cancel"}, "88121-6")),
}

# What a desk's template sends: every field a text, empty where nobody filled it in.
TICKET = {
    "ticket": "88121",
    "requester": "jane@example.com",
    "language": "de-DE",
    "author": "jane@example.com",
    "time": "2026-11-23T09:00:00Z",
    "order": "536365",
    "kind": "countermand_change_address",
    "note": "",
    "addresses": {
        "shipping": {"company": "", **_ADDRESS, "line2": "", "region": "", "phone": ""},
        "billing": {},
    },
}
NAMED_TICKET = {"ticket": "88121"}
ZAMMAD = {
    "ticket": {
        "id": 88121,
        "customer": {"email": "jane@example.com"},
        "updated_by": {"email": "jane@example.com"},
        "countermand_order": "536365",
        "countermand_kind": "cancel",
        "countermand_note": "Ordered twice",
    },
    "article": {"created_at": "2026-11-23T09:00:00.000Z"},
}
CHATWOOT = {
    "event": "conversation_updated",
    "id": 88121,
    "channel": "Channel::Email",
    "contact_inbox": {"source_id": "jane@example.com"},
    "meta": {"sender": {"email": "jane@example.com"}},
    "additional_attributes": {"conversation_language": "de"},
    "custom_attributes": {
        "countermand_order": "536365",
        "countermand_kind": "cancel",
        "countermand_note": "Ordered twice",
    },
    "changed_attributes": [{"custom_attributes": {"previous_value": {}, "current_value": {}}}],
    "updated_at": 1795424400.0,
}

_ADVICE = "Your order has been cancelled."
_DECIDED = {
    "state": "decided",
    "outcome": "applied",
    "reasons": ["order_cancelled"],
    "advice": _ADVICE,
}
# By the name of the answer's model.
ANSWERS: dict[str, dict[str, Any]] = {
    "Accepted": {**_KEY, "state": "received"},
    "Noted": {"source": "zendesk:acme", "ticket": "88121", "state": "to_be_read"},
    "Decision": {**_KEY, **_DECIDED, "decided_at": "2026-11-23T09:00:01.250000Z"},
    "Ignored": {"state": "ignored", "why": "an answer of our own that came back"},
    "DeadLettered": {"state": "dead_letter", "error": "data.order: must not contain white space"},
    "RequestShown": {
        **_KEY,
        "order": "536365",
        "kind": "cancel",
        "ticket": "88121",
        **_DECIDED,
        "received_at": "2026-11-23T09:00:01Z",
        "decided_at": "2026-11-23T09:00:01.250000Z",
        "error": None,
        "effects": [
            {"kind": "restock", "state": "done", "done_at": "2026-11-23T09:00:02Z"},
            {"kind": "notify", "state": "pending", "done_at": None},
        ],
        "notification": {
            "channel": "ticket",
            "visibility": "public",
            "subject": "Your order 536365",
            "body": _ADVICE,
            "state": "pending",
        },
    },
    "Health": {"ok": True},
    "Ready": {
        "ok": True,
        "database": True,
        "broker": True,
        "progress": {"beat": 3.2, "intake": 0.8, "changes": 1.4, "effects": 1.4, "answers": 6.0, "export": 9.7},
        "stalled": [],
    },
}
