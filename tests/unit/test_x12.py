"""X12 940: what an order becomes in both releases, what is refused, and that a reader gets back what the order says."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edi.documents.charset import spell
from edi.documents.order import CannotRender, Line, OrderDocument
from edi.documents.x12 import LARGEST_CONTROL_NUMBER, assemble, check_partner, render_order
from edi.partners import CharacterSet, Partner, Standard
from rules.model import Address
from tests.edi_orders import X12, order_documents

PARTNER = replace(
    X12,
    their_id="WH01",
    their_qualifier="ZZ",
    standard=Standard.X12_940_004010,
    character_set=CharacterSet.X12_EXTENDED,
)
BASIC = replace(PARTNER, character_set=CharacterSet.X12_BASIC)
AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
ADDRESS = Address(
    name="Zoë O'Brien-Müller",
    line1="12 Main St + Rear? Unit 5",
    line2="c/o Café",
    city="Columbus",
    region="OH",
    postal_code="43215-1234",
    country="US",
)
ORDER = OrderDocument(
    number="SO-10042",
    placed_at=AT,
    currency="USD",
    shipping=ADDRESS,
    billing=replace(ADDRESS, name="Ann", line2=None, region=None, postal_code=None),
    lines=(
        Line(1, "SKU-BLUE", "WHITE LANTERN", 3, Decimal("2.55")),
        Line(2, "4006381333931", "", 10, Decimal(1)),
    ),
)


def interchange(*orders: OrderDocument, partner: Partner = PARTNER, number: int = 42) -> bytes:
    return assemble([render_order(order, partner) for order in orders], partner, number, AT)


def segments(raw: bytes) -> list[list[str]]:
    return [segment.split("*") for segment in raw.decode("ascii").removesuffix("~").split("~")]


def elements(found: Sequence[list[str]], tag: str) -> list[list[str]]:
    return [segment[1:] for segment in found if segment[0] == tag]


def party(found: Sequence[list[str]], role: str) -> list[list[str]]:
    """The segments of one N1 loop."""
    start = next(at for at, segment in enumerate(found) if segment[:2] == ["N1", role])
    rest = found[start + 1 :]
    length = next(at for at, segment in enumerate(rest) if segment[0] not in ("N2", "N3", "N4", "PER"))
    return [found[start], *rest[:length]]


def shipping(**changes: Any) -> OrderDocument:
    return replace(ORDER, shipping=replace(ADDRESS, **changes))


def first_line(**changes: Any) -> OrderDocument:
    return replace(ORDER, lines=(replace(ORDER.lines[0], **changes),))


def test_an_order_reads_as_the_standard_says() -> None:
    assert interchange(ORDER).decode("ascii") == (
        "ISA*00*          *00*          *ZZ*SHOP01         *ZZ*WH01           *261123*0930*U*00401*000000042*0*P*>~"
        "GS*OW*SHOP01*WH01*20261123*0930*42*X*004010~"
        "ST*940*0001~W05*N*SO-10042~N1*DE**ZZ*SHOP01~N1*WH**ZZ*WH01~"
        "N1*ST*Zoe O'Brien-Muller~N3*12 Main St + Rear? Unit 5*c/o Cafe~N4*Columbus*OH*43215-1234*US~"
        "N1*BT*Ann~N3*12 Main St + Rear? Unit 5~N4*Columbus***US~"
        "G62*04*20261123~W66*PP*U~"
        "LX*1~W01*3*EA**VN*SKU-BLUE~G69*WHITE LANTERN~"
        "LX*2~W01*10*EA**VN*4006381333931*EN*4006381333931~"
        "W76*13~SE*19*0001~GE*1*42~IEA*1*000000042~"
    )


def test_the_later_release_declares_itself_and_a_repetition_separator() -> None:
    raw = interchange(ORDER, partner=replace(PARTNER, standard=Standard.X12_940_005010))
    assert raw[82:106] == b"^*00501*000000042*0*P*>~"
    assert b"*42*X*005010~" in raw
    assert raw[106:].split(b"~", 1)[1].startswith(b"ST*940*0001~W05*N*SO-10042~")


def test_the_basic_set_is_upper_case() -> None:
    raw = interchange(shipping(name="José 50% #1", company="a_b@c"), partner=BASIC)
    assert party(segments(raw), "ST")[:2] == [["N1", "ST", "JOSE 50 PCT NO.1"], ["N2", "A-B(AT)C"]]


def test_an_interchange_header_has_106_bytes_whatever_is_in_it() -> None:
    for partner in (PARTNER, replace(PARTNER, our_id="AB", their_id="123456789012345", test=True)):
        for number in (1, LARGEST_CONTROL_NUMBER):
            raw = interchange(ORDER, partner=partner, number=number)
            assert raw[105:109] == b"~GS*"


def test_a_test_interchange_says_so() -> None:
    assert interchange(ORDER, partner=replace(PARTNER, test=True))[99:106] == b"*0*T*>~"
    assert interchange(ORDER)[99:106] == b"*0*P*>~"


def test_orders_of_one_interchange_are_sets_of_one_group() -> None:
    found = segments(interchange(ORDER, replace(ORDER, number="SO-2"), replace(ORDER, number="SO-3"), number=7))
    assert elements(found, "ST") == [["940", "0001"], ["940", "0002"], ["940", "0003"]]
    assert elements(found, "SE") == [["19", "0001"], ["19", "0002"], ["19", "0003"]]
    assert elements(found, "GS")[0][5] == "7"
    assert (elements(found, "GE"), elements(found, "IEA")) == ([["3", "7"]], [["1", "000000007"]])


def test_times_are_reported_in_utc_wherever_they_come_from() -> None:
    local = timezone(timedelta(hours=-11))
    assert interchange(replace(ORDER, placed_at=AT.astimezone(local))) == interchange(ORDER)
    message = render_order(ORDER, PARTNER)
    assert assemble([message], PARTNER, 1, AT.astimezone(local)) == assemble([message], PARTNER, 1, AT)


def test_a_time_without_a_zone_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        assemble([render_order(ORDER, PARTNER)], PARTNER, 1, AT.replace(tzinfo=None))


@pytest.mark.parametrize("number", [0, -1, 10**9])
def test_a_control_number_beyond_the_standard_is_a_mistake_of_the_caller(number: int) -> None:
    with pytest.raises(ValueError, match="ISA13"):
        interchange(ORDER, number=number)


def test_an_interchange_without_an_order_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="transaction sets, not 0"):
        assemble([], PARTNER, 1, AT)


def test_a_long_street_is_broken_at_spaces_and_keeps_every_word() -> None:
    street = "Acceso de Anacleto Mayol 12 Puerta 8 Escalera B derecha junto al mercado"
    assert party(segments(interchange(shipping(line1=street, line2="Bajo"))), "ST")[1:-1] == [
        ["N3", "Acceso de Anacleto Mayol 12 Puerta 8 Escalera B derecha", "junto al mercado"],
        ["N3", "Bajo"],
    ]


def test_a_long_name_and_a_company_continue_in_n2() -> None:
    name = "Juan Carlos Alfonso Víctor María de Borbón y Borbón-Dos Sicilias"
    assert party(segments(interchange(shipping(name=name, company="Casa"))), "ST")[:2] == [
        ["N1", "ST", "Juan Carlos Alfonso Victor Maria de Borbon y Borbon-Dos"],
        ["N2", "Sicilias", "Casa"],
    ]


@pytest.mark.parametrize(
    ("region", "state", "row"),
    [("OH", "OH", []), ("oh", "OH", []), ("Ohio", "", ["Ohio"]), ("12", "", ["12"]), ("", "", []), (None, "", [])],
)
def test_a_state_is_two_letters_or_a_line_of_the_address(region: str | None, state: str, row: list[str]) -> None:
    _, n3, *more = party(segments(interchange(shipping(region=region, line2=None))), "ST")
    assert n3[2:] == row
    assert more == [["N4", "Columbus", state, "43215-1234", "US"]]


def test_a_phone_number_is_reported_if_it_fits_and_else_left_out() -> None:
    assert elements(segments(interchange(shipping(phone="+49 221 5550100"))), "PER") == [
        ["DC", "", "TE", "+49 221 5550100"]
    ]
    assert elements(segments(interchange(shipping(phone="1" * 81))), "PER") == []
    assert elements(segments(interchange(shipping(phone="\ue000"))), "PER") == []


def test_a_description_takes_five_segments_at_most() -> None:
    found = elements(segments(interchange(first_line(description="LANTERN " * 32))), "G69")
    assert found == [[" ".join(["LANTERN"] * 5)]] * 5
    assert elements(segments(interchange(first_line(description="\ue000"))), "G69") == []


def test_a_number_that_can_be_an_ean_or_upc_is_reported_beside_the_store_s_own() -> None:
    for sku, pair in [("036000291452", ["UP", "036000291452"]), ("036000291453", []), ("40063813", [])]:
        [w01] = elements(segments(interchange(first_line(sku=sku))), "W01")
        assert w01 == ["3", "EA", "", "VN", sku, *pair]


@pytest.mark.parametrize(("qualifier", "reported"), [("01", "1"), ("14", "9"), ("ZZ", "ZZ"), ("12", "ZZ")])
def test_a_duns_number_is_called_one_and_any_other_mutually_defined(qualifier: str, reported: str) -> None:
    found = segments(interchange(ORDER, partner=replace(PARTNER, their_qualifier=qualifier)))
    assert party(found, "WH") == [["N1", "WH", "", reported, "WH01"]]


@pytest.mark.parametrize("delimiter", "*~>^")
def test_a_delimiter_is_no_part_of_a_name_and_no_part_of_an_identification(delimiter: str) -> None:
    plain, found = (
        segments(interchange(shipping(name=f"A{sign}B", line1=f"{sign}{sign}x", phone=f"1{sign}2")))
        for sign in ("-", delimiter)
    )
    assert [len(segment) for segment in found] == [len(segment) for segment in plain]
    for order in (replace(ORDER, number=f"SO{delimiter}1"), first_line(sku=f"SKU{delimiter}1")):
        with pytest.raises(CannotRender, match="is an identification, and the extended character set of X12 can only"):
            render_order(order, PARTNER)


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (replace(ORDER, number="S" * 23), "has 23 characters, 004010 allows 22"),
        (replace(ORDER, number="SO-é1"), "the extended character set of X12 can only write 'SO-e1'"),
        (replace(ORDER, number=""), "number is blank"),
        (shipping(name=" "), "shipping name is blank"),
        (shipping(name="Ann \ue000"), "U+E000 cannot be written in the extended character set of X12"),
        (shipping(name="N" * 61), "004010 allows 5 times 60 characters"),
        (shipping(line1="word " * 48), "004010 allows 4 times 55 characters"),
        (shipping(region="New South Wales", line1="word " * 44, line2=None), "shipping street"),
        (shipping(city="C" * 31), "shipping city"),
        (shipping(city="Å"), "shipping city has 1 characters, 004010 wants 2"),
        (shipping(country=""), "shipping country is blank"),
        (replace(ORDER, billing=replace(ADDRESS, city="C" * 31)), "billing city"),
        (first_line(quantity=0), "line 1: quantity 0"),
        (first_line(quantity=-3), "line 1: quantity -3"),
        (first_line(quantity=10**15), "line 1 quantity 1000000000000000 has too many digits"),
        (replace(ORDER, lines=(replace(ORDER.lines[0], quantity=10**15 - 1), ORDER.lines[1])), "total quantity 1000"),
        (first_line(line_no=1_000_000), "004010 allows line numbers from 1 to 999999"),
        (first_line(line_no=0), "004010 allows line numbers from 1 to 999999"),
        (first_line(sku="S" * 49), "line 1 sku"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_order_that_does_not_fit_is_refused_with_the_reason_alone(order: OrderDocument, says: str) -> None:
    with pytest.raises(CannotRender) as refused:
        render_order(order, PARTNER)
    assert str(refused.value).startswith(f"order {order.number}: ")
    assert says in str(refused.value)
    assert "countermand export" not in str(refused.value)


def test_small_letters_in_an_identification_do_not_fit_the_basic_set() -> None:
    assert interchange(first_line(sku="sku-blue"))
    with pytest.raises(CannotRender, match="the basic character set of X12 can only write 'SKU-BLUE'"):
        render_order(first_line(sku="sku-blue"), BASIC)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"our_id": "S" * 16}, "our_id 'SSSSSSSSSSSSSSSS' has 16 characters, 004010 allows 15"),
        ({"their_id": "S"}, "their_id 'S' has 1 characters, 004010 wants 2"),
        ({"our_qualifier": "ZZZ"}, "our_qualifier 'ZZZ' has 3 characters, 004010 allows 2"),
        ({"their_id": "A*B"}, "can only write 'A-B'"),
        ({"their_id": "Depot", "character_set": CharacterSet.X12_BASIC}, "can only write 'DEPOT'"),
        ({"character_set": CharacterSet.UNOC}, "X12 has no character set UNOC; it has x12-basic, x12-extended"),
    ],
)
def test_a_partner_that_isa_cannot_name_is_a_mistake_of_its_configuration(changes: Any, says: str) -> None:
    partner = replace(PARTNER, **changes)
    with pytest.raises(ValueError, match="partner WAREHOUSE: ") as wrong:
        check_partner(partner)
    assert says in str(wrong.value)
    with pytest.raises(ValueError, match="partner WAREHOUSE: "):
        assemble([render_order(ORDER, PARTNER)], partner, 42, AT)


def spelled(*texts: str | None) -> str:
    return " ".join(filter(None, (spell(text or "", CharacterSet.X12_EXTENDED) for text in texts)))


def assert_says_the_address(loop: Sequence[list[str]], address: Address) -> None:
    reported = {
        tag: [element for segment in loop if segment[0] == tag for element in segment[1:]] for tag in ("N2", "N3")
    }
    [n4] = [segment[1:] for segment in loop if segment[0] == "N4"]
    state = n4[1] or None
    assert " ".join([loop[0][2], *reported["N2"]]) == spelled(address.name, address.company)
    region = None if state else address.region
    assert " ".join(reported["N3"]) == spelled(address.line1, address.line2, region)
    assert n4 == [spelled(address.city), spelled(address.region).upper() if state else "", *n4[2:]]
    assert n4[2:] == [spelled(address.postal_code), address.country]


@given(st.lists(order_documents(PARTNER), min_size=1, max_size=3), st.integers(1, LARGEST_CONTROL_NUMBER))
@settings(max_examples=60, deadline=None)
def test_any_order_is_either_reported_in_full_or_refused(orders: list[OrderDocument], number: int) -> None:
    for order in orders:
        try:
            message = render_order(order, PARTNER)
        except CannotRender as refused:
            assert str(refused).startswith(f"order {order.number}: ")  # noqa: PT017 - either outcome is right
            continue
        raw = assemble([message], PARTNER, number, AT)
        assert raw == assemble([message], PARTNER, number, AT)
        found = segments(raw)
        assert elements(found, "W05") == [["N", order.number]]
        assert_says_the_address(party(found, "ST"), order.shipping)
        assert_says_the_address(party(found, "BT"), order.billing)
        reported = [(int(item[0]), item[4]) for item in elements(found, "W01")]
        assert reported == [(line.quantity, line.sku) for line in order.lines]
        assert elements(found, "W76") == [[str(sum(line.quantity for line in order.lines))]]
