"""Made-up orders, straight into the tables, and the requests to cancel them."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, text

from orders.fingerprint import ORDER_SHA256

SOURCE = "zendesk:bench"
LINES_PER_ORDER = 2
_ORDERS_PER_INTERCHANGE = 500
_HERE = Path(__file__).parent


def load_orders(connection: Connection, *, open_orders: int, sent: int = 0, held: bool = True) -> None:
    """Fills the empty tables with orders `SO-1`, `SO-2`, …: the sent ones stand evenly among the open ones.

    Each has two lines and its changelog; the sent ones have their interchanges. With `held` none is due for export.
    """
    # The rows fit together by their making, and a million foreign keys need not be looked up.
    connection.execute(text("SET LOCAL session_replication_role = replica"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    script = (_HERE / "orders.sql").read_text().replace("{ORDER_SHA256}", ORDER_SHA256)
    values = {"total": open_orders + sent, "sent": sent, "held": held, "per_interchange": _ORDERS_PER_INTERCHANGE}
    for statement in script.split(";\n"):
        clause = text(statement)
        connection.execute(clause, {name: values[name] for name in clause.compile().params})


def open_numbers(connection: Connection, count: int) -> list[str]:
    """Returns the numbers of so many open orders, from all over the table; always the same ones."""
    of_open = text("SELECT number FROM orders WHERE edi_state = 'not_sent' ORDER BY id")
    return random.Random(6).sample(list(connection.scalars(of_open)), count)  # noqa: S311  # made-up data


def request_id(number: str) -> str:
    """Returns the id of the one request for an order."""
    return f"{number}-1"


def cancel_requests(numbers: Sequence[str]) -> list[bytes]:
    """Returns one message an order that cancels it, as an integration would publish it."""
    now = datetime.now(UTC).isoformat()
    return [_cancel(number, now) for number in numbers]


def _cancel(number: str, time: str) -> bytes:
    message = {
        "specversion": "1.0",
        "type": "order.change.requested",
        "source": SOURCE,
        "id": request_id(number),
        "time": time,
        "data": {
            "order": number,
            "kind": "cancel",
            "ticket": number.removeprefix("SO-"),
            "note": "Ordered twice",
            "requester": f"customer{number.removeprefix('SO-')}@example.com",
        },
    }
    return json.dumps(message).encode()
