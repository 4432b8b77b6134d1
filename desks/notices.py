"""How a decision is told: who may read it, and in which words."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rules.advice import advice
from rules.model import Outcome, Reason


class Visibility(StrEnum):
    """`public` goes to the customer, `internal` to the store's own people."""

    PUBLIC = "public"
    INTERNAL = "internal"


_OUTCOME_IN_WORDS = {
    Outcome.APPLIED: "done",
    Outcome.PARTLY_APPLIED: "done in part",
    Outcome.UNCHANGED: "nothing to change",
    Outcome.REFUSED: "not possible",
    Outcome.ESCALATED: "with a colleague",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One rendered notification. It carries no name and no address, so that it may be logged."""

    source: str
    request_id: str
    ticket: str | None
    visibility: Visibility
    subject: str
    body: str


def write_notice(
    *, source: str, request_id: str, ticket: str | None, order: str, outcome: Outcome, reasons: Sequence[Reason]
) -> Notice:
    """Puts a decision into words: the advice for the customer, or for colleagues the reason with it."""
    visibility = Visibility.INTERNAL if outcome is Outcome.ESCALATED else Visibility.PUBLIC
    text = advice(reasons)
    if visibility is Visibility.INTERNAL:
        text = f"Escalated: {', '.join(reasons)}.\n\nWhat the customer can be told:\n\n{text}"
    subject = f"Your request for order {order}: {_OUTCOME_IN_WORDS[outcome]}"
    return Notice(source, request_id, ticket, visibility, subject, text)
