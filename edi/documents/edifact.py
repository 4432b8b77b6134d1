"""EDIFACT ORDERS D.96A: limits and segment order of the UN/EDIFACT directory D.96A, syntax version 3 (ISO 9735).

Lengths are those of the data: the release character `?` does not count. The same values always give the same bytes.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal, Inexact, localcontext

from pydifact.control.characters import Characters
from pydifact.segments import Segment
from pydifact.serializer import Serializer

from edi.documents import charset, gs1
from edi.documents.fields import Fields, Misfit, faults_of, refusal, utc
from edi.documents.localities import city_of
from edi.documents.order import Line, Message, OrderDocument
from edi.partners import CharacterSet, Partner
from rules.model import Address, AddressFault, AddressRole

__all__ = ["LARGEST_CONTROL_NUMBER", "Message", "address_faults", "assemble", "check_partner", "render_order"]

# One serializer for all: it compiles its expression once and keeps no other state. Every interchange names the
# delimiters in a UNA, because the defaults of level B differ from those of A and C.
_CHARACTERS = Characters.from_str("UNA:+.? '")
_SERIALIZER = Serializer(_CHARACTERS)
_SETS = (CharacterSet.UNOA, CharacterSet.UNOB, CharacterSet.UNOC)

_WIDTH = 35  # of one name, street or description component, and of an identification
_QUALIFIER = 4
_NAMES = 5
_STREETS = 4
_DESCRIPTIONS = 2  # of one IMD
_DESCRIPTION_SEGMENTS = 99  # repetitions of IMD in segment group 25
_REGION = 9
_POSTCODE = 9
_CODE = 3  # country, currency
_TEXT = 70
_DIGITS = 15  # of a quantity or a price
_TOTAL_DIGITS = 18
_LINES = 200_000  # repetitions of segment group 25
_LINE_NUMBER = 999_999
_SEGMENTS = 999_999
_MESSAGES = 999_999
LARGEST_CONTROL_NUMBER = 10**14 - 1

_PHONE = "DELIVERY PHONE "


def render_order(order: OrderDocument, partner: Partner) -> Message:
    """Returns the order as a message without a control number; raises CannotRender."""
    try:
        segments = _segments(order, partner, _fields(partner.character_set))
    except Misfit as misfit:
        raise refusal(order, misfit) from misfit
    return Message(_SERIALIZER.serialize(segments, with_una_header=False), len(segments))


def address_faults(role: AddressRole, address: Address, character_set: CharacterSet) -> tuple[AddressFault, ...]:
    """Returns why a message cannot hold the address; empty if it fits."""
    return faults_of(role, address, _fields(character_set), (_names, _streets, _city, _region, _postcode))


def assemble(messages: Sequence[Message], partner: Partner, control_number: int, prepared_at: datetime) -> bytes:
    """Returns the interchange of these messages, UNA to UNZ; raises ValueError if it cannot be valid."""
    check_partner(partner)
    if not 1 <= len(messages) <= _MESSAGES:
        raise ValueError(f"an interchange holds 1 to {_MESSAGES} messages, not {len(messages)}")
    if not 1 <= control_number <= LARGEST_CONTROL_NUMBER:
        raise ValueError(f"a control number is 1 to {LARGEST_CONTROL_NUMBER} (UNB 0020), not {control_number}")
    enveloped = "".join(_envelope(message, reference) for reference, message in enumerate(messages, 1))
    header = _SERIALIZER.serialize([_interchange_header(partner, control_number, prepared_at)])
    return charset.encode(f"{header}{enveloped}UNZ+{len(messages)}+{control_number}'", partner.character_set)


def check_partner(partner: Partner) -> None:
    """Raises ValueError if UNB cannot hold the partner's identifications or character set."""
    try:
        fields = _fields(partner.character_set)
        for name in ("our_id", "their_id"):
            fields.identifier(name, getattr(partner, name), _WIDTH)
        for name in ("our_qualifier", "their_qualifier"):
            fields.identifier(name, getattr(partner, name), _QUALIFIER)
    except ValueError as wrong:
        raise ValueError(f"partner {partner.name}: {wrong}") from wrong


def _fields(character_set: CharacterSet) -> Fields:
    if character_set not in _SETS:
        raise ValueError(f"EDIFACT has no character set {character_set}; it has {', '.join(_SETS)}")
    return Fields("D.96A", character_set)


def _interchange_header(partner: Partner, control_number: int, prepared_at: datetime) -> Segment:
    moment = utc(prepared_at)
    # Between the control reference and the test indicator (0035) are five elements that we do not use.
    test = ["", "", "", "", "", "1"] if partner.test else []
    return Segment(
        "UNB",
        [partner.character_set.value, "3"],
        [partner.our_id, partner.our_qualifier],
        [partner.their_id, partner.their_qualifier],
        [f"{moment:%y%m%d}", f"{moment:%H%M}"],
        str(control_number),
        *test,
    )


def _envelope(message: Message, reference: int) -> str:
    return f"UNH+{reference}+ORDERS:D:96A:UN'{message.body}UNT+{message.segments + 2}+{reference}'"


def _segments(order: OrderDocument, partner: Partner, fields: Fields) -> list[Segment]:
    segments = [*_header(order, partner, fields), *_details(order.lines, fields), *_summary(order.lines, fields)]
    if len(segments) + 2 > _SEGMENTS:
        raise Misfit(f"{len(segments) + 2} segments with UNH and UNT, D.96A allows {_SEGMENTS}")
    return segments


