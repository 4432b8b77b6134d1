"""The decision table: the back-office guide as data. Rows are tried from the top, and the first match decides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rules.addresses import address_problems, same_address
from rules.mailboxes import same_mailbox
from rules.model import (
    Address,
    AddressFault,
    AddressRole,
    ChangeRequest,
    Edi,
    Effect,
    Kind,
    Order,
    OrderAddress,
    Outcome,
    Reason,
    Status,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: if `matches` is true, the request ends with `outcome` and `reason`, and the order becomes `becomes`."""

    number: str
    when: str
    outcome: Outcome
    reason: Reason
    matches: Callable[[Order, ChangeRequest], bool]
    becomes: Status | None = None
    effects: tuple[Effect, ...] = (Effect.NOTIFY,)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One address that a request wants in place of the order's current one.

    `faults` are the parts that the order's warehouse document could not hold.
    """

    role: AddressRole
    wanted: Address
    current: OrderAddress
    order: Order
    request: ChangeRequest
    faults: Sequence[AddressFault] = ()


@dataclass(frozen=True, slots=True)
class AddressRule:
    """One row of the part of the table that is tried for each address."""

    number: str
    when: str
    outcome: Outcome
    reason: Callable[[AddressRole], Reason]
    matches: Callable[[Proposal], bool]


RULES: tuple[Rule, ...] = (
    Rule(
        "1",
        "the requester is given and is not the order's customer",
        Outcome.ESCALATED,
        Reason.REQUESTER_IS_NOT_THE_CUSTOMER,
        lambda order, request: (
            request.requester is not None and not same_mailbox(request.requester, order.customer_email)
        ),
    ),
    Rule(
        "2a",
        "cancel of an order that is abandoned or cancelled",
        Outcome.UNCHANGED,
        Reason.ALREADY_CLOSED,
        lambda order, request: order.status.is_closed and request.kind is Kind.CANCEL,
    ),
    Rule(
        "2b",
        "anything else for an order that is abandoned or cancelled",
        Outcome.REFUSED,
        Reason.ORDER_IS_CLOSED,
        lambda order, _: order.status.is_closed,
    ),
    Rule(
        "3",
        "the order has been sent to the warehouse (EDI SENT)",
        Outcome.REFUSED,
        Reason.EDI_ALREADY_SENT,
        lambda order, _: order.edi is Edi.SENT,
    ),
    Rule(
        "4",
        "an interchange holds the order and its outcome is open: the request waits",
        Outcome.DEFERRED,
        Reason.EDI_IN_FLIGHT,
        lambda order, _: order.edi is Edi.CLAIMED,
        effects=(),
    ),
    Rule(
        "5",
        "partial_cancel",
        Outcome.ESCALATED,
        Reason.PARTIAL_CANCELLATION,
        lambda _, request: request.kind is Kind.PARTIAL_CANCEL,
    ),
    Rule(
        "6",
        "change_items",
        Outcome.REFUSED,
        Reason.ITEMS_ARE_FIXED,
        lambda _, request: request.kind is Kind.CHANGE_ITEMS,
    ),
    Rule(
        "7a",
        "change_payment on a pre-order",
        Outcome.REFUSED,
        Reason.PAYMENT_IS_CHANGED_IN_STORE,
        lambda order, request: request.kind is Kind.CHANGE_PAYMENT and order.status is Status.PRE_ORDER,
    ),
    Rule(
        "7b",
        "change_payment on a validated order",
        Outcome.REFUSED,
        Reason.ORDER_IS_ALREADY_CHARGED,
        lambda _, request: request.kind is Kind.CHANGE_PAYMENT,
    ),
    Rule(
        "8a",
        "cancel of a pre-order",
        Outcome.APPLIED,
        Reason.PRE_ORDER_ABANDONED,
        lambda order, request: request.kind is Kind.CANCEL and order.status is Status.PRE_ORDER,
        becomes=Status.ABANDONED,
    ),
    Rule(
        "8b",
        "cancel of a validated order without a note",
        Outcome.REFUSED,
        Reason.NOTE_REQUIRED,
        lambda _, request: request.kind is Kind.CANCEL and not (request.note or "").strip(),
    ),
    Rule(
        "8c",
        "cancel of a validated order",
        Outcome.APPLIED,
        Reason.ORDER_CANCELLED,
        lambda _, request: request.kind is Kind.CANCEL,
        becomes=Status.CANCELLED,
        effects=(Effect.RESTOCK, Effect.NOTIFY),
    ),
)

_CHANGED = {
    AddressRole.SHIPPING: Reason.SHIPPING_ADDRESS_CHANGED,
    AddressRole.BILLING: Reason.BILLING_ADDRESS_CHANGED,
}

ADDRESS_RULES: tuple[AddressRule, ...] = (
    AddressRule(
        "9a",
        "change_address: billing address of a validated order",
        Outcome.REFUSED,
        lambda _: Reason.BILLING_IS_INVOICED,
        lambda p: p.role is AddressRole.BILLING and p.order.status is Status.VALIDATED,
    ),
    AddressRule(
        "9b",
        "change_address: not a valid postal address of its country, or it does not fit the warehouse's document",
        Outcome.REFUSED,
        lambda _: Reason.INVALID_ADDRESS,
        lambda p: bool(address_problems(p.wanted) or p.faults),
    ),
    AddressRule(
        "9c",
        "change_address: the same as today's",
        Outcome.UNCHANGED,
        lambda _: Reason.ADDRESS_IS_UNCHANGED,
        lambda p: same_address(p.wanted, p.current.address),
    ),
    AddressRule(
        "9d",
        "change_address: asked for before the change last applied to this address",
        Outcome.REFUSED,
        lambda _: Reason.SUPERSEDED_BY_NEWER_REQUEST,
        lambda p: p.current.asked_at is not None and p.request.asked_at < p.current.asked_at,
    ),
    AddressRule(
        "9e",
        "change_address: shipping address of a validated order, to another country",
        Outcome.ESCALATED,
        lambda _: Reason.COUNTRY_CHANGE_AFTER_CHARGE,
        lambda p: (
            p.role is AddressRole.SHIPPING
            and p.order.status is Status.VALIDATED
            and p.wanted.country != p.current.address.country
        ),
    ),
    AddressRule(
        "9f",
        "change_address: any other shipping or billing address",
        Outcome.APPLIED,
        _CHANGED.__getitem__,
        lambda _: True,
    ),
)

# The reasons for which a colleague must decide.
ESCALATING = frozenset(
    [rule.reason for rule in RULES if rule.outcome is Outcome.ESCALATED]
    + [rule.reason(role) for rule in ADDRESS_RULES if rule.outcome is Outcome.ESCALATED for role in AddressRole]
)
