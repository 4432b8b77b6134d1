"""Addresses as people read them: in the order of their country, and none of it left out."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.model import Address
from rules.postal import postal_lines


def an_address(country: str, **changes: Any) -> Address:
    return Address(**{"name": "Jane Doe", "line1": "1 Main St", "city": "City", "country": country, **changes})


@pytest.mark.parametrize(
    ("address", "lines"),
    [
        (an_address("DE", postal_code="50667", city="Köln"), ["Jane Doe", "1 Main St", "50667 Köln", "DE"]),
        (an_address("FR", postal_code="75001", city="Paris"), ["Jane Doe", "1 Main St", "75001 Paris", "FR"]),
        (
            an_address("GB", postal_code="LA5 2WU", city="Leeds", company="Acme", line2="Flat 2"),
            ["Jane Doe", "Acme", "1 Main St", "Flat 2", "Leeds", "LA5 2WU", "GB"],
        ),
        (an_address("US", postal_code="62701", region="IL"), ["Jane Doe", "1 Main St", "City, IL 62701", "US"]),
        (an_address("US", postal_code="62701"), ["Jane Doe", "1 Main St", "City, 62701", "US"]),
        (
            an_address("IT", postal_code="20121", city="Milano", region="MI"),
            ["Jane Doe", "1 Main St", "20121 Milano MI", "IT"],
        ),
        (an_address("IE", city="Dublin"), ["Jane Doe", "1 Main St", "Dublin", "IE"]),
        (
            an_address("JP", postal_code="100-0001", region="Tokyo", city="Chiyoda"),
            ["Jane Doe", "1 Main St", "Chiyoda, Tokyo", "100-0001", "JP"],
        ),
        (
            Address("山田太郎", "千代田1-1", "千代田区", "JP", postal_code="100-0001", region="東京都"),
            ["100-0001", "東京都", "千代田区", "千代田1-1", "山田太郎", "JP"],
        ),
        (an_address("XX", postal_code="1"), ["Jane Doe", "1 Main St", "City 1", "XX"]),
        (an_address("nowhere"), ["Jane Doe", "1 Main St", "City", "nowhere"]),
    ],
)
def test_an_address_is_written_in_the_order_of_its_country(address: Address, lines: list[str]) -> None:
    assert postal_lines(address) == lines


_PART = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
_COUNTRIES = st.sampled_from(["DE", "GB", "US", "JP", "SG", "HK", "AE", "CN", "KR", "BR", "RU", "IT", "XX", "../DE"])


@settings(deadline=None)
@given(
    st.builds(
        Address,
        **{name.name: _PART for name in fields(Address) if name.name not in ("country", "phone")},
        country=_COUNTRIES,
    )
)
def test_whatever_the_country_every_part_is_there(address: Address) -> None:
    written = "\n".join(postal_lines(address))
    for name in ("name", "company", "line1", "line2", "city", "region", "postal_code", "country"):
        assert getattr(address, name) in written
