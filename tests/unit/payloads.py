"""Made-up payloads of tickets, and reading them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from desks.desk import Desk, Ignored, Unusable, Webhook
from orders.messages import UnreadableMessage, parse_change

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


MARK = "[countermand:zendesk:acme/88121-1]"


def read(desk: Desk, payload: Any, received_at: datetime = NOW) -> dict[str, Any]:
    """Returns the change request in a payload, which must be one of the contract."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    event = desk.read(Webhook({}, raw, received_at))
    parse_change(event)
    read: dict[str, Any] = json.loads(event)
    return read


def unusable(desk: Desk, payload: Any) -> str:
    """Returns the words by which a payload is refused."""
    with pytest.raises((Unusable, UnreadableMessage)) as error:
        read(desk, payload)
    return str(error.value)


def ignored(desk: Desk, payload: Any) -> str:
    """Returns the words by which a payload is passed over."""
    with pytest.raises(Ignored) as error:
        read(desk, payload)
    return str(error.value)


SHIPPING = {"name": "Jane Doe", "line1": "Hofstraße 5", "postal_code": "50667", "city": "Köln", "country": "DE"}
