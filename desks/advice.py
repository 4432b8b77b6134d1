"""The advice for each reason: what happened, what to do instead, and in which order.

The advice follows the back-office guide; the wording is in the templates. No text contains a name or an address, so
all of them may be logged and quoted. None promises anything that Countermand does not do.
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
