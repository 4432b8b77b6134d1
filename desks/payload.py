"""The payload that a desk's admin pastes in: one flat shape for all desks whose payload is a template of theirs.

Every field is text and may be empty, because a template turns an unfilled field into an empty text.
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
# What a customer or an agent fills in at the desk, by our names; `fields` in the desks file says the desk's own.
FIELDS = ("order", "kind", "note", *(f"{role}_{field}" for role in ROLES for field in ADDRESS_FIELDS))


class Unusable(Exception):
    """A delivery of the right desk that holds no change request; says what was expected and quotes no value.

    `form` is what could be read of it, in the shape of our payload, for a note on its ticket.
    """

    def __init__(self, message: str, *, is_json: bool = True, form: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.is_json = is_json
        self.form = form


class Ignored(Exception):
    """A delivery that asks for nothing: an answer of our own that came back, an event that is none of ours."""


def _text(value: Any) -> Any:
    # An unquoted number in a template is still an id.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return "" if value is None else value


Text = Annotated[str, BeforeValidator(_text)]


def _without_blanks(text: str) -> str:
    return text.strip(BLANKS)


# An e-mail address is compared as rule 1 does: an exotic blank at its end makes it another one.
Mailbox = Annotated[Text, StringConstraints(strip_whitespace=False), AfterValidator(_without_blanks)]


class AddressFields(BaseModel):
    """An address as a template carries it: what is empty was not filled in."""

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
    """The addresses that a change of address asks for."""

    model_config = ConfigDict(strict=True, extra="forbid")

    shipping: AddressFields = AddressFields()
    billing: AddressFields = AddressFields()


class RequestedLineFields(BaseModel):
    """One line that a partial cancellation names."""

    model_config = ConfigDict(strict=True, extra="ignore")

    sku: Text
    quantity: int


class TicketPayload(BaseModel):
    """One change request as a desk's template writes it down.

    `requester` is required, though it may be empty (then a person decides): without it a stranger on a ticket of his
    own could cancel somebody's order. `author` is who wrote what set the webhook off. `id`, where the desk has one,
    names the asking; else the content does, so `time` belongs in every template that can tell when the customer asked,
    and in none whose desk moves it on while nobody asks again.
    `comment` is what the author wrote on the ticket.
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
        # The choices of a drop-down are often tags, and tags are shared by a whole helpdesk.
        kind = self.kind.lower().removeprefix("countermand_")
        return {
            "kind": kind,
            "requester": self.requester,
            **_filled(plain),
            # A form has its address fields also when something else is asked.
            **({"addresses": _filled(addresses)} if kind == "change_address" else {}),
            **({"lines": [line.model_dump() for line in self.lines]} if self.lines else {}),
        }


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def read_json(body: bytes) -> Any:
    """Parses a delivery's body. Raises Unusable."""
    try:
        # Not strict about control characters: a template may have put a customer's line break into a text as it was.
        return parse_json(body, strict=False, object_pairs_hook=_each_once)
    except ValueError as error:
        where = f" ({error.msg} at character {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        raise Unusable(
            f"the body is not JSON{where}; a template must write each text through its desk's JSON filter, "
            "as `countermand desks check` prints it",
            is_json=False,
        ) from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Where a template lets quotes through as they are, a customer could type a second `requester` or `order`.
    if len(read := dict(pairs)) < len(pairs):
        raise Unusable("the body has a key twice; a template must write each text through its desk's JSON filter")
    return read


def read_payload(value: Any) -> TicketPayload:
    """Takes the payload out of a parsed body. Raises Unusable, and Ignored if its kind is left blank.

    Some desks send each field of a form as it is filled in: until the kind is chosen the form asks for nothing.
    """
    if isinstance(value, dict) and "kind" in value and _is_blank(value["kind"]):
        raise Ignored("no change is asked for: its kind is left blank")
    try:
        return TicketPayload.model_validate(value)
    except ValidationError as invalid:
        form = value if isinstance(value, dict) else None
        raise Unusable(describe_problems(invalid, keys_in="a JSON object"), form=form) from None


