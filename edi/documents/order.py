"""The content of an EDI document in any syntax: frozen values, read once from the order."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from rules.model import Address


@dataclass(frozen=True, slots=True)
class Line:
    """One article ordered; `quantity` in pieces, `unit_price` in the currency of the order."""

    line_no: int
    sku: str
    description: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class OrderDocument:
    """One order as the warehouse receives it; `placed_at` is aware (UTC), `currency` an ISO 4217 code."""

    number: str
    placed_at: datetime
    currency: str
    shipping: Address
    billing: Address
    lines: tuple[Line, ...]


class Message(NamedTuple):
    """One rendered order: its segments between the header and trailer that number it, and how many they are.

    A tuple for the reason that a draft is one (`edi.drafts`).
    """

    body: str
    segments: int


class CannotRender(Exception):
    """One order does not fit its document; the message says what was found and what is allowed."""
