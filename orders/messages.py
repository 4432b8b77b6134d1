"""What comes in, parsed at the edge: change requests (CloudEvents 1.0, structured JSON) and orders (NDJSON)."""

import hashlib
import json
import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from configuration import wording
from rules import model

MAX_MESSAGE_BYTES = 256 * 1024
# An order of ten thousand lines has about a sixteenth of that.
MAX_ORDER_BYTES = 16 * 1024 * 1024

# How far a sender's clock may be ahead of ours.
_MOST_AHEAD = timedelta(minutes=5)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_M = TypeVar("_M", bound=BaseModel)


class Unreadable(StrEnum):
    """Why a message became a dead letter."""

    NOT_JSON = "not_json"
    INVALID_MESSAGE = "invalid_message"
    TOO_LARGE = "too_large"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"


class UnreadableMessage(Exception):
    """A message that cannot be taken: `reason` for programs, the text for people. It quotes no value."""

    def __init__(self, reason: Unreadable, explanation: str) -> None:
        super().__init__(explanation)
        self.reason = reason


def _no_control_characters(text: str) -> str:
    if _CONTROL_CHARACTER.search(text):
        raise ValueError("must not contain control characters")
    return text


def _no_white_space(text: str) -> str:
    if len(text.split()) != 1 or text != text.strip():
        raise ValueError("must not contain white space")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _no_white_space_around(text: str) -> str:
    if text != text.strip():
        raise ValueError("must not begin or end with white space")
    return text


def _country_code(text: str) -> str:
    if not (len(text) == 2 and text.isascii() and text.isalpha()):
        raise ValueError("must be a two-letter country code (ISO 3166-1 alpha-2)")
    return text.upper()


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the NUL character; PostgreSQL cannot store it")
    return text


def _text_of_a_moment(value: Any) -> Any:
    # Pydantic would take "1700000000" for the seconds since 1970, and we cannot know whether its sender meant that.
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d", value):
        raise ValueError("must be a moment such as 2026-11-23T09:00:00Z")
    return value


def _in_this_age(moment: datetime) -> datetime:
    if not 2000 <= moment.year < 2100:
        raise ValueError("must lie between the years 2000 and 2099")
    return moment.astimezone(UTC)


def _nothing_if_empty(value: Any) -> Any:
    return None if value == {} else value


_Plain = AfterValidator(_no_control_characters)
Number = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_no_white_space), _Plain]
# An order's number as the sender writes it; which order is meant is looked up (`database.order_numbers`).
WrittenNumber = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_not_blank), _Plain]
Key = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_no_white_space_around), _Plain]
Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=256), _Plain]
RequiredLine = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256), _Plain]
FreeText = Annotated[str, AfterValidator(_no_nul)]
Moment = Annotated[
    # Not strict itself: behind a validator of ours it would want a datetime, where JSON has but text.
    AwareDatetime,
    Field(strict=False),
    BeforeValidator(_text_of_a_moment),
    AfterValidator(_in_this_age),
]
Quantity = Annotated[int, Field(ge=1, le=2_147_483_647)]
Price = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$")]


class _Model(BaseModel):
    # Strict: a number for a text, or a text for a number, is the sender's mistake and not ours to guess at.
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Address(_Model):
    """A postal address; an unknown field is an error here, for with half an address a parcel is lost."""

    model_config = ConfigDict(extra="forbid")

    name: RequiredLine
    line1: Line
    city: Line
    country: Annotated[str, AfterValidator(_country_code)]
    line2: Line | None = None
    postal_code: Line | None = None
    region: Line | None = None
    phone: Line | None = None
    company: Line | None = None

    def to_rules(self) -> model.Address:
        """Returns the rules' frozen value."""
        return model.Address(**{field.name: getattr(self, field.name) for field in fields(model.Address)})


OptionalAddress = Annotated[Address | None, BeforeValidator(_nothing_if_empty)]


class Addresses(_Model):
    """The addresses that a change_address request wants; an empty object is the same as none."""

    model_config = ConfigDict(extra="forbid")

    shipping: OptionalAddress = None
    billing: OptionalAddress = None


_NO_ADDRESSES = Addresses()


class RequestedLine(_Model):
    """One line that a partial_cancel request names."""

    model_config = ConfigDict(extra="allow")

    sku: Key
    quantity: Quantity


class ChangeData(_Model):
    """The `data` of a change request; what we do not know in it is kept, for it makes the data other data."""

    model_config = ConfigDict(extra="allow")

    order: WrittenNumber
    kind: model.Kind
    ticket: Key | None = None
    note: FreeText | None = None
    requester: FreeText | None = None
    # What the customer reads, as a BCP 47 tag; what is none, however long, is no reason to refuse a request.
    language: FreeText | None = None
    addresses: Addresses | None = None
    lines: list[RequestedLine] | None = None

    @model_validator(mode="after")
    def _an_address_change_carries_an_address(self) -> Self:
        if self.kind is model.Kind.CHANGE_ADDRESS and not (
            self.addresses and (self.addresses.shipping or self.addresses.billing)
        ):
            raise ValueError("a change_address needs `addresses` with `shipping` and/or `billing`")
        return self


