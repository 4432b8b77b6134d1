"""X12 940, the warehouse shipping order, in the releases 004010 and 005010: limits and segment order of both.

X12 has no escape, so the X12 sets of `edi.documents.charset` lack our delimiters. The same values always give the same
bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from edi.documents import charset, gs1
from edi.documents.fields import Fields, Misfit, faults_of, refusal, utc
from edi.documents.localities import city_of
from edi.documents.order import Line, Message, OrderDocument
from edi.partners import CharacterSet, Partner, Standard
from rules.model import Address, AddressFault, AddressRole

__all__ = ["LARGEST_CONTROL_NUMBER", "address_faults", "assemble", "check_partner", "render_order"]

_SETS = (CharacterSet.X12_BASIC, CharacterSet.X12_EXTENDED)
_DELIMITERS = "*>^~"

_IDENTIFICATION = (2, 15)  # GS02, GS03; ISA pads them
_QUALIFIER = 2
_NUMBER = 22
_NAME = 60
_NAMES = 5  # N1-02 and two N2 of two elements
_STREET = 55
_STREETS = 4  # two N3 of two elements
_CITY = (2, 30)
_STATE = 2
_POSTCODE = (3, 15)
_COUNTRY = (2, 3)
_PHONE = 80  # 256 in 005010
_SKU = 48
_DESCRIPTION = 45
_DESCRIPTIONS = 5
_DIGITS = 15  # of a quantity
_LINE_NUMBER = 999_999
_MESSAGES = 999_999
LARGEST_CONTROL_NUMBER = 999_999_999

# The qualifiers of ISA that have a counterpart in N1: a DUNS number, without and with its suffix.
_PARTY_QUALIFIERS = {"01": "1", "14": "9"}
_MUTUALLY_DEFINED = "ZZ"


@dataclass(frozen=True, slots=True)
class _Release:
    group: str  # GS08
    interchange: str  # ISA12
    standard_or_repetition: str  # ISA11: who sets the standard, from 00402 on the repetition separator


_RELEASES = {
    Standard.X12_940_004010: _Release("004010", "00401", "U"),
    Standard.X12_940_005010: _Release("005010", "00501", "^"),
}


def render_order(order: OrderDocument, partner: Partner) -> Message:
    """Returns the order as a transaction set without a control number; raises CannotRender."""
    try:
        segments = _segments(order, partner, _fields(partner.standard, partner.character_set))
    except Misfit as misfit:
        raise refusal(order, misfit) from misfit
    return Message("".join(segments), len(segments))


def address_faults(
    role: AddressRole, address: Address, standard: Standard, character_set: CharacterSet
) -> tuple[AddressFault, ...]:
    """Returns why a transaction set cannot hold the address; empty if it fits."""
    return faults_of(role, address, _fields(standard, character_set), (_names, _streets, _city, _state, _postcode))


def assemble(messages: Sequence[Message], partner: Partner, control_number: int, prepared_at: datetime) -> bytes:
    """Returns the interchange of these messages, ISA to IEA, as one group; raises ValueError if it cannot be valid."""
    check_partner(partner)
    if not 1 <= len(messages) <= _MESSAGES:
        raise ValueError(f"a group holds 1 to {_MESSAGES} transaction sets, not {len(messages)}")
    if not 1 <= control_number <= LARGEST_CONTROL_NUMBER:
        raise ValueError(f"a control number is 1 to {LARGEST_CONTROL_NUMBER} (ISA13), not {control_number}")
    headers = _headers(partner, control_number, utc(prepared_at))
    enveloped = "".join(_envelope(message, reference) for reference, message in enumerate(messages, 1))
    trailers = f"GE*{len(messages)}*{control_number}~IEA*1*{control_number:09d}~"
    return charset.encode(f"{headers}{enveloped}{trailers}", partner.character_set, delimiters=_DELIMITERS)


def check_partner(partner: Partner) -> None:
    """Raises ValueError if ISA and GS cannot hold the partner's identifications, character set or standard."""
    try:
        fields = _fields(partner.standard, partner.character_set)
        for name in ("our_id", "their_id"):
            least, most = _IDENTIFICATION
            fields.identifier(name, getattr(partner, name), most, at_least=least)
        for name in ("our_qualifier", "their_qualifier"):
            fields.identifier(name, getattr(partner, name), _QUALIFIER, at_least=_QUALIFIER)
    except ValueError as wrong:
        raise ValueError(f"partner {partner.name}: {wrong}") from wrong


def _fields(standard: Standard, character_set: CharacterSet) -> Fields:
    if character_set not in _SETS:
        raise ValueError(f"X12 has no character set {character_set}; it has {', '.join(_SETS)}")
    return Fields(_RELEASES[standard].group, character_set)


def _headers(partner: Partner, control_number: int, moment: datetime) -> str:
    release = _RELEASES[partner.standard]
    nothing = " " * 10
    sender, receiver = f"{partner.our_id:15}", f"{partner.their_id:15}"
    isa = (
        f"ISA*00*{nothing}*00*{nothing}*{partner.our_qualifier}*{sender}*{partner.their_qualifier}*{receiver}"
        f"*{moment:%y%m%d}*{moment:%H%M}*{release.standard_or_repetition}*{release.interchange}"
        f"*{control_number:09d}*0*{'T' if partner.test else 'P'}*>~"
    )
    times = f"{moment:%Y%m%d}*{moment:%H%M}"
    return f"{isa}GS*OW*{partner.our_id}*{partner.their_id}*{times}*{control_number}*X*{release.group}~"


