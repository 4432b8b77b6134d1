"""Orders for documents: nasty but allowed ones that hypothesis makes, and those of a file; and whom to send them to."""

import gzip
import string
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from hypothesis import strategies as st

from edi.documents.order import Line, OrderDocument
from edi.partners import CharacterSet, Partner, Standard, default_partner
from orders.messages import OrderMessage, parse_order
from rules.model import Address

MADE_UP = Path(__file__).parent / "data" / "orders.ndjson"

EDIFACT = replace(default_partner(Path("/nowhere")), our_id="SHOP01", their_id="4012345000009")
X12 = replace(EDIFACT, our_qualifier="ZZ", their_qualifier="01", their_id="123456789")

PARTNERS = {
    **{
        f"edifact {kind}": replace(EDIFACT, character_set=kind)
        for kind in (CharacterSet.UNOA, CharacterSet.UNOB, CharacterSet.UNOC)
    },
    **{
        f"{standard} {kind}": replace(X12, standard=standard, character_set=kind)
        for standard in (Standard.X12_940_004010, Standard.X12_940_005010)
        for kind in (CharacterSet.X12_BASIC, CharacterSet.X12_EXTENDED)
    },
    "a test in EDIFACT": replace(EDIFACT, test=True),
    "a test in X12": replace(X12, standard=Standard.X12_940_004010, character_set=CharacterSet.X12_BASIC, test=True),
}

# What an identification may hold in each set: all of these go as they are.
_CAPITALS = string.ascii_uppercase + string.digits + "-./,:;'()+?!&\"="
_IDENTIFIERS = {
    CharacterSet.UNOA: _CAPITALS + "*%<>",
    CharacterSet.UNOB: _CAPITALS + string.ascii_lowercase + "*%<>",
    CharacterSet.UNOC: _CAPITALS + string.ascii_lowercase + "*%<>#$@[\\]^_`{|}~éÜß½",
    CharacterSet.X12_BASIC: _CAPITALS,
    CharacterSet.X12_EXTENDED: _CAPITALS + string.ascii_lowercase + "#$%<@[\\]_{|}",
}
_SCRIPTS = (
    string.ascii_letters,
    string.ascii_letters + "'’-.",
    "aàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿßAÀÉÜ",
    "ąćęłńóśźżĄĆĘŁŃÓŚŹŻčďěňřšťůžőűşğıİ",
    "αβγδεζηθικλμνξοπρστυφχψωΑΒΓΔάέήίόύώ",
    "абвгдежзийклмнопрстуфхцчшщъыьэюяАБВГДЇЄҐ",
    "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "אבגדהוזחטיכלמנסעפצקרשת",
    "กขคงจฉชซญดตถทนบปผฝพฟมยรลวสหอฮ",
    "अआइईउऊएऐओऔकखगघचजटडतदनपबमयरलवशसह",
    "山田太郎東京都中央区北海道大阪府ひらがなカタカナ",
    "가나다라마바사아자차카타파하김이박서울",
    "😀🎁❤",
    string.digits + "/-#",
    "*~>^<|\\{}[]_`@#$%",
    "'+:?\"“”‘’«»…–—€£½ﬁ",
    "e\u0301\u200b\u00ad\u00a0\u2028a",
)

# Short words where one character is spelled with many.
_WORD = st.sampled_from(_SCRIPTS).flatmap(
    lambda script: st.text(script, min_size=1, max_size=9 if script < "\u1000" else 3)
)
_NAME = st.lists(_WORD, min_size=1, max_size=4).map(" ".join)
_LONG = st.lists(_WORD, min_size=5, max_size=25).map(" ".join).map(lambda text: text[:256].strip())
# Long texts seldom, else hardly an order would fit.
_TEXT = st.integers(0, 19).flatmap(lambda dice: _LONG if dice > 17 else _NAME)
_CITY = st.text(string.ascii_letters + "éøŁ -'", min_size=2, max_size=24).map(lambda name: f"S{name.strip()}t")
_REGIONS = st.sampled_from(["", "NY", "ny", "NSW", "12", "Île-de-France", "New South Wales", "新潟県"])


def addresses() -> st.SearchStrategy[Address]:
    """Any address: names and streets in all scripts, the rest as an address form would let it pass."""
    return st.builds(
        Address,
        name=_TEXT,
        line1=_TEXT,
        city=_CITY,
        country=st.sampled_from(["DE", "GB", "JP", "US", "GR", "BR"]),
        line2=st.none() | _NAME,
        postal_code=st.none() | st.from_regex(r"[A-Z0-9]{3,4}([ -][A-Z0-9]{3})?", fullmatch=True),
        region=st.none() | _REGIONS,
        phone=st.none() | st.from_regex(r"\+?[0-9 ()/-]{5,24}", fullmatch=True) | _TEXT,
        company=st.none() | _NAME,
    )


def _checked(digits: str) -> str:
    """The digits with the check digit of GS1."""
    weighted = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return f"{digits}{-weighted % 10}"


def _lines(codes: str) -> st.SearchStrategy[tuple[Line, ...]]:
    skus = st.one_of(
        st.text(codes, min_size=1, max_size=35),
        st.from_regex(r"[0-9]{11,12}", fullmatch=True).map(_checked),
        st.from_regex(r"[0-9]{13}", fullmatch=True),
    )
    quantities = st.integers(1, 20) | st.integers(1, 2_147_483_647)
    prices = st.decimals("0", "9999", places=2) | st.decimals("0", "999999", places=4)
    line = st.builds(
        Line, line_no=st.just(1), sku=skus, description=_TEXT | st.just(""), quantity=quantities, unit_price=prices
    )
    # Repeated, as making hundreds of different lines would take hypothesis a minute.
    repeats = st.sampled_from([1, 1, 1, 1, 2, 40])
    return st.tuples(st.lists(line, min_size=1, max_size=5), repeats).map(lambda made: _numbered(made[0] * made[1]))


def _numbered(lines: Sequence[Line]) -> tuple[Line, ...]:
    return tuple(replace(line, line_no=number) for number, line in enumerate(lines, 1))


def order_documents(partner: Partner) -> st.SearchStrategy[OrderDocument]:
    """Orders whose identifications the partner's set can write; their other texts may be anything."""
    codes = _IDENTIFIERS[partner.character_set]
    return st.builds(
        OrderDocument,
        number=st.text(codes, min_size=1, max_size=22),
        placed_at=st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
        currency=st.sampled_from(["EUR", "GBP", "USD", "JPY"]),
        shipping=addresses(),
        billing=addresses(),
        lines=_lines(codes),
    )


def read_orders(path: Path, warehouse: str | None = None) -> Iterator[OrderDocument]:
    """The orders of an NDJSON file, or those of one warehouse, as the exporter would hand them to a standard."""
    content = path.read_bytes()
    for row in (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines():
        order = parse_order(row)
        if warehouse in (None, order.warehouse):
            yield _document(order)


def document(raw: bytes) -> OrderDocument:
    """One order as the store hands it over, as a document."""
    return _document(parse_order(raw))


def _document(order: OrderMessage) -> OrderDocument:
    lines = [
        Line(number, line.sku, line.description, line.quantity, Decimal(line.unit_price))
        for number, line in enumerate(order.lines, 1)
    ]
    return OrderDocument(
        number=order.number,
        placed_at=order.placed_at,
        currency=order.currency,
        shipping=order.shipping.to_rules(),
        billing=order.billing.to_rules(),
        lines=tuple(lines),
    )
