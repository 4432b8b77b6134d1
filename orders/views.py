"""What people and programs read of orders and requests: the one shape of the commands, HTTP and openapi.json.

`to_json` writes a view as the contract gives it.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from database.tables import EffectState, NotificationState, RequestState
from desks.notices import Visibility
from rules.model import Effect, Kind, Outcome, ParkedReason, Reason

# A deferred request is not decided yet.
FinalOutcome = Literal[Outcome.APPLIED, Outcome.PARTLY_APPLIED, Outcome.UNCHANGED, Outcome.REFUSED, Outcome.ESCALATED]
AnyReason = Reason | ParkedReason
# ISO 8601 in UTC.
Moment = Annotated[str, StringConstraints(pattern="Z$"), Field(json_schema_extra={"format": "date-time"})]

_OMITTED_IF_NONE = {"omitted_if_none": True}


def as_utc(moment: datetime | None) -> str | None:
    """Writes a moment as ISO 8601 in UTC, ending in Z."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def to_json(view: Any) -> dict[str, Any]:
    """Returns a view as JSON has it: every field, except those that are only there where they say something."""
    shown = {one: getattr(view, one.name) for one in fields(view)}
    return {
        one.name: _value(value)
        for one, value in shown.items()
        if value is not None or not one.metadata.get("omitted_if_none")
    }


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(one) for one in value]
    return to_json(value) if is_dataclass(value) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    # The documentation of a field is its description in openapi.json.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class RequestKey:
    """By what a request is known."""

    source: str
    id: str


@dataclass(frozen=True, slots=True)
class LineShown:
    """One line of an order; `unit_price` is a decimal as text."""

    sku: str
    description: str
    quantity: int
    unit_price: str


@dataclass(frozen=True, slots=True)
class InterchangeOfOrder:
    """The interchange that holds an order."""

    partner: str
    control_number: int
    state: str
    filename: str
    sent_at: str | None


@dataclass(frozen=True, slots=True)
class ChangelogEntryShown:
    """One entry of an order's changelog, with the request that caused it."""

    at: str | None
    actor: str
    action: str
    request: RequestKey | None
    note: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderShown:
    """An order with its lines, interchange and changelog: `orders show --json`.

    `export_error` says why no document can be made of it, `held_until` and `held_for` until when and for which reasons
    an escalation keeps it from export.
    """

    number: str
    status: str
    edi: str
    version: int
    customer: dict[str, Any]
    shipping: dict[str, str]
    billing: dict[str, str]
    lines: list[LineShown]
    placed_at: str | None
    warehouse: str
    interchange: InterchangeOfOrder | None
    changelog: list[ChangelogEntryShown]
    export_error: str | None = field(default=None, metadata=_OMITTED_IF_NONE)
    held_until: str | None = field(default=None, metadata=_OMITTED_IF_NONE)
    held_for: list[str] | None = field(default=None, metadata=_OMITTED_IF_NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedOrder:
    """An order in a list: `orders list --json`."""

    number: str
    status: str
    edi: str
    version: int
    placed_at: str | None
    warehouse: str
    hold_until: str | None
    held_until: str | None
    export_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectShown(_Described):
    """What follows from a decision; `dead` means that its tries are used up and that a person must look."""

    kind: Effect
    state: EffectState
    done_at: Moment | None
    error: str | None = field(default=None, metadata=_OMITTED_IF_NONE)
    """Why the last try failed; only while it is not done and one has."""
    attempts: int | None = field(default=None, metadata=_OMITTED_IF_NONE)
    """How many tries have failed; only beside `error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationShown(_Described):
    """The answer or note about a decision: to whom, in which words, and whether it was delivered."""

    channel: Literal["ticket", "mail", "log"]
    visibility: Visibility
    subject: str
    body: str
    state: NotificationState


@dataclass(frozen=True, slots=True, kw_only=True)
class _RequestSummary(_Described):
    source: str
    id: str
    order: str
    kind: Kind
    ticket: str | None
    state: RequestState
    outcome: FinalOutcome | None
    reasons: list[AnyReason]
    received_at: Moment
    decided_at: Moment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShown(_RequestSummary):
    """A request with its decision, what followed from it, and its answer: `requests show --json`."""

    advice: str | None
    """What the customer may be answered."""
    error: str | None
    """Why it is parked, or what the last try failed of."""
    effects: list[EffectShown]
    notification: NotificationShown | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRequest(_RequestSummary):
    """A request in a list, with only those effects that are dead: `requests list --json`."""

    dead_effects: list[Effect]
    error: str | None
    dead_errors: dict[str, str] | None = field(default=None, metadata=_OMITTED_IF_NONE)
    """Why each dead effect failed the last time."""