def _header(order: OrderDocument, partner: Partner, fields: Fields) -> Iterator[Segment]:
    yield Segment("BGM", "220", fields.identifier("number", order.number, _WIDTH), "9")
    yield Segment("DTM", ["137", f"{utc(order.placed_at):%Y%m%d%H%M}", "203"])
    # Informative: a phone number that does not fit is left out, because one cut short would call someone else. It
    # belongs in CTA and COM below the NAD, but not every receiver accepts them there; every receiver reads a text.
    if phone := fields.fitting(order.shipping.phone, _TEXT - len(_PHONE)):
        yield Segment("FTX", "AAI", "", "", f"{_PHONE}{phone}")
    yield _trader("BY", partner.our_id, partner.our_qualifier)
    yield _trader("SU", partner.their_id, partner.their_qualifier)
    yield _party("DP", AddressRole.SHIPPING, order.shipping, fields)
    yield _party("IV", AddressRole.BILLING, order.billing, fields)
    yield Segment("CUX", ["2", fields.identifier("currency", order.currency, _CODE), "9"])


def _trader(role: str, identification: str, qualifier: str) -> Segment:
    # Qualifier 14 means EAN, but is often agreed for other names too: without a valid check digit it is not a GLN.
    is_location = qualifier == "14" and gs1.is_location(identification)
    return Segment("NAD", role, [identification, "", "9" if is_location else "92"])


def _party(function: str, role: AddressRole, address: Address, fields: Fields) -> Segment:
    return Segment(
        "NAD",
        function,
        "",
        "",
        _names(role, address, fields),
        _streets(role, address, fields),
        _city(role, address, fields),
        _region(role, address, fields),
        _postcode(role, address, fields),
        fields.identifier(f"{role} country", address.country, _CODE),
    )


def _names(role: AddressRole, address: Address, fields: Fields) -> list[str]:
    # The person before the company, as CLDR has it for most countries.
    names = [fields.required(f"{role} name", address.name), fields.text(f"{role} company", address.company)]
    return fields.rows(f"{role} name", names, _NAMES, _WIDTH)


def _streets(role: AddressRole, address: Address, fields: Fields) -> list[str]:
    streets = [fields.required(f"{role} line1", address.line1), fields.text(f"{role} line2", address.line2)]
    # The elements hold a code such as CA or NSW, and a postal code. Anything longer (a region's full name, or the ten
    # digits of an Iranian postal code) becomes a line of the address.
    too_long = (
        text
        for text, limit in (
            (fields.text(f"{role} region", address.region), _REGION),
            (_compact_postcode(role, address, fields), _POSTCODE),
        )
        if len(text) > limit
    )
    return fields.rows(f"{role} street", [*streets, *too_long], _STREETS, _WIDTH)


def _city(role: AddressRole, address: Address, fields: Fields) -> str:
    return fields.fit(f"{role} city", fields.required(f"{role} city", city_of(address, _WIDTH)), _WIDTH)


def _region(role: AddressRole, address: Address, fields: Fields) -> str:
    region = fields.text(f"{role} region", address.region)
    return region if len(region) <= _REGION else ""


def _postcode(role: AddressRole, address: Address, fields: Fields) -> str:
    code = _compact_postcode(role, address, fields)
    return code if len(code) <= _POSTCODE else ""


def _compact_postcode(role: AddressRole, address: Address, fields: Fields) -> str:
    text = fields.text(f"{role} postal_code", address.postal_code)
    # A nine-digit ZIP code fits without its hyphen.
    compact = text.replace("-", "")
    return compact if len(compact) <= _POSTCODE < len(text) else text


def _details(lines: Sequence[Line], fields: Fields) -> Iterator[Segment]:
    if len(lines) > _LINES:
        raise Misfit(f"{len(lines)} lines, D.96A allows {_LINES}")
    for line in lines:
        yield from _line(line, fields)


def _line(line: Line, fields: Fields) -> Iterator[Segment]:
    where = f"line {line.line_no}"
    if not 1 <= line.line_no <= _LINE_NUMBER:
        raise Misfit(f"{where}: D.96A allows line numbers from 1 to {_LINE_NUMBER}")
    if not 1 <= line.quantity < 10**_DIGITS:
        raise Misfit(f"{where}: quantity {line.quantity}, D.96A allows {_DIGITS} digits and we send at least 1")
    yield Segment("LIN", str(line.line_no), "", [fields.identifier(f"{where} sku", line.sku, _WIDTH), "SA"])
    # In addition to the store's own number, never instead: such a number may have a valid check digit by chance.
    if kind := gs1.article_type(line.sku):
        yield Segment("PIA", "1", [line.sku, kind])
    rows = fields.excerpt(line.description, _DESCRIPTIONS * _DESCRIPTION_SEGMENTS, _WIDTH)
    for start in range(0, len(rows), _DESCRIPTIONS):
        yield Segment("IMD", "F", "", ["", "", "", *rows[start : start + _DESCRIPTIONS]])
    yield Segment("QTY", ["21", str(line.quantity), "PCE"])
    yield Segment("PRI", ["AAA", fields.number(f"{where} unit_price", line.unit_price, _DIGITS)])


def _summary(lines: Sequence[Line], fields: Fields) -> Iterator[Segment]:
    yield Segment("UNS", "S")
    # 79, the total of the line items, is what we know; 86, the total of the message, would have freight and tax in it.
    yield Segment("MOA", ["79", fields.number("total", _total(lines), _TOTAL_DIGITS)])
    yield Segment("CNT", ["2", str(len(lines))])


def _total(lines: Sequence[Line]) -> Decimal:
    with localcontext(prec=100) as exact:  # far more than the digits of the largest sum of prices and quantities
        exact.traps[Inexact] = True
        return sum((line.quantity * (line.unit_price or Decimal(0)) for line in lines), Decimal(0))
