"""Translates a desk's own labels for kinds and countries."""

from collections.abc import Mapping

from desks.payload import ROLES, TicketPayload
from rules.countries import country_code


def translated(payload: TicketPayload, kinds: Mapping[str, str], countries: Mapping[str, str]) -> TicketPayload:
    """Returns a payload with our kinds in place of the desk's labels, and with country codes in place of names.

    `kinds` and `countries` map the desk's labels, in any case; English names of countries are known. Unknown labels
    stay as they are.
    """
    addresses = {}
    for role in ROLES:
        address = getattr(payload.addresses, role)
        meant = _meant(address.country, countries) or country_code(address.country) or address.country
        addresses[role] = address.model_copy(update={"country": meant})
    kind = _meant(payload.kind, kinds) or payload.kind
    return payload.model_copy(
        update={"kind": kind, "addresses": payload.addresses.model_copy(update=addresses)},
    )


def _meant(label: str, meanings: Mapping[str, str]) -> str | None:
    wanted = _plain(label)
    return next((meaning for known, meaning in meanings.items() if _plain(known) == wanted), None)


def _plain(label: str) -> str:
    return " ".join(label.split()).casefold()