def _envelope(message: Message, reference: int) -> str:
    return f"ST*940*{reference:04d}~{message.body}SE*{message.segments + 2}*{reference:04d}~"


def _segments(order: OrderDocument, partner: Partner, fields: Fields) -> list[str]:
    return [*_heading(order, partner, fields), *_details(order.lines, fields), _summary(order.lines, fields)]


def _heading(order: OrderDocument, partner: Partner, fields: Fields) -> Iterator[str]:
    yield _segment("W05", "N", fields.identifier("number", order.number, _NUMBER))
    yield _trader("DE", partner.our_id, partner.our_qualifier)
    yield _trader("WH", partner.their_id, partner.their_qualifier)
    yield from _party("ST", AddressRole.SHIPPING, order.shipping, fields)
    # Informative: a phone number that does not fit is left out, because one cut short would call someone else.
    if phone := fields.fitting(order.shipping.phone, _PHONE):
        yield _segment("PER", "DC", "", "TE", phone)
    yield from _party("BT", AddressRole.BILLING, order.billing, fields)
    yield _segment("G62", "04", f"{utc(order.placed_at):%Y%m%d}")
    # Prepaid parcels, as stores send them. Many partners require W66, and then choose their own carrier.
    yield _segment("W66", "PP", "U")


def _trader(role: str, identification: str, qualifier: str) -> str:
    return _segment("N1", role, "", _PARTY_QUALIFIERS.get(qualifier, _MUTUALLY_DEFINED), identification)


def _party(code: str, role: AddressRole, address: Address, fields: Fields) -> Iterator[str]:
    first, *more = _names(role, address, fields)
    yield _segment("N1", code, first)
    yield from _in_pairs("N2", more)
    yield from _in_pairs("N3", _streets(role, address, fields))
    least, most = _COUNTRY
    country = fields.identifier(f"{role} country", address.country, most, at_least=least)
    place = _city(role, address, fields), _state(role, address, fields), _postcode(role, address, fields)
    yield _segment("N4", *place, country)


def _names(role: AddressRole, address: Address, fields: Fields) -> list[str]:
    # The person before the company, as CLDR has it for most countries.
    names = [fields.required(f"{role} name", address.name), fields.text(f"{role} company", address.company)]
    return fields.rows(f"{role} name", names, _NAMES, _NAME)


def _streets(role: AddressRole, address: Address, fields: Fields) -> list[str]:
    streets = [fields.required(f"{role} line1", address.line1), fields.text(f"{role} line2", address.line2)]
    # The elements hold the code of a state and a postal code. A region's full name, or a code that is too short or too
    # long, becomes a line of the address.
    others = (
        fields.text(f"{role} {name}", getattr(address, name))
        for name, place in (("region", _state), ("postal_code", _postcode))
        if not place(role, address, fields)
    )
    return fields.rows(f"{role} street", [*streets, *others], _STREETS, _STREET)


def _city(role: AddressRole, address: Address, fields: Fields) -> str:
    least, most = _CITY
    return fields.fit(f"{role} city", fields.required(f"{role} city", city_of(address, most)), most, at_least=least)


def _state(role: AddressRole, address: Address, fields: Fields) -> str:
    state = fields.text(f"{role} region", address.region).upper()
    return state if len(state) == _STATE and state.isalpha() else ""


def _postcode(role: AddressRole, address: Address, fields: Fields) -> str:
    least, most = _POSTCODE
    code = fields.text(f"{role} postal_code", address.postal_code)
    return code if least <= len(code) <= most else ""


def _details(lines: Sequence[Line], fields: Fields) -> Iterator[str]:
    for line in lines:
        where = f"line {line.line_no}"
        if not 1 <= line.line_no <= _LINE_NUMBER:
            raise Misfit(f"{where}: {fields.version} allows line numbers from 1 to {_LINE_NUMBER}")
        if line.quantity < 1:
            raise Misfit(f"{where}: quantity {line.quantity}, and we send at least 1")
        yield _segment("LX", str(line.line_no))
        yield _item(where, line, fields)
        for row in fields.excerpt(line.description, _DESCRIPTIONS, _DESCRIPTION):
            yield _segment("G69", row)


def _item(where: str, line: Line, fields: Fields) -> str:
    quantity = fields.number(f"{where} quantity", Decimal(line.quantity), _DIGITS)
    sku = fields.identifier(f"{where} sku", line.sku, _SKU)
    # In addition to the store's own number, never instead: such a number may have a valid check digit by chance.
    # W01-03 stays empty: it identifies a case, and we order single pieces.
    kind = gs1.article_type(sku)
    article = (kind, sku) if kind else ()
    return _segment("W01", quantity, "EA", "", "VN", sku, *article)


def _summary(lines: Sequence[Line], fields: Fields) -> str:
    total = sum(line.quantity for line in lines)
    return _segment("W76", fields.number("total quantity", Decimal(total), _DIGITS))


def _in_pairs(tag: str, rows: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(rows), 2):
        yield _segment(tag, *rows[start : start + 2])


def _segment(*elements: str) -> str:
    return "*".join(elements).rstrip("*") + "~"