class ChangeMessage(_Model):
    """One change request as it travels: a CloudEvent of type `order.change.requested`."""

    specversion: Literal["1.0"]
    type: Literal["order.change.requested"]
    source: Key
    id: Key
    time: Moment
    data: ChangeData

    @property
    def key(self) -> tuple[str, str]:
        """The idempotency key, by which the request is known for ever."""
        return self.source, self.id

    def data_sha256(self) -> str:
        """Returns a hash that is the same for the same `data`, however it was written down."""
        return hashlib.sha256(
            json.dumps(self.data.model_dump(mode="json", exclude_none=True), sort_keys=True).encode()
        ).hexdigest()

    def asked_at(self, received_at: datetime | None) -> datetime:
        """Returns when the customer asked: `time`, or the receipt where `time` is more than five minutes ahead of it.

        Without a moment of receipt it is `time`.
        """
        # Prevents: a clock or a template gone wrong that makes all later changes of the address older than this one.
        is_ahead = received_at is not None and self.time - received_at > _MOST_AHEAD
        return received_at if received_at is not None and is_ahead else self.time

    def to_rules(self, received_at: datetime | None = None) -> model.ChangeRequest:
        """Returns the rules' frozen value, for a request that was received then."""
        wanted = self.data.addresses or _NO_ADDRESSES
        return model.ChangeRequest(
            kind=self.data.kind,
            asked_at=self.asked_at(received_at),
            requester=self.data.requester,
            note=self.data.note,
            shipping=wanted.shipping.to_rules() if wanted.shipping else None,
            billing=wanted.billing.to_rules() if wanted.billing else None,
        )


class Customer(_Model):
    """Who placed an order."""

    name: RequiredLine
    email: RequiredLine


class OrderLine(_Model):
    """One line of an order; `unit_price` is a decimal as text."""

    model_config = ConfigDict(extra="forbid")

    sku: Key
    description: Line
    quantity: Quantity
    unit_price: Price

    @property
    def price(self) -> Decimal:
        """The unit price as a number."""
        return Decimal(self.unit_price)


class OrderMessage(_Model):
    """One order as the store hands it over."""

    model_config = ConfigDict(extra="forbid")

    number: Number
    status: Literal["pre_order", "validated"]
    placed_at: Moment
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    warehouse: RequiredLine
    customer: Customer
    shipping: Address
    billing: Address
    lines: Annotated[list[OrderLine], Field(min_length=1)]
    hold_until: Moment | None = None


def parse_change(raw: bytes) -> ChangeMessage:
    """Parses one change request. Raises UnreadableMessage, with the reason that its dead letter gets."""
    _check_size(raw, MAX_MESSAGE_BYTES)
    return _parse(ChangeMessage, raw)


def data_of(raw: bytes) -> dict[str, Any]:
    """Returns the `data` of an accepted request, which was parsed before, as it came."""
    data: dict[str, Any] = json.loads(raw)["data"]
    return data


def parse_order(raw: bytes) -> OrderMessage:
    """Parses one order line. Raises UnreadableMessage."""
    _check_size(raw, MAX_ORDER_BYTES)
    return _parse(OrderMessage, raw)


def _check_size(raw: bytes, at_most: int) -> None:
    if len(raw) > at_most:
        raise UnreadableMessage(
            Unreadable.TOO_LARGE, f"the message has {len(raw):,} bytes; at most {at_most:,} are taken"
        )


def _parse(kind: type[_M], raw: bytes) -> _M:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as invalid:
        raise unreadable(invalid) from None


def unreadable(invalid: ValidationError) -> UnreadableMessage:
    """Returns the error to raise, whose reason says whether it is no JSON at all or JSON of another shape."""
    is_json = all(error["type"] != "json_invalid" for error in invalid.errors(include_input=False))
    return UnreadableMessage(Unreadable.INVALID_MESSAGE if is_json else Unreadable.NOT_JSON, explain(invalid))


def explain(invalid: ValidationError, *, at_most: int = 3) -> str:
    """Says in one line which fields are wrong and why. It quotes no value: values may be personal data."""
    errors = invalid.errors(include_input=False, include_url=False)
    faults = [f"{'.'.join(map(_field, e['loc'])) or 'message'}: {_describe(e)}" for e in errors]
    more = f" (and {len(faults) - at_most} more)" if len(faults) > at_most else ""
    return "; ".join(faults[:at_most]) + more


def _field(part: int | str) -> str:
    # A field that we do not know was named by the sender: perhaps by a customer's e-mail address, perhaps at length.
    return str(part) if re.fullmatch(r"\w{1,40}", str(part), re.ASCII) else "(unnamed)"


def _describe(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return "is not a field that we know"
    return "expected a JSON object" if error["type"] in ("model_type", "dict_type") else wording(error)
