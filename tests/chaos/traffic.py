"""What is sent: orders, requests of all kinds, repeats, conflicts and garbage. A seed makes the same again."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from orders.views import as_utc
from rules.model import Kind
from tests.builders import a_request, an_address, an_order, encoded

WAREHOUSES = ("NORTH", "SOUTH")
TICKETS = range(1000, 1400)
WAVE = 12
_KINDS = {
    Kind.CANCEL: 45,
    Kind.CHANGE_ADDRESS: 35,
    Kind.CHANGE_ITEMS: 7,
    Kind.CHANGE_PAYMENT: 7,
    Kind.PARTIAL_CANCEL: 6,
}
_SKUS = tuple(f"MUG-{number:02d}" for number in range(20))
# Of the stream's requests: two desks that are answered, and a source whose decisions go to the log.
_SOURCES = ("zendesk:acme", "standard:acme", "shop:plain", "shop:plain")


@dataclass
class Store:
    """The orders; `orders` are all that were handed over, as they were."""

    seed: int
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The newest order's place."""
        return len(self.orders)

    def wave(self) -> list[dict[str, Any]]:
        """Makes the next orders, and validates the pre-orders of two waves ago."""
        charged = [
            {**order, "status": "validated"}
            for order in list(self.orders.values())[-2 * WAVE : -WAVE]
            if order["status"] == "pre_order"
        ]
        new = [self._order(self.last + place) for place in range(1, WAVE + 1)]
        self.orders |= {order["number"]: order for order in new}
        return new + charged

    def _order(self, place: int) -> dict[str, Any]:
        chance = Random(f"{self.seed} {place}")  # noqa: S311  # made-up data
        lines = [
            {"sku": sku, "description": "Mug", "quantity": chance.randrange(1, 9), "unit_price": "4.50"}
            for sku in chance.sample(_SKUS, k=chance.randrange(1, 4))
        ]
        return an_order(
            number_of(place),
            status=chance.choices(("validated", "pre_order"), weights=(80, 20))[0],
            warehouse=chance.choice(WAREHOUSES),
            hold_until=as_utc(datetime.now(UTC) + timedelta(seconds=chance.uniform(0, 6))),
            lines=lines,
        )


def number_of(place: int) -> str:
    """Returns an order's number; no other text in a document looks like one."""
    return f"CHAOS{place:06d}"


class Asking:
    """Requests for orders of the store, mostly for those that are about to be exported."""

    def __init__(self, name: str, store: Store) -> None:
        self._name, self._store = name, store
        self.chance = Random(f"{store.seed} {name}")  # noqa: S311  # made-up data
        self._made = 0

    def ticket(self) -> str:
        """Returns a ticket that is there; some have several requests."""
        return str(self.chance.choice(TICKETS))

    def event(self, source: str | None = None) -> dict[str, Any]:
        """Returns the next request."""
        self._made += 1
        kind = self.chance.choices(tuple(_KINDS), weights=tuple(_KINDS.values()))[0]
        return a_request(
            self._order(),
            kind,
            source=source or self.chance.choice(_SOURCES),
            id=f"{self._name}-{self._made}",
            time=as_utc(datetime.now(UTC)),
            ticket=self.ticket() if self.chance.random() < 0.7 else None,
            note=None if self.chance.random() < 0.06 else f"No. {self._made}",
            **self._details(kind),
        )

    def conflicting(self, event: dict[str, Any]) -> dict[str, Any]:
        """Returns an event with the same key and other data."""
        return {**event, "data": {**event["data"], "note": f"Other, {self.chance.random()}"}}

    def garbage(self) -> bytes:
        """Returns something that nobody can read, each time something else."""
        self._made += 1
        label = f"{self._name}-{self._made}".encode()
        return self.chance.choice(
            (
                b"not JSON {{{ " + label,
                b"\xff\xfe\x00" + label + self.chance.randbytes(50),
                encoded({**a_request(), "id": label.decode(), "type": "order.teleport.requested"}),
                encoded(a_request(kind="teleport", id=label.decode())),
                encoded([label.decode()]),
                encoded({**a_request(), "id": label.decode(), "data": None}),
            )
        )

    def _order(self) -> str:
        if self.chance.random() < 0.02:
            return f"NOBODY-{self._made}"
        # A few of the next wave: orders and tickets travel by different roads.
        return number_of(max(1, self._store.last + WAVE // 4 - self.chance.randrange(4 * WAVE)))

    def _details(self, kind: Kind) -> dict[str, Any]:
        details: dict[str, Any] = {}
        if self.chance.random() < 0.04:
            details["requester"] = "stranger@example.com"
        if kind is Kind.CHANGE_ADDRESS:
            details["addresses"] = self._addresses()
        if kind is Kind.PARTIAL_CANCEL:
            details["lines"] = [{"sku": self.chance.choice(_SKUS), "quantity": 1}]
        return details

    def _addresses(self) -> dict[str, Any]:
        at_home = an_address(line1=f"Neue Straße {self.chance.randrange(1, 200)}")
        abroad = an_address(country="IT", postal_code="00184", city="Roma")
        wanted = self.chance.choices(
            (at_home, {**at_home, "postal_code": "?"}, abroad, an_address()), weights=(70, 10, 10, 10)
        )[0]
        return dict.fromkeys(
            self.chance.choice((("shipping",), ("shipping",), ("billing",), ("shipping", "billing"))), wanted
        )


def token(raw: bytes) -> str:
    """Returns the same text for messages that are one and the same request, and another for any other message."""
    try:
        event = json.loads(raw)
        return json.dumps([event["source"], event["id"], event["type"], event["data"]], sort_keys=True)
    except (ValueError, KeyError, TypeError):
        return raw.hex()
