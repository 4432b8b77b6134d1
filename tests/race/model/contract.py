"""The contract's words and its decision table, once more and by themselves: nothing of the product is imported.

Moments are seconds since the beginning of a history.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Key: TypeAlias = tuple[str, str]
AddressFields: TypeAlias = dict[str, str]
# Whether an address is a postal address of its country.
IsValid: TypeAlias = Callable[[AddressFields], bool]

# The reasons that say that an address was changed, and which.
CHANGED = {f"{role}_address_changed": role for role in ("shipping", "billing")}


@dataclass
class Order:
    """One order of the store."""

    message: dict[str, Any]
    status: str
    hold_until: int
    validated_at: int | None
    edi: str = "not_sent"
    addresses: dict[str, AddressFields] = field(default_factory=dict)
    # When the customer asked for the address in force.
    asked: dict[str, str] = field(default_factory=dict)
    interchange: "Interchange | None" = None
    changelog: list[dict[str, Any]] = field(default_factory=list)
    # When its last interchange was sent or released.
    freed_at: int | None = None

    def log(self, actor: str, action: str, **more: Any) -> None:
        """Appends an entry to the changelog."""
        self.changelog.append(
            {"actor": actor, "action": action, "request": None, "note": None, "before": None, "after": None, **more}
        )


@dataclass
class Effect:
    """What a decision triggers."""

    kind: str
    due: int
    state: str = "pending"
    attempts: int = 0


@dataclass
class Request:
    """One change request and what became of it."""

    event: dict[str, Any]
    since: int
    due: int
    state: str = "received"
    outcome: str | None = None
    reasons: list[str] = field(default_factory=list)
    attempts: int = 0
    has_error: bool = False
    parked_at: int = 0
    effects: list[Effect] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """What it is known by, for ever."""
        return self.event["source"], self.event["id"]

    @property
    def data(self) -> Any:
        """What is asked for."""
        return self.event["data"]

    @property
    def note(self) -> str | None:
        """The note, unless it is blank."""
        return (self.data.get("note") or "").strip() or None


@dataclass
class Partner:
    """One receiver of interchanges."""

    name: str
    warehouses: Collection[str]
    grace: int = 0
    at_once: int = 200
    reuses_numbers: bool = False
    last_number: int = 0
    failures: int = 0
    rests_until: int = 0


@dataclass
class Interchange:
    """One document for one partner. Of each attempt to send it: whether it is known to have delivered nothing."""

    partner: Partner
    number: int
    orders: list[Order]
    claimed_at: int
    lease: int
    state: str = "claimed"
    attempts: list[bool] = field(default_factory=lambda: [False])
    has_error: bool = False
    parked_at: int = 0
    number_is_free: bool = False
    said: set[tuple[str, str]] = field(default_factory=set)
    # The code and reference of each file that answered it.
    read: set[tuple[str, str]] = field(default_factory=set)
    content: bytes | None = None

    def is_held(self, attempt: int) -> bool:
        """True while its outcome is open and nobody has come after this attempt."""
        return self.state == "claimed" and attempt == len(self.attempts)

    def is_clean(self, attempts: int) -> bool:
        """True if none of its first attempts can have delivered it."""
        return all(self.attempts[:attempts])


def decision(order: Order, request: Request, is_valid: IsValid) -> tuple[str, list[str]]:
    """The decision table, from the top."""
    data, pre_order = request.data, order.status == "pre_order"
    kind, requester, email = data["kind"], data.get("requester"), order.message["customer"]["email"]
    if requester is not None and requester.strip().casefold() != email.strip().casefold():
        return "escalated", ["requester_is_not_the_customer"]
    if order.status in ("abandoned", "cancelled"):
        return ("unchanged", ["already_closed"]) if kind == "cancel" else ("refused", ["order_is_closed"])
    if order.edi == "sent":
        return "refused", ["edi_already_sent"]
    if order.edi == "claimed":
        return "deferred", ["edi_in_flight"]
    if kind == "partial_cancel":
        return "escalated", ["partial_cancellation"]
    if kind == "change_items":
        return "refused", ["items_are_fixed"]
    if kind == "change_payment":
        return "refused", ["payment_is_changed_in_store" if pre_order else "order_is_already_charged"]
    if kind == "cancel" and pre_order:
        return "applied", ["pre_order_abandoned"]
    if kind == "cancel":
        return ("applied", ["order_cancelled"]) if request.note else ("refused", ["note_required"])
    wanted = {role: data["addresses"][role] for role in CHANGED.values() if data["addresses"].get(role)}
    answers = [_address(order, role, new, request, is_valid(new)) for role, new in wanted.items()]
    outcomes = {outcome for outcome, _ in answers}
    if "applied" in outcomes:
        together = "applied" if outcomes == {"applied"} else "partly_applied"
    else:
        together = next(one for one in ("escalated", "refused", "unchanged") if one in outcomes)
    return together, [reason for _, reason in answers]


def _address(order: Order, role: str, wanted: AddressFields, request: Request, is_valid: bool) -> tuple[str, str]:
    today, charged = order.addresses[role], order.status == "validated"
    if role == "billing" and charged:
        return "refused", "billing_is_invoiced"
    if not is_valid:
        return "refused", "invalid_address"
    if wanted == today:
        return "unchanged", "address_is_unchanged"
    if request.event["time"] < order.asked.get(role, ""):
        return "refused", "superseded_by_newer_request"
    if role == "shipping" and charged and wanted["country"] != today["country"]:
        return "escalated", "country_change_after_charge"
    return "applied", f"{role}_address_changed"


# All that can come of a request, each as the table names it.
OUTCOMES = {"applied", "partly_applied", "unchanged", "refused", "escalated"}
REASONS = {
    *("requester_is_not_the_customer", "already_closed", "order_is_closed", "edi_already_sent"),
    *("partial_cancellation", "items_are_fixed", "payment_is_changed_in_store", "order_is_already_charged"),
    *("pre_order_abandoned", "note_required", "order_cancelled", "billing_is_invoiced", "invalid_address"),
    *("address_is_unchanged", "superseded_by_newer_request", "country_change_after_charge"),
    *CHANGED,
    *("unknown_order", "failed_repeatedly"),
    *("not_json", "invalid_message", "too_large", "conflicting_duplicate"),
}
