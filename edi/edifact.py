"""EDIFACT ORDERS D.96A: limits and segment order of the UN/EDIFACT directory D.96A, syntax UNOC version 3 (ISO 9735).

Lengths are those of the data: the release character `?` does not count. The same values give the same bytes, always.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from textwrap import wrap

from pydifact.control.characters import Characters
from pydifact.segments import Segment
from pydifact.serializer import Serializer

from edi.charset import to_latin1
from edi.documents import CannotRender, Line, OrderDocument
from edi.partners import Partner
from rules.model import Address

# One serializer for all: it compiles its expression when it is made, and keeps no state after that.
_CHARACTERS = Characters.from_str("UNA:+.? '")
_SERIALIZER = Serializer(_CHARACTERS)

_WIDTH = 35  # of one name, street or description component, and of an identification
_NAMES = 5
_STREETS = 4
_DESCRIPTIONS = 2
_REGION = 9
_POSTCODE = 9
_CODE = 3  # country, currency
_PHONE = 25  # the directory allows 512, but EANCOM and many receivers 25
_DIGITS = 15  # of a quantity or a price; sign and decimal mark do not count
_LINES = 200_000  # repetitions of segment group 25
_LINE_NUMBER = 999_999
_MESSAGES = 999_999
_CONTROL_NUMBER = 10**14 - 1


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered order: its segments between UNH and UNT, and how many they are."""

    body: str
    segments: int


class _Misfit(ValueError):
    """One field does not fit; the message does not name the order yet."""


def render_order(order: OrderDocument, partner: Partner) -> Message:
    """The order as a message that is still free of any control number; raises CannotRender."""
    try:
        segments = [*_header(order, partner), *_details(order.lines), *_summary(order.lines)]
    except _Misfit as misfit:
        raise CannotRender(
            f"order {order.number}: {misfit}; it is held back until it changes or `countermand export` tries it again"
        ) from misfit
    return Message(_SERIALIZER.serialize(segments, with_una_header=False), len(segments))


def assemble(messages: Sequence[Message], partner: Partner, control_number: int, prepared_at: datetime) -> bytes:
    """The interchange of these messages, UNA to UNZ, in ISO 8859-1; ValueError on a count or number out of range."""
    if not 1 <= len(messages) <= _MESSAGES:
        raise ValueError(f"an interchange holds 1 to {_MESSAGES} messages, not {len(messages)}")
    if not 1 <= control_number <= _CONTROL_NUMBER:
        raise ValueError(f"a control number is 1 to {_CONTROL_NUMBER} (UNB 0020), not {control_number}")
    moment = _utc(prepared_at)
    header = Segment(
        "UNB",
        ["UNOC", "3"],
        [partner.our_id, partner.our_qualifier],
        [partner.their_id, partner.their_qualifier],
        [f"{moment:%y%m%d}", f"{moment:%H%M}"],
        str(control_number),
    )
    enveloped = "".join(_envelope(message, reference) for reference, message in enumerate(messages, 1))
    trailer = f"UNZ+{len(messages)}+{control_number}'"
    return (_SERIALIZER.serialize([header]) + enveloped + trailer).encode("latin-1")


def _envelope(message: Message, reference: int) -> str:
    return f"UNH+{reference}+ORDERS:D:96A:UN'{message.body}UNT+{message.segments + 2}+{reference}'"


def _header(order: OrderDocument, partner: Partner) -> Iterator[Segment]:
    yield Segment("BGM", "220", _identifier("number", order.number, _WIDTH), "9")
    yield Segment("DTM", ["137", f"{_utc(order.placed_at):%Y%m%d%H%M}", "203"])
    yield Segment("NAD", "BY", [partner.our_id, "", "92"])
    yield Segment("NAD", "SU", [partner.their_id, "", "92"])
    yield _party("DP", "shipping", order.shipping)
    # Informative: a phone number that does not fit is left out, since one cut short would call someone else.
    if phone := _fitting(order.shipping.phone, _PHONE):
        yield Segment("CTA", "DL")
        yield Segment("COM", [phone, "TE"])
    yield _party("IV", "billing", order.billing)
    yield Segment("CUX", ["2", _identifier("currency", order.currency, _CODE), "9"])