def fields_of(values: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """Picks our fields out of a desk's, where they are named `countermand_…` or as `fields` says."""
    return {name: values.get(fields.get(name, f"countermand_{name}")) for name in FIELDS}


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def asks_for_something(values: Mapping[str, Any], fields: Mapping[str, str]) -> bool:
    """Returns whether the kind is filled in among a desk's own fields."""
    return not _is_blank(fields_of(values, fields)["kind"])


def payload_of_fields(values: Mapping[str, Any], fields: Mapping[str, str], **known: Any) -> TicketPayload:
    """Makes a payload of a desk's own fields, named `countermand_…` or as `fields` says, and of what else is `known`.

    Raises Unusable, and Ignored if the field for the kind is left blank.
    """
    ours = fields_of(values, fields)
    addresses = {role: {field: ours[f"{role}_{field}"] for field in ADDRESS_FIELDS} for role in ROLES}
    asked = {name: ours[name] for name in ("order", "kind", "note")}
    return read_payload({**known, **asked, "addresses": addresses})


class NamedTicket(BaseModel):
    """A ticket whose form is to be read by the desk's API, and nothing else."""

    model_config = ConfigDict(strict=True, extra="forbid", str_strip_whitespace=True)

    ticket: Text


def named_ticket(value: Any) -> str | None:
    """Returns the id of a body that names a ticket and nothing else, None for any other."""
    try:
        return NamedTicket.model_validate(value).ticket
    except ValidationError:
        return None


# What the webhook of a desk carries whose tickets are read by its API; `{}` is the desk's placeholder for the id.
TICKET_PAYLOAD = '{{"ticket": "{}"}}'


@dataclass(frozen=True, slots=True)
class Form:
    """What the form on a ticket asks for, as it was read by the desk's API; `changed_at`: the ticket's last change."""

    payload: TicketPayload
    changed_at: datetime | None = None

    @property
    def kind(self) -> str:
        """The kind of change, as the request has it."""
        return str(self.payload.data()["kind"])

    @property
    def key(self) -> str:
        """The id of its request: made of what it says, and of no moment; nor of the language.

        Of some desks only the API tells the language, and the same form may have come by a webhook.
        """
        return business_key(self.payload, _without_language(self.payload.data()))

    def event(self, source: str, request_id: str, noted_at: datetime) -> bytes:
        """Returns it as a change request of the contract, asked at the latest when its ticket was noted."""
        asked_at = min(noted_at, self.changed_at) if self.changed_at else noted_at
        return _event(source, request_id, asked_at.isoformat(), self.payload.data())

    def is_asked_by(self, data: Mapping[str, Any]) -> bool:
        """Returns whether a request with these `data` asks for the same: whatever the line ends and the language."""
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
    """Returns the payload as a change request of the contract. Raises Ignored for what we wrote ourselves."""
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
    """Adds UTC to a moment that says no zone; leaves what is no moment for the schema to tell."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return time
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


_ORDER_TO_SHOW = re.compile(r"[\w#./-]{1,64}", re.ASCII)


def business_key(payload: TicketPayload, data: Mapping[str, Any]) -> str:
    """Returns the id of a delivery that brings none: ticket, kind, order, and a hash of all that it says.

    The hash covers `time` too: who asks again later for what he asked before, asks anew. An order that is none stands
    in the hash alone, for ids are logged and somebody may have typed an e-mail address.
    """
    content = json.dumps([data, payload.time], sort_keys=True).encode()
    order = [payload.order] if _ORDER_TO_SHOW.fullmatch(payload.order) else []
    return "-".join([payload.ticket, data["kind"], *order, hashlib.sha256(content).hexdigest()[:16]])


def payload_template(expressions: Mapping[str, str], field: Callable[[str], str], fields: Mapping[str, str]) -> str:
    """Returns the payload for a desk's admin page.

    `expressions` are the desk's own values (ticket, requester, …) as they stand in JSON, quotes and all; `field` is
    how a custom field of the desk stands in JSON; `fields` are the desk's names of ours, all of them if it is empty.
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
