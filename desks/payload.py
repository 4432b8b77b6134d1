"""The payload that a desk's admin pastes: one format for all desks that fill in a template.

Every field is text and may be empty, because a template turns a blank field into an empty text.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from configuration import describe_problems
from desks.loop_guard import is_own_comment
from desks.parsing import parse_json
from rules.mailboxes import BLANKS

ROLES = ("shipping", "billing")
ADDRESS_FIELDS = ("name", "company", "line1", "line2", "postal_code", "city", "region", "country", "phone")
# The fields of a form, by our names. `fields` in the desks file has the desk's own names.
FIELDS = ("order", "kind", "note", *(f"{role}_{field}" for role in ROLES for field in ADDRESS_FIELDS))


class Unusable(Exception):
    """A delivery from the right desk that is no change request; the message says what was expected and quotes no value.

    `form` is as much as could be read, in the format of our payload, for a note on its ticket.
    """

    def __init__(self, message: str, *, is_json: bool = True, form: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.is_json = is_json
        self.form = form


class Ignored(Exception):
    """A delivery that asks for nothing, such as one of our own answers that came back, or an unrelated event."""


def _text(value: Any) -> Any:
    # An unquoted number in a template is still an id.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return "" if value is None else value


Text = Annotated[str, BeforeValidator(_text)]


def _without_blanks(text: str) -> str:
    return text.strip(BLANKS)


# Stripped as rule 1 compares e-mail addresses: any other space at the end makes a different address.
Mailbox = Annotated[Text, StringConstraints(strip_whitespace=False), AfterValidator(_without_blanks)]


class AddressFields(BaseModel):
    """An address in a template; an empty field was not filled in."""

    model_config = ConfigDict(strict=True, extra="forbid", str_strip_whitespace=True)

    name: Text = ""
    company: Text = ""
    line1: Text = ""
    line2: Text = ""
    postal_code: Text = ""
    city: Text = ""
    region: Text = ""
    country: Text = ""
    phone: Text = ""


class AddressesFields(BaseModel):
    """The addresses in a form."""

    model_config = ConfigDict(strict=True, extra="forbid")

    shipping: AddressFields = AddressFields()
    billing: AddressFields = AddressFields()


class RequestedLineFields(BaseModel):
    """One line that a partial cancellation names."""

    model_config = ConfigDict(strict=True, extra="ignore")

    sku: Text
    quantity: int


class TicketPayload(BaseModel):
    """One change request as a desk's template sends it.

    `requester` is required, but may be empty (then a person decides): without it, a stranger could cancel somebody's
    order from a ticket of their own. `author` is who fired the webhook, and `comment` is what they wrote on the ticket.
    `id` identifies the request if the desk has one; otherwise the content does. So `time` belongs in every template
    that knows when the customer asked, and in none whose desk changes it while nobody asks again.
    """

    model_config = ConfigDict(strict=True, extra="ignore", str_strip_whitespace=True)

    ticket: Annotated[Text, Field(min_length=1)]
    order: Annotated[Text, Field(min_length=1)]
    kind: Annotated[Text, Field(min_length=1)]
    requester: Mailbox
    note: Text = ""
    language: Text = ""
    time: Text = ""
    id: Text = ""
    author: Mailbox = ""
    comment: Text = ""
    addresses: AddressesFields = AddressesFields()
    lines: list[RequestedLineFields] = []

    def data(self) -> dict[str, Any]:
        """Returns the `data` of the change request: the fields that were filled in."""
        plain = {name: getattr(self, name) for name in ("order", "ticket", "note", "language")}
        addresses = {role: _filled(getattr(self.addresses, role).model_dump()) for role in ROLES}
        # The choices of a drop-down are often tags, which the whole helpdesk shares, so they may have a prefix.
        kind = self.kind.lower().removeprefix("countermand_")
        return {
            "kind": kind,
            "requester": self.requester,
            **_filled(plain),
            # A form may also have its address fields filled in when it asks for something else.
            **({"addresses": _filled(addresses)} if kind == "change_address" else {}),
            **({"lines": [line.model_dump() for line in self.lines]} if self.lines else {}),
        }


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def read_json(body: bytes) -> Any:
    """Parses a delivery's body. Raises Unusable."""
    try:
        # Not strict about control characters: a template may not have escaped a customer's line break.
        return parse_json(body, strict=False, object_pairs_hook=_each_once)
    except ValueError as error:
        where = f" ({error.msg} at character {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        raise Unusable(
            f"the body is not JSON{where}; a template must write each text through its desk's JSON filter, "
            "as `countermand desks check` prints it",
            is_json=False,
        ) from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # In a template that does not escape quotes, a customer could type a second `requester` or `order`.
    if len(read := dict(pairs)) < len(pairs):
        raise Unusable("the body has a key twice; a template must write each text through its desk's JSON filter")
    return read


def read_payload(value: Any) -> TicketPayload:
    """Returns the payload in a parsed body. Raises Unusable, and Ignored if the kind is blank.

    Some desks send each field of a form as soon as it is filled in: without a kind, the form asks for nothing.
    """
    if isinstance(value, dict) and "kind" in value and _is_blank(value["kind"]):
        raise Ignored("no change is asked for: the kind is blank")
    try:
        return TicketPayload.model_validate(value)
    except ValidationError as invalid:
        form = value if isinstance(value, dict) else None
        raise Unusable(describe_problems(invalid, keys_in="a JSON object"), form=form) from None