def _party(role: str, field: str, address: Address) -> Segment:
    # The person before the company, as CLDR has it for most countries.
    names = [_required(f"{field} name", address.name), _text(f"{field} company", address.company)]
    streets = [_required(f"{field} line1", address.line1), _text(f"{field} line2", address.line2)]
    region = _text(f"{field} region", address.region)
    if len(region) > _REGION:
        # The element holds a code such as CA or NSW; a name spelled out is a line of the address like any other.
        streets, region = [*streets, region], ""
    return Segment(
        "NAD",
        role,
        "",
        "",
        _rows(f"{field} name", names, _NAMES),
        _rows(f"{field} street", streets, _STREETS),
        _fit(f"{field} city", _required(f"{field} city", address.city), _WIDTH),
        region,
        _fit(f"{field} postal_code", _text(f"{field} postal_code", address.postal_code), _POSTCODE),
        _identifier(f"{field} country", address.country, _CODE),
    )


def _details(lines: Sequence[Line]) -> Iterator[Segment]:
    if len(lines) > _LINES:
        raise _Misfit(f"{len(lines)} lines, D.96A allows {_LINES}")
    for line in lines:
        yield from _line(line)


def _line(line: Line) -> Iterator[Segment]:
    where = f"line {line.line_no}"
    if not 1 <= line.line_no <= _LINE_NUMBER:
        raise _Misfit(f"{where}: D.96A allows line numbers from 1 to {_LINE_NUMBER}")
    if not 1 <= line.quantity < 10**_DIGITS:
        raise _Misfit(f"{where}: quantity {line.quantity}, D.96A allows {_DIGITS} digits and we send no less than 1")
    yield Segment("LIN", str(line.line_no), "", [_identifier(f"{where} sku", line.sku, _WIDTH), "SA"])
    if description := _description(line.description):
        yield Segment("IMD", "F", "", ["", "", "", *description])
    yield Segment("QTY", ["21", str(line.quantity), "PCE"])
    yield Segment("PRI", ["AAA", _decimal(f"{where} unit_price", line.unit_price)])


def _summary(lines: Sequence[Line]) -> Iterator[Segment]:
    yield Segment("UNS", "S")
    yield Segment("CNT", ["2", str(len(lines))])


def _text(field: str, value: str | None) -> str:
    try:
        return to_latin1(value or "")
    except ValueError as lost:
        raise _Misfit(f"{field} {_shown(value)}: {lost}") from lost


def _required(field: str, value: str) -> str:
    text = _text(field, value)
    if not text:
        raise _Misfit(f"{field} is blank, the document needs it")
    return text


def _identifier(field: str, value: str, limit: int) -> str:
    """Goes as it is or not at all: respelled, it might be that of another order or article."""
    text = _required(field, value)
    if text != value:
        raise _Misfit(f"{field} {_shown(value)} is an identification, and ISO 8859-1 could only say {_shown(text)}")
    return _fit(field, text, limit)


def _fit(field: str, text: str, limit: int) -> str:
    if len(text) > limit:
        raise _Misfit(f"{field} {_shown(text)} has {len(text)} characters, D.96A allows {limit}")
    return text


def _fitting(value: str | None, limit: int) -> str:
    """For what is only informative: blank where it does not fit."""
    try:
        return _fit("", _text("", value), limit)
    except _Misfit:
        return ""


def _rows(field: str, texts: Sequence[str], limit: int) -> list[str]:
    """The texts one after the other, each broken at spaces into components; nothing is ever cut."""
    rows = [row for text in texts for row in _broken(text, break_long_words=False)]
    if len(rows) > limit or max(map(len, rows)) > _WIDTH:
        raise _Misfit(
            f"{field} {_shown(' / '.join(texts))} does not fit, D.96A allows {limit} times {_WIDTH} characters"
        )
    return rows


def _description(value: str) -> list[str]:
    """Cut to what fits, or left out where it cannot be spelled: informative only, the sku says what to pick."""
    try:
        return _broken(to_latin1(value), break_long_words=True)[:_DESCRIPTIONS]
    except ValueError:
        return []


def _broken(text: str, *, break_long_words: bool) -> list[str]:
    if len(text) <= _WIDTH:  # nearly all are, and `wrap` is slow
        return [text] if text else []
    return wrap(text, _WIDTH, break_long_words=break_long_words, break_on_hyphens=False)


def _decimal(field: str, value: Decimal) -> str:
    """Plain notation; the digits are counted before they are written, as 1E+999999 would be a million of them."""
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise _Misfit(f"{field} {value} is not a number")
    number = value or Decimal(0)  # no -0, no 0E+7
    if number and max(number.adjusted() + 1, 1) + max(-exponent, 0) > _DIGITS:
        raise _Misfit(f"{field} {value} has too many digits, D.96A allows {_DIGITS}")
    return f"{number:f}"


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone, and the one of this machine may not be guessed")
    return moment.astimezone(UTC)


def _shown(value: str | None) -> str:
    return repr(value if value is None or len(value) <= 60 else f"{value[:60]}…")
