"""The values that the rules work on: frozen, created at the edge, never changed in place."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """The state of an order in the store's back office."""

    PRE_ORDER = "pre_order"
    VALIDATED = "validated"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"

    @property
    def is_closed(self) -> bool:
        """True for an abandoned pre-order and for a cancelled validated order."""
        return self in (Status.ABANDONED, Status.CANCELLED)


class Edi(StrEnum):
    """Whether an order has been sent to the warehouse; `claimed`: an interchange holds it, and its outcome is open."""

    NOT_SENT = "not_sent"
    CLAIMED = "claimed"
    SENT = "sent"


class Kind(StrEnum):
    """What the helpdesk asks for."""

    CANCEL = "cancel"
    CHANGE_ADDRESS = "change_address"
    CHANGE_ITEMS = "change_items"
    CHANGE_PAYMENT = "change_payment"
    PARTIAL_CANCEL = "partial_cancel"


class Outcome(StrEnum):
    """How a request ends; only `deferred` is not final, because the request waits."""

    APPLIED = "applied"
    PARTLY_APPLIED = "partly_applied"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    ESCALATED = "escalated"
    DEFERRED = "deferred"


class Reason(StrEnum):
    """Why a request ended as it did."""

    REQUESTER_IS_NOT_THE_CUSTOMER = "requester_is_not_the_customer"
    ALREADY_CLOSED = "already_closed"
    ORDER_IS_CLOSED = "order_is_closed"
    EDI_ALREADY_SENT = "edi_already_sent"
    EDI_IN_FLIGHT = "edi_in_flight"
    PARTIAL_CANCELLATION = "partial_cancellation"
    ITEMS_ARE_FIXED = "items_are_fixed"
    PAYMENT_IS_CHANGED_IN_STORE = "payment_is_changed_in_store"
    ORDER_IS_ALREADY_CHARGED = "order_is_already_charged"
    PRE_ORDER_ABANDONED = "pre_order_abandoned"
    NOTE_REQUIRED = "note_required"
    ORDER_CANCELLED = "order_cancelled"
    BILLING_IS_INVOICED = "billing_is_invoiced"
    INVALID_ADDRESS = "invalid_address"
    ADDRESS_IS_UNCHANGED = "address_is_unchanged"
    SUPERSEDED_BY_NEWER_REQUEST = "superseded_by_newer_request"
    COUNTRY_CHANGE_AFTER_CHARGE = "country_change_after_charge"
    SHIPPING_ADDRESS_CHANGED = "shipping_address_changed"
    BILLING_ADDRESS_CHANGED = "billing_address_changed"


class ParkedReason(StrEnum):
    """Why a request was set aside undecided, for a person to look at and reprocess."""

    UNKNOWN_ORDER = "unknown_order"
    FAILED_REPEATEDLY = "failed_repeatedly"


class Effect(StrEnum):
    """What a decision triggers after its commit, in this order."""

    RESTOCK = "restock"
    NOTIFY = "notify"


class AddressRole(StrEnum):
    """Which of an order's two addresses."""

    SHIPPING = "shipping"
    BILLING = "billing"


class Problem(StrEnum):
    """Why a warehouse's document cannot hold a part of an address."""

    MISSING = "missing"
    CHARACTERS = "characters"
    TOO_LONG = "too_long"
    TOO_SHORT = "too_short"


@dataclass(frozen=True, slots=True)
class AddressFault:
    """A part of an address that the order's document cannot hold; `limit`, in characters, is set for lengths only.

    `part` is a field of `Address`, or `street` for its two lines together. Nothing of the address is quoted.
    """

    role: AddressRole
    part: str
    problem: Problem
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address; `country` is an ISO 3166-1 alpha-2 code."""

    name: str
    line1: str
    city: str
    country: str
    line2: str | None = None
    postal_code: str | None = None
    region: str | None = None
    phone: str | None = None
    company: str | None = None


@dataclass(frozen=True, slots=True)
class OrderAddress:
    """An address of an order, and when the customer asked for it (None for the address that the order came with)."""

    address: Address
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """The part of an order that the rules need."""

    status: Status
    edi: Edi
    customer_email: str
    shipping: OrderAddress
    billing: OrderAddress


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """What was asked; `asked_at` is when the customer asked, `shipping` and `billing` the addresses wanted."""

    kind: Kind
    asked_at: datetime
    requester: str | None = None
    note: str | None = None
    shipping: Address | None = None
    billing: Address | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on one request: outcome, reasons, the order afterwards, and the effects.

    With the reason `invalid_address`, `faults` are the parts that the order's warehouse document cannot hold.
    """

    outcome: Outcome
    reasons: tuple[Reason, ...]
    order: Order
    effects: tuple[Effect, ...]
    faults: tuple[AddressFault, ...] = ()