def fields_of(values: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """Returns our fields among a desk's own, which are named `countermand_…` or as in `fields`."""
    return {name: values.get(fields.get(name, f"countermand_{name}")) for name in FIELDS}


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def asks_for_something(values: Mapping[str, Any], fields: Mapping[str, str]) -> bool:
    """Returns whether the kind is filled in among a desk's own fields."""
    return not _is_blank(fields_of(values, fields)["kind"])


def payload_of_fields(values: Mapping[str, Any], fields: Mapping[str, str], **known: Any) -> TicketPayload:
    """Builds a payload from a desk's own fields, named `countermand_…` or as in `fields`, and from the `known` rest.

    Raises Unusable, and Ignored if the field for the kind is blank.
    """
    ours = fields_of(values, fields)
    addresses = {role: {field: ours[f"{role}_{field}"] for field in ADDRESS_FIELDS} for role in ROLES}
    asked = {name: ours[name] for name in ("order", "kind", "note")}
    return read_payload({**known, **asked, "addresses": addresses})


class NamedTicket(BaseModel):
    """Only a ticket, whose form must be read through the desk's API."""

    model_config = ConfigDict(strict=True, extra="forbid", str_strip_whitespace=True)

    ticket: Text


def named_ticket(value: Any) -> str | None:
    """Returns the id in a body that only names a ticket, None for any other body."""
    try:
        return NamedTicket.model_validate(value).ticket
    except ValidationError:
        return None


# The payload of a desk whose tickets are read through its API; `{}` is the desk's placeholder for the id.
TICKET_PAYLOAD = '{{"ticket": "{}"}}'


@dataclass(frozen=True, slots=True)
class Form:
    """The form on a ticket, as read through the desk's API; `changed_at` is the ticket's last change."""

    payload: TicketPayload
    changed_at: datetime | None = None

    @property
    def kind(self) -> str:
        """The kind of change in the request."""
        return str(self.payload.data()["kind"])

    @property
    def key(self) -> str:
        """The id of its request, made from the content without a time and without the language.

        At some desks only the API knows the language, and the same form may have arrived by webhook.
        """
        return business_key(self.payload, _without_language(self.payload.data()))

    def event(self, source: str, request_id: str, noted_at: datetime) -> bytes:
        """Returns the form as a change request of the contract, with a time no later than `noted_at`."""
        asked_at = min(noted_at, self.changed_at) if self.changed_at else noted_at
        return _event(source, request_id, asked_at.isoformat(), self.payload.data())

    def is_asked_by(self, data: Mapping[str, Any]) -> bool:
        """Returns whether a request with these `data` asks for the same; line endings and language do not matter."""
        return bool(_plain(data) == _plain(self.payload.data()))


def _without_language(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "language"}


def _plain(data: Mapping[str, Any]) -> Any:
    def tidied(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: left for name, one in value.items() if (left := tidied(one))}
        if isinstance(value, list):
            return [tidied(one) for one in value]
        return "\n".join(value.split("\r\n")).strip() if isinstance(value, str) else value

    return tidied(_without_language(data))


def change_event(source: str, payload: TicketPayload, received_at: datetime, *, own: Sequence[str] = ()) -> bytes:
    """Returns the payload as a change request of the contract. Raises Ignored for our own answers."""
    if is_own_comment(payload.author, payload.comment, customer=payload.requester, own=own):
        raise Ignored("an answer of our own that came back")
    data = payload.data()
    time = _with_a_zone(payload.time) or received_at.isoformat()
    return _event(source, payload.id or business_key(payload, data), time, data)


def _event(source: str, request_id: str, time: str, data: Mapping[str, Any]) -> bytes:
    event = {
        "specversion": "1.0",
        "type": "order.change.requested",
        "source": source,
        "id": request_id,
        "time": time,
        "data": data,
    }
    return json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _with_a_zone(time: str) -> str:
    """Adds UTC to a time without a zone; leaves invalid times for the schema to report."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return time
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


_ORDER_TO_SHOW = re.compile(r"[\w#./-]{1,64}", re.ASCII)


def business_key(payload: TicketPayload, data: Mapping[str, Any]) -> str:
    """Returns the id of a delivery that has none: ticket, kind, order, and a hash of the whole content.

    The hash covers `time`, so that asking again later is a new request. An order that does not look like one is only in
    the hash, because ids are logged and somebody may have typed an e-mail address.
    """
    content = json.dumps([data, payload.time], sort_keys=True).encode()
    order = [payload.order] if _ORDER_TO_SHOW.fullmatch(payload.order) else []
    return "-".join([payload.ticket, data["kind"], *order, hashlib.sha256(content).hexdigest()[:16]])


def payload_template(expressions: Mapping[str, str], field: Callable[[str], str], fields: Mapping[str, str]) -> str:
    """Returns the payload for a desk's admin page.

    `expressions` are the desk's own values (ticket, requester, …) as written in JSON, with quotes. `field` writes a
    custom field of the desk in JSON. `fields` maps our fields to the desk's; if it is empty, all fields are used.
    """
    used = [name for name in FIELDS if name in fields or not fields]
    written = {name: field(fields.get(name, f"<{name}>")) for name in used}
    lines = [f'  "{name}": {expression}' for name, expression in expressions.items()]
    lines += [f'  "{name}": {text}' for name, text in written.items() if name in ("order", "kind", "note")]
    addresses = []
    for role in ROLES:
        inside = [
            f'"{name.removeprefix(f"{role}_")}": {text}' for name, text in written.items() if name.startswith(role)
        ]
        if inside:
            addresses.append(f'    "{role}": {{\n      ' + ",\n      ".join(inside) + "\n    }")
    if addresses:
        lines.append('  "addresses": {\n' + ",\n".join(addresses) + "\n  }")
    return "{\n" + ",\n".join(lines) + "\n}"
