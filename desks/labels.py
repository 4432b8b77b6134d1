"""What a desk's own labels mean: of kinds and countries, as its admin and its customers see them."""

from collections.abc import Mapping

from desks.payload import ROLES, TicketPayload
from rules.countries import country_code


def translated(payload: TicketPayload, kinds: Mapping[str, str], countries: Mapping[str, str]) -> TicketPayload:
    """Returns a payload with our kinds for the desk's, and with codes of countries for their names.

    `kinds` and `countries` are the desk's labels, in any case; a country is also known by its English name. What has no
    such meaning stays as it is.
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
