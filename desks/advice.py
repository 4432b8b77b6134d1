"""What the customer reads for each reason: what happened, what to do instead, and in which order.

The advice is the back-office guide's; the words are those of the templates. No text carries a name or an address, so
that it may be logged and quoted, and none promises what no process of ours does.
"""

from collections.abc import Iterable, Sequence

from desks.texts import DEFAULT_LANGUAGE, OUR_TEXTS, Texts
from rules.model import AddressFault, ParkedReason, Reason


def advice(reasons: Iterable[Reason | ParkedReason], faults: Sequence[AddressFault] = ()) -> str:
    """Returns our English text for these reasons, as commands and the API show it, one paragraph a reason.

    With `faults`, `invalid_address` says which parts of the address are wrong.
    """
    return "\n\n".join(advice_paragraphs(OUR_TEXTS, DEFAULT_LANGUAGE, reasons, faults))


def advice_paragraphs(
    texts: Texts, language: str, reasons: Iterable[Reason | ParkedReason], faults: Sequence[AddressFault] = ()
) -> list[str]:
    """Returns the paragraphs for these reasons in their order."""
    return [
        texts.render(language, "address_faults", faults=faults)
        if faults and reason is Reason.INVALID_ADDRESS
        else texts.fixed(language, reason)
        for reason in reasons
    ]
