"""ORDERS D.96A: what an order becomes, what is refused, and that a reader gets back what the order says."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydifact.parser import Parser
from pydifact.segments import Segment

from edi.documents.charset import spell
from edi.documents.edifact import LARGEST_CONTROL_NUMBER, Message, assemble, check_partner, render_order
from edi.documents.localities import city_of
from edi.documents.order import CannotRender, Line, OrderDocument
from edi.partners import CharacterSet, Partner, Standard, default_partner
from rules.model import Address

# pydifact's parser looks for a directory of segments that it does not ship.
pytestmark = pytest.mark.filterwarnings("ignore:segments.xml not found")

PARTNER = default_partner(Path("/nowhere"))
AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
ADDRESS = Address(
    name="Zoë O'Brien-Müller",
    line1="Straße 5 + 7: Hof?",
    line2="c/o Café",
    city="Köln",
    postal_code="50667",
    country="DE",
)
ORDER = OrderDocument(
    number="SO-10042",
    placed_at=AT,
    currency="EUR",
    shipping=ADDRESS,
    billing=ADDRESS,
    lines=(
        Line(1, "SKU-RED", "WHITE LANTERN", 3, Decimal("2.55")),
        Line(2, "SKU+BLUE?", "", 10, Decimal("1E+2")),
    ),
)


def interchange(*orders: OrderDocument, partner: Partner = PARTNER) -> bytes:
    return assemble([render_order(order, partner) for order in orders], partner, 42, AT)


def segments(raw: bytes) -> list[Segment]:
    return list(Parser().parse(raw.decode("latin-1")))


def elements(found: Sequence[Segment], tag: str, first: str | None = None) -> list[list[Any]]:
    return [list(s.elements) for s in found if s.tag == tag and (first is None or s.elements[0] == first)]


def as_list(element: Any) -> list[str]:
    return element if isinstance(element, list) else [element]


def shipping(**changes: str) -> OrderDocument:
    return replace(ORDER, shipping=replace(ADDRESS, **changes))


def first_line(**changes: Any) -> OrderDocument:
    return replace(ORDER, lines=(replace(ORDER.lines[0], **changes),))


def test_an_order_reads_as_the_directory_says() -> None:
    nad = "+++Zoë O?'Brien-Müller+Straße 5 ?+ 7?: Hof??:c/o Café+Köln++50667+DE'"
    assert interchange(ORDER).decode("latin-1") == (
        "UNA:+.? 'UNB+UNOC:3+STORE:14+WAREHOUSE:14+261123:0930+42'"
        "UNH+1+ORDERS:D:96A:UN'BGM+220+SO-10042+9'DTM+137:202611230930:203'"
        "NAD+BY+STORE::92'NAD+SU+WAREHOUSE::92'"
        f"NAD+DP{nad}NAD+IV{nad}CUX+2:EUR:9'"
        "LIN+1++SKU-RED:SA'IMD+F++:::WHITE LANTERN'QTY+21:3:PCE'PRI+AAA:2.55'"
        "LIN+2++SKU?+BLUE??:SA'QTY+21:10:PCE'PRI+AAA:100'"
        "UNS+S'MOA+79:1007.65'CNT+2:2'UNT+19+1'UNZ+1+42'"
    )


def test_an_order_is_rendered_before_its_place_in_an_interchange_is_known() -> None:
    message = render_order(ORDER, PARTNER)
    once, twice = assemble([message], PARTNER, 1, AT), assemble([message, message], PARTNER, 2, AT)
    assert once.count(message.body.encode("latin-1")) == 1
    assert twice.count(message.body.encode("latin-1")) == 2
    assert twice.endswith(b"UNT+19+2'UNZ+2+2'")


def test_times_are_reported_in_utc_wherever_they_come_from() -> None:
    local = timezone(timedelta(hours=2))
    assert interchange(replace(ORDER, placed_at=AT.astimezone(local))) == interchange(ORDER)
    message = render_order(ORDER, PARTNER)
    assert assemble([message], PARTNER, 1, AT.astimezone(local)) == assemble([message], PARTNER, 1, AT)


def test_a_time_without_a_zone_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        assemble([render_order(ORDER, PARTNER)], PARTNER, 1, AT.replace(tzinfo=None))


@pytest.mark.parametrize("number", [0, -1, 10**14])
def test_a_control_number_beyond_the_standard_is_a_mistake_of_the_caller(number: int) -> None:
    with pytest.raises(ValueError, match="UNB 0020"):
        assemble([render_order(ORDER, PARTNER)], PARTNER, number, AT)


def test_an_interchange_without_a_message_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="messages, not 0"):
        assemble([], PARTNER, 1, AT)


def test_a_long_street_is_broken_at_spaces_and_keeps_every_word() -> None:
    line1 = "Acceso de Anacleto Mayol 12 Puerta 8 Escalera B"
    [nad] = elements(segments(interchange(shipping(line1=line1))), "NAD", "DP")
    assert nad[4] == ["Acceso de Anacleto Mayol 12 Puerta", "8 Escalera B", "c/o Café"]


def test_person_and_company_share_the_name() -> None:
    [nad] = elements(segments(interchange(shipping(company="Söhne & Co"))), "NAD", "DP")
    assert nad[3] == ["Zoë O'Brien-Müller", "Söhne & Co"]


def test_a_region_code_has_its_element_and_a_region_name_is_a_line_of_the_address() -> None:
    [code] = elements(segments(interchange(shipping(region="NSW"))), "NAD", "DP")
    assert (as_list(code[4])[-1], code[6]) == ("c/o Café", "NSW")
    [name] = elements(segments(interchange(shipping(region="New South Wales"))), "NAD", "DP")
    assert (as_list(name[4])[-1], name[6]) == ("New South Wales", "")


def test_a_phone_number_is_reported_if_it_fits_and_else_left_out() -> None:
    [reported] = elements(segments(interchange(shipping(phone="+49 221 5550100"))), "FTX")
    assert reported == ["AAI", "", "", "DELIVERY PHONE +49 221 5550100"]
    assert elements(segments(interchange(shipping(phone="1" * 55))), "FTX") != []
    assert elements(segments(interchange(shipping(phone="1" * 56))), "FTX") == []
    assert elements(segments(interchange(shipping(phone="\ue000"))), "FTX") == []


def test_a_postal_code_gives_up_its_hyphen_before_it_is_too_long() -> None:
    [nad] = elements(segments(interchange(shipping(postal_code="43215-1234"))), "NAD", "DP")
    assert nad[7] == "432151234"
    [nad] = elements(segments(interchange(shipping(postal_code="01310-100"))), "NAD", "DP")
    assert nad[7] == "01310-100"


def test_a_number_that_can_be_an_ean_or_upc_is_reported_beside_the_store_s_own() -> None:
    reported = {}
    for sku in ("4006381333931", "036000291452", "4006381333932", "40063813", "12345678901x"):
        found = segments(interchange(first_line(sku=sku)))
        assert elements(found, "LIN") == [["1", "", [sku, "SA"]]]
        reported[sku] = elements(found, "PIA")
    assert reported == {
        "4006381333931": [["1", ["4006381333931", "EN"]]],
        "036000291452": [["1", ["036000291452", "UP"]]],
        "4006381333932": [],  # a wrong check digit
        "40063813": [],
        "12345678901x": [],
    }


@pytest.mark.parametrize(
    ("their_id", "qualifier", "agency"),
    [
        ("4012345000009", "14", "9"),
        ("4012345000008", "14", "92"),  # a wrong check digit
        ("4012345000009", "ZZZ", "92"),
        ("401234500000", "14", "92"),
        ("WAREHOUSE", "14", "92"),
    ],
)
def test_a_location_number_is_of_gs1_and_any_other_of_the_buyer(their_id: str, qualifier: str, agency: str) -> None:
    partner = replace(PARTNER, their_id=their_id, their_qualifier=qualifier)
    [su] = elements(segments(interchange(ORDER, partner=partner)), "NAD", "SU")
    assert su[1] == [their_id, "", agency]


@pytest.mark.parametrize(
    ("prices", "total"),
    [
        (["0.10", "0.20"], "0.30"),
        (["-2.50", "0"], "-2.50"),
        (["0E-999999", "1E+3"], "1000"),
        (["123456789012345", "0.0001"], None),
    ],
)
def test_the_total_is_exact_or_the_order_is_refused(prices: list[str], total: str | None) -> None:
    lines = tuple(Line(number, "SKU", "", 1, Decimal(price)) for number, price in enumerate(prices, 1))
    order = replace(ORDER, lines=lines)
    if total is None:
        with pytest.raises(CannotRender, match=r"total 123456789012345\.0001 has too many digits, D\.96A allows 18"):
            render_order(order, PARTNER)
    else:
        assert elements(segments(interchange(order)), "MOA") == [[["79", total]]]


def test_a_message_has_no_more_segments_than_unt_can_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edi.documents.edifact._SEGMENTS", 19)
    assert b"UNT+19+1'" in interchange(ORDER)
    with pytest.raises(CannotRender, match=r"20 segments with UNH and UNT, D\.96A allows 19"):
        render_order(shipping(phone="1"), PARTNER)


def test_a_test_interchange_says_so_in_the_eleventh_element() -> None:
    raw = interchange(ORDER, partner=replace(PARTNER, test=True)).decode("latin-1")
    assert "+261123:0930+42++++++1'UNH" in raw
    [unb] = elements(segments(raw.encode("latin-1")), "UNB")
    assert (len(unb), unb[10]) == (11, "1")


@pytest.mark.parametrize(
    ("character_set", "name", "street"),
    [
        (CharacterSet.UNOA, b"ZOE O?'BRIEN-MULLER", b"STRASSE 5 ?+ 7?: HOF??:C/O CAFE"),
        (CharacterSet.UNOB, b"Zoe O?'Brien-Muller", b"Strasse 5 ?+ 7?: Hof??:c/o Cafe"),
        (CharacterSet.UNOC, b"Zo\xeb O?'Brien-M\xfcller", b"Stra\xdfe 5 ?+ 7?: Hof??:c/o Caf\xe9"),
    ],
)
def test_the_bytes_are_those_of_the_set_that_is_declared(
    character_set: CharacterSet, name: bytes, street: bytes
) -> None:
    raw = interchange(ORDER, partner=replace(PARTNER, character_set=character_set))
    assert raw.startswith(f"UNA:+.? 'UNB+{character_set}:3+".encode())
    assert b"NAD+DP+++" + name + b"+" + street in raw


@pytest.mark.parametrize(
    ("character_set", "order", "says"),
    [
        (CharacterSet.UNOA, replace(ORDER, number="so-1"), "number 'so-1' is an identification, and UNOA can only"),
        (CharacterSet.UNOA, first_line(sku="sku-red"), "line 1 sku 'sku-red' is an identification"),
        (CharacterSet.UNOB, first_line(sku="SKU_RED"), "and UNOB can only write 'SKU-RED'"),
        (CharacterSet.UNOB, replace(ORDER, number="SO-é"), "can only write 'SO-e'"),
    ],
)
def test_an_identification_is_never_respelled(character_set: CharacterSet, order: OrderDocument, says: str) -> None:
    render_order(order, PARTNER)
    with pytest.raises(CannotRender) as refused:
        render_order(order, replace(PARTNER, character_set=character_set))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"our_id": "S" * 36}, "our_id 'SSSS"),
        ({"their_id": ""}, "their_id is blank"),
        ({"our_qualifier": "ZZZZZ"}, "our_qualifier 'ZZZZZ' has 5 characters, D.96A allows 4"),
        ({"their_id": "Depot", "character_set": CharacterSet.UNOA}, "UNOA can only write 'DEPOT'"),
        ({"character_set": CharacterSet.X12_BASIC}, "EDIFACT has no character set x12-basic; it has UNOA, UNOB, UNOC"),
    ],
)
def test_a_partner_that_unb_cannot_name_is_a_mistake_of_its_configuration(changes: Any, says: str) -> None:
    partner = replace(PARTNER, **changes)
    with pytest.raises(ValueError, match="partner WAREHOUSE: ") as wrong:
        check_partner(partner)
    assert says in str(wrong.value)
    with pytest.raises(ValueError, match="partner WAREHOUSE: "):
        assemble([render_order(ORDER, PARTNER)], partner, 42, AT)


def test_a_partner_within_the_limits_of_unb_is_right() -> None:
    check_partner(replace(PARTNER, our_id="S" * 35, our_qualifier="ZZZZ", standard=Standard.EDIFACT_ORDERS_D96A))


def descriptions(description: str) -> list[list[str]]:
    """The components of each segment that describes the first line."""
    found = elements(segments(interchange(first_line(description=description))), "IMD")
    assert all(imd[:2] == ["F", ""] and imd[2][:3] == ["", "", ""] for imd in found)
    return [imd[2][3:] for imd in found]


def test_a_description_takes_as_many_segments_of_two_components_as_it_needs() -> None:
    assert descriptions("LANTERN " * 4) == [["LANTERN LANTERN LANTERN LANTERN"]]
    row = "LANTERN LANTERN LANTERN LANTERN"
    assert descriptions("LANTERN " * 19) == [[row, row], [row, row], ["LANTERN LANTERN LANTERN"]]


def test_the_longest_description_that_the_store_may_give_is_reported_whole() -> None:
    # ISO 8859-1 spells each with four letters.
    assert sum(len(row) for imd in descriptions("щ" * 256) for row in imd) == 4 * 256
    longest = "x" * 255 + "y"
    assert "".join(row for imd in descriptions(longest) for row in imd) == longest


def test_a_description_is_cut_after_the_segments_that_a_line_may_have() -> None:
    found = descriptions("LANTERN " * 1000)
    assert (len(found), {len(rows) for rows in found}) == (99, {2})


def test_a_description_that_cannot_be_spelled_is_left_out() -> None:
    assert elements(segments(interchange(first_line(description="\ue000"))), "IMD") == []


@pytest.mark.parametrize(
    ("price", "written"),
    [("0", "0"), ("-0.00", "0"), ("0E+9", "0"), ("1E+3", "1000"), ("1E-7", "0.0000001"), ("-2.50", "-2.50")],
)
def test_a_price_is_written_in_plain_notation(price: str, written: str) -> None:
    [pri] = elements(segments(interchange(first_line(unit_price=Decimal(price)))), "PRI")
    assert pri == [["AAA", written]]


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (replace(ORDER, number="S" * 36), "has 36 characters, D.96A allows 35"),
        (replace(ORDER, number="SO-Ł1"), "is an identification, and ISO 8859-1 can only write 'SO-L1'"),
        (replace(ORDER, number=""), "number is blank"),
        (replace(ORDER, currency="EURO"), "currency 'EURO' has 4 characters"),
        (shipping(name=" "), "shipping name is blank"),
        (shipping(name="Ann \ue000"), "U+E000 cannot be written in ISO 8859-1"),
        (shipping(name="山\U0003134a"), "U+3134A cannot be written"),
        (shipping(name="N" * 36), "D.96A allows 5 times 35 characters"),
        (shipping(line1="word " * 40), "shipping street does not fit, D.96A allows 4 times 35"),
        (shipping(city="C" * 36), "shipping city"),
        (shipping(country=""), "shipping country is blank"),
        (replace(ORDER, billing=replace(ADDRESS, city="C" * 36)), "billing city"),
        (first_line(quantity=0), "line 1: quantity 0"),
        (first_line(quantity=-3), "line 1: quantity -3"),
        (first_line(quantity=10**15), "line 1: quantity 1000000000000000"),
        (first_line(line_no=1_000_000), "line numbers from 1 to 999999"),
        (first_line(sku="S" * 36), "line 1 sku"),
        (first_line(unit_price=Decimal("NaN")), "line 1 unit_price NaN is not a number"),
        (first_line(unit_price=Decimal("1E+999999")), "unit_price 1E+999999 has too many digits"),
        (first_line(unit_price=Decimal("0.1234567890123456")), "too many digits, D.96A allows 15"),
        (replace(ORDER, lines=ORDER.lines * 100_001), "200002 lines, D.96A allows 200000"),
        (
            first_line(quantity=10**14, unit_price=Decimal("99.99999")),
            "total 9999999000000000.00000 has too many digits",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_order_that_does_not_fit_is_refused_with_the_reason_alone(order: OrderDocument, says: str) -> None:
    with pytest.raises(CannotRender) as refused:
        render_order(order, PARTNER)
    assert str(refused.value).startswith(f"order {order.number}: ")
    assert says in str(refused.value)
    assert "countermand export" not in str(refused.value)


# What fits: no word above 12 characters, all spelled one for one, so that four words take two components at most.
word = st.text(alphabet="abZ09+:'?éŁő-", min_size=1, max_size=12)
phrase = st.lists(word, min_size=1, max_size=4).map(" \n".join)
code = st.text(alphabet="AB12-+:'?é", min_size=1, max_size=35)
# What may not fit: anything that can be printed, and more.
anything = st.one_of(phrase, phrase, st.text(max_size=40))
any_code = st.one_of(code, code, st.text(max_size=36))


def addresses(text: st.SearchStrategy[str], short: st.SearchStrategy[str]) -> st.SearchStrategy[Address]:
    return st.builds(
        Address,
        name=text,
        line1=text,
        city=short,
        country=st.sampled_from(["DE", "GB", "JP"]),
        line2=st.none() | text,
        postal_code=st.none() | st.text(alphabet="AB12 -", max_size=9),
        region=st.none() | st.sampled_from(["", "NY", "NSW", "Lódź"]) | short.filter(lambda name: len(name) < 10),
        phone=st.none() | text,
        company=st.none() | text,
    )


def orders(
    text: st.SearchStrategy[str], short: st.SearchStrategy[str], codes: st.SearchStrategy[str], digits: int
) -> st.SearchStrategy[OrderDocument]:
    line = st.builds(
        Line,
        line_no=st.integers(1, 999_999),
        sku=codes,
        description=text,
        quantity=st.integers(1, 10**digits - 1),
        unit_price=st.decimals(allow_nan=False, allow_infinity=False, min_value=-1000, max_value=10**9, places=2),
    )
    return st.builds(
        OrderDocument,
        number=codes,
        placed_at=st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - see timezones
        currency=st.sampled_from(["EUR", "GBP"]),
        shipping=addresses(text, short),
        billing=addresses(text, short),
        lines=st.lists(line, max_size=3).map(tuple),
    )


fitting_orders = orders(phrase, word, code, 6)  # the total of three lines then has 18 digits at most
any_orders = orders(anything, anything, any_code, 15)
LIMITS = {"BGM": [3, 35, 3], "NAD": [3, 35, 0, 35, 35, 35, 9, 9, 3], "LIN": [6, 0, 35], "IMD": [3, 0, 35]} | {
    "FTX": [3, 0, 0, 70],
    "CUX": [3],
    "PIA": [3, 35],
    "CNT": [6],
    "MOA": [20],
}
COUNTS = {("NAD", 3): 5, ("NAD", 4): 4, ("IMD", 2): 5}


def spelled(*texts: str | None) -> str:
    return " ".join(filter(None, (spell(text or "", CharacterSet.UNOC) for text in texts)))


def assert_says_the_address(nad: list[Any], address: Address) -> None:
    region = spelled(address.region)
    assert " ".join(as_list(nad[3])) == spelled(address.name, address.company)
    assert " ".join(as_list(nad[4])) == spelled(address.line1, address.line2, region if len(region) > 9 else "")
    expected = [
        spelled(city_of(address, 35)),
        region if len(region) <= 9 else "",
        spelled(address.postal_code),
        address.country,
    ]
    assert nad[5:] == expected


def assert_within_limits(segment: Segment) -> None:
    for position, limit in enumerate(LIMITS.get(segment.tag, [])):
        if position < len(segment.elements):
            parts = as_list(segment.elements[position])
            assert max(map(len, parts)) <= limit, (segment, position)
            assert len(parts) <= COUNTS.get((segment.tag, position), 3), (segment, position)


def assert_reads_back(order: OrderDocument, message: Message) -> None:
    found = segments(assemble([message], PARTNER, 7, AT))
    for segment in found:
        assert_within_limits(segment)
    assert elements(found, "BGM") == [["220", order.number, "9"]]
    assert elements(found, "DTM") == [[["137", f"{order.placed_at:%Y%m%d%H%M}", "203"]]]
    assert_says_the_address(elements(found, "NAD", "DP")[0], order.shipping)
    assert_says_the_address(elements(found, "NAD", "IV")[0], order.billing)
    assert elements(found, "LIN") == [[str(line.line_no), "", [line.sku, "SA"]] for line in order.lines]
    assert elements(found, "QTY") == [[["21", str(line.quantity), "PCE"]] for line in order.lines]
    assert [Decimal(pri[1]) for [pri] in elements(found, "PRI")] == [line.unit_price for line in order.lines]
    assert elements(found, "CNT") == [[["2", str(len(order.lines))]]]
    [[[_, total]]] = elements(found, "MOA")
    assert Decimal(total) == sum(line.quantity * line.unit_price for line in order.lines)


@given(fitting_orders)
@settings(max_examples=100, deadline=None)
def test_a_reader_gets_back_what_the_order_says(order: OrderDocument) -> None:
    assert_reads_back(order, render_order(order, PARTNER))


@given(any_orders)
@settings(max_examples=100, deadline=None)
def test_any_order_is_either_reported_in_full_or_refused(order: OrderDocument) -> None:
    try:
        message = render_order(order, PARTNER)
    except CannotRender as refused:
        assert str(refused).startswith(f"order {order.number}: ")  # noqa: PT017 - either outcome is right
    else:
        assert_reads_back(order, message)


@given(st.lists(fitting_orders, min_size=1, max_size=3), st.integers(1, LARGEST_CONTROL_NUMBER))
@settings(max_examples=100, deadline=None)
def test_every_count_of_the_envelope_is_right(candidates: list[OrderDocument], number: int) -> None:
    messages = [render_order(order, PARTNER) for order in candidates]
    raw = assemble(messages, PARTNER, number, AT)
    assert raw == assemble(messages, PARTNER, number, AT)
    found = segments(raw)
    tags = [segment.tag for segment in found]
    starts = [at for at, tag in enumerate(tags) if tag == "UNH"]
    ends = [at for at, tag in enumerate(tags) if tag == "UNT"]
    references = [str(reference) for reference in range(1, len(messages) + 1)]
    assert [found[at].elements[0] for at in starts] == references
    assert [list(found[at].elements) for at in ends] == [
        [str(end - start + 1), reference] for start, end, reference in zip(starts, ends, references, strict=True)
    ]
    assert found[-1].tag == "UNZ"
    assert list(found[-1].elements) == [str(len(messages)), str(number)]
