"""How a decision is told: who may read it, and in which words."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from desks.texts import fixed, language_for, render
from rules.model import AddressFault, Outcome, Reason


class Visibility(StrEnum):
    """`public` goes to the customer, `internal` to the store's own people."""

    PUBLIC = "public"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Notice:
    """One rendered notification. It carries no name and no address, so that it may be logged."""

    source: str
    request_id: str
    ticket: str | None
    visibility: Visibility
    # None of a note for colleagues: nothing was decided.
    outcome: Outcome | None
    subject: str
    body: str

    @property
    def mark(self) -> str:
        """What stands under every answer, so that it is recognised on the ticket: the request's key.

        Percent-encoded: neither HTML nor Markdown nor a quoting mail program changes it, and no key's mark is a part
        of another's.
        """
        return f"{MARK_BEGINS}{quote(self.source, safe=':@')}/{quote(self.request_id, safe=':@')}]"

    @property
    def tag(self) -> str:
        """The tag that the ticket gets."""
        return f"countermand-{self.outcome or 'attention'}"

    @property
    def signed_body(self) -> str:
        """The text with its mark in the last line, as it is written to a ticket or a mail."""
        return f"{self.body}\n\n{self.mark}"


# How the mark of any answer of ours begins.
MARK_BEGINS = "[countermand:"


def write_notice(
    *,
    source: str,
    request_id: str,
    ticket: str | None,
    order: str,
    outcome: Outcome,
    reasons: Sequence[Reason],
    faults: Sequence[AddressFault] = (),
    language: str | None = None,
) -> Notice:
    """Puts a decision into words: the advice for the customer, or for colleagues the reason with it.

    Whatever is escalated is for colleagues alone: the requester may be a stranger.
    """
    chosen = language_for(language)
    faulty = {Reason.INVALID_ADDRESS: render(chosen, "address_faults", faults=faults)} if faults else {}
    advice = "\n\n".join(faulty.get(reason) or fixed(chosen, reason) for reason in reasons)
    visibility = Visibility.INTERNAL if outcome is Outcome.ESCALATED else Visibility.PUBLIC
    internal = visibility is Visibility.INTERNAL
    body = render(chosen, "note", reasons=reasons, advice=advice) if internal else advice
    subject = render(chosen, "subject", order=order, outcome=outcome)
    return Notice(source, request_id, ticket, visibility, outcome, subject, body)
