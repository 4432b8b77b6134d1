"""Made-up orders and requests of the contract's shape. The same seed gives the same ones."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orders.views import as_utc
from rules.model import Kind

_NAMES = (
    "Zoë O'Brien-Müller",
    "Jean d'Arc",
    "Łukasz Wójcik",
    "Giulia Conti",
    "Jane Doe",
    "Ana Sofía Pérez",
    "Per Åberg",
)
# Country, postal codes and cities that go together well enough for a parcel.
_PLACES = (
    ("DE", "50667", "Köln", "Hofstraße"),
    ("GB", "SW1A 2AA", "London", "Downing Street"),
    ("FR", "75008", "Paris", "Rue de l'Élysée"),
    ("IT", "00184", "Roma", "Via Nazionale"),
    ("NL", "1012 JS", "Amsterdam", "Dam"),
    ("PL", "90-926", "Łódź", "Piotrkowska"),
)
_SKUS = tuple(f"MUG-{number:03d}" for number in range(40))
_KINDS = {
    Kind.CANCEL: 45,
    Kind.CHANGE_ADDRESS: 35,
    Kind.CHANGE_ITEMS: 7,
    Kind.CHANGE_PAYMENT: 7,
    Kind.PARTIAL_CANCEL: 6,
}
GARBAGE = (
    b"not JSON at all {{{",
    b'{"specversion": "1.0", "type": "order.change.requested", "data": {"kind": "teleport"}}',
)


@dataclass(frozen=True, slots=True)
class Made:
    """What the demo works on: orders as the store hands them over, and messages in the sequence of their publishing."""

    orders: list[dict[str, Any]]
    messages: list[bytes]
    requests: int


def make(*, orders: int, requests: int, seed: int, now: datetime, spread: timedelta) -> Made:
    """Makes orders that become due for export over the next `spread`, and requests to be published over the same time.

    Among the requests are several for one order, duplicates, strangers' requests and two garbage messages.
    """
    chance = random.Random(seed)  # noqa: S311  # made-up data, nothing secret
    made_orders = [_order(chance, number, now, spread) for number in range(1, orders + 1)]
    made_requests = [_request(chance, number, chance.choice(made_orders), now) for number in range(1, requests + 1)]
    messages = [json.dumps(request, ensure_ascii=False).encode() for request in made_requests]
    duplicates = chance.sample(messages, k=len(messages) // 20)
    for message in (*duplicates, *GARBAGE):
        messages.insert(chance.randrange(len(messages) + 1), message)
    return Made(made_orders, messages, requests)


def _order(chance: random.Random, number: int, now: datetime, spread: timedelta) -> dict[str, Any]:
    name, address = chance.choice(_NAMES), _address(chance)
    return {
        "number": f"SO-{number:05d}",
        "status": chance.choices(("validated", "pre_order"), weights=(85, 15))[0],
        "placed_at": as_utc(now - timedelta(minutes=chance.randrange(60, 3000))),
        "currency": "EUR",
        "warehouse": "MAIN",
        "hold_until": as_utc(now + spread * chance.random()),
        "customer": {"name": name, "email": f"customer{number}@example.com"},
        "shipping": {**address, "name": name},
        "billing": {**address, "name": name},
        "lines": list(_lines(chance)),
    }


def _lines(chance: random.Random) -> Iterator[dict[str, Any]]:
    for sku in chance.sample(_SKUS, k=chance.randrange(1, 6)):
        price = f"{chance.randrange(200, 2500) / 100:.2f}"
        yield {"sku": sku, "description": f"Mug no. {sku[4:]}", "quantity": chance.randrange(1, 9), "unit_price": price}


def _address(chance: random.Random) -> dict[str, Any]:
    country, postal_code, city, street = chance.choice(_PLACES)
    return {
        "name": chance.choice(_NAMES),
        "line1": f"{street} {chance.randrange(1, 200)}",
        "postal_code": postal_code,
        "city": city,
        "country": country,
    }


def _request(chance: random.Random, number: int, order: dict[str, Any], now: datetime) -> dict[str, Any]:
    kind = chance.choices(tuple(_KINDS), weights=tuple(_KINDS.values()))[0]
    stranger, without_note = chance.random() < 0.04, chance.random() < 0.06
    data: dict[str, Any] = {
        "order": order["number"],
        "kind": kind,
        "ticket": str(80000 + number),
        "requester": "stranger@example.com" if stranger else order["customer"]["email"],
    }
    if not without_note:
        data["note"] = chance.choice(("Ordered twice", "Changed my mind", "Moving house", "Wrong size"))
    if kind is Kind.CHANGE_ADDRESS:
        data["addresses"] = _wanted(chance, order)
    if kind is Kind.PARTIAL_CANCEL:
        data["lines"] = [{"sku": order["lines"][0]["sku"], "quantity": 1}]
    return {
        "specversion": "1.0",
        "type": "order.change.requested",
        "source": "zendesk:demo",
        "id": f"{80000 + number}-1",
        "time": as_utc(now + timedelta(milliseconds=number)),
        "data": data,
    }


def _wanted(chance: random.Random, order: dict[str, Any]) -> dict[str, Any]:
    """Mostly a new street in the same country; now and then a wrong postal code, another country, or no change."""
    at_home = {**order["shipping"], "line1": f"New Street {chance.randrange(1, 200)}"}
    wanted = chance.choices(
        (at_home, {**at_home, "postal_code": "?"}, _address(chance), order["shipping"]), weights=(70, 10, 12, 8)
    )[0]
    roles = chance.choice((("shipping",), ("shipping",), ("billing",), ("shipping", "billing")))
    return dict.fromkeys(roles, wanted)
