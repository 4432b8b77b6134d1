"""Notices: the text about a decision, and who may read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from desks.advice import advice_paragraphs
from desks.quoting import greetable, quoted
from desks.texts import OUR_TEXTS, Texts
from rules.model import Address, AddressFault, AddressRole, ChangeRequest, Edi, Outcome, Reason, Status
from rules.postal import postal_lines
from rules.table import ESCALATING


class Visibility(StrEnum):
    """`public` goes to the customer, `internal` to the store's own people."""

    PUBLIC = "public"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Notice:
    """One rendered notification. Its body names people and must never be logged; everything else may be."""

    source: str
    request_id: str
    ticket: str | None
    visibility: Visibility
    # None for a note about something undecided.
    outcome: Outcome | None
    subject: str
    body: str

    @property
    def mark(self) -> str:
        """The line that identifies an answer on its ticket. It contains the request's key.

        Percent-encoded, so that HTML, Markdown and quoting mail programs do not change it, and no mark is a part of
        another.
        """
        return f"{MARK_BEGINS}{quote(self.source, safe=':@')}/{quote(self.request_id, safe=':@')}]"

    @property
    def tag(self) -> str:
        """The tag that the ticket gets."""
        return f"countermand-{self.outcome or 'attention'}"

    @property
    def signed_body(self) -> str:
        """The body with the mark as its last line, as it is written to a ticket or a mail."""
        return f"{self.body}\n\n{self.mark}"


# The beginning of every mark.
MARK_BEGINS = "[countermand:"


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of an order when a note is written; `held_until` is the end of the hold by an escalation, if any."""

    status: Status
    edi: Edi
    held_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked: the request and, for a partial cancellation, the lines (sku, quantity)."""

    request: ChangeRequest
    lines: Sequence[tuple[str, int]] = ()


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
    asked: Asked | None = None,
    customer: str | None = None,
    shop: str | None = None,
    standing: Standing | None = None,
    texts: Texts = OUR_TEXTS,
) -> Notice:
    """Writes a decision as an answer to the customer, or as a note for colleagues with the next step.

    `customer` is the name to greet, given only if the reader is known to be that customer; `shop` signs the answer.
    Escalations are only for colleagues, because the requester may be a stranger. So is a cancellation without a note,
    because only a colleague can fill in the form.
    """
    chosen = texts.language_for(language)
    is_internal = outcome is Outcome.ESCALATED or Reason.NOTE_REQUIRED in reasons
    common = {
        "order": order,
        "outcome": outcome,
        "asked": _asked(texts, chosen, order, asked),
        "advice": _advice(texts, chosen, reasons, asked, faults),
    }
    if is_internal:
        body = texts.render(chosen, "note", **common, **_for_colleagues(texts, chosen, reasons, asked, standing))
    else:
        body = texts.render(chosen, "answer", **common, customer=customer and greetable(customer), shop=shop)
    subject = one_line(texts.render(chosen, "subject", order=order, outcome=outcome, internal=is_internal))
    visibility = Visibility.INTERNAL if is_internal else Visibility.PUBLIC
    return Notice(source, request_id, ticket, visibility, outcome, subject, body)


def _asked(texts: Texts, language: str, order: str, asked: Asked | None) -> str | None:
    if asked is None:
        return None
    roles = [str(role) for role, _ in _addresses(asked)]
    return texts.render(language, "asked", order=order, kind=asked.request.kind, roles=roles)


def _addresses(asked: Asked) -> list[tuple[AddressRole, Address]]:
    wanted = ((AddressRole.SHIPPING, asked.request.shipping), (AddressRole.BILLING, asked.request.billing))
    return [(role, address) for role, address in wanted if address is not None]


def _advice(
    texts: Texts, language: str, reasons: Sequence[Reason], asked: Asked | None, faults: Sequence[AddressFault]
) -> str:
    """Returns one paragraph per reason; with two addresses, it adds which one is meant if the text does not say."""
    roles = [role for role, _ in _addresses(asked)] if asked else []
    paragraphs = advice_paragraphs(texts, language, reasons, faults)
    # Texts with faults name their address.
    unnamed = _OF_EITHER_ADDRESS - ({Reason.INVALID_ADDRESS} if faults else set())
    if len(reasons) == len(roles) > 1:
        paragraphs = [
            f"{texts.render(language, 'label', role=role)}: {text}" if reason in unnamed else text
            for role, reason, text in zip(roles, reasons, paragraphs, strict=True)
        ]
    return "\n\n".join(paragraphs)


def one_line(text: str) -> str:
    """Returns a subject without line breaks, which a store's text may have."""
    return " ".join(text.split())


# The reasons whose texts do not say which address they are about.
_OF_EITHER_ADDRESS = {Reason.INVALID_ADDRESS, Reason.ADDRESS_IS_UNCHANGED, Reason.SUPERSEDED_BY_NEWER_REQUEST}


def _for_colleagues(
    texts: Texts, language: str, reasons: Sequence[Reason], asked: Asked | None, standing: Standing | None
) -> dict[str, Any]:
    explained = [one for one in reasons if one in ESCALATING or one is Reason.NOTE_REQUIRED]
    steps = [texts.fixed(language, f"next_{one}") for one in explained]
    addresses = [
        {"label": texts.render(language, "label", role=role), "text": quoted(", ".join(postal_lines(address)))}
        for role, address in (_addresses(asked) if asked else ())
    ]
    return {
        "reasons": reasons,
        "lines": ", ".join(f"{quantity} × {quoted(sku)}" for sku, quantity in asked.lines[:_LINES]) if asked else "",
        "addresses": addresses,
        "requester": quoted((asked and asked.request.requester) or ""),
        "note": quoted((asked and asked.request.note) or ""),
        "next_steps": "\n\n".join(steps),
        "standing": _standing(texts, language, standing),
    }


# The most lines of a partial cancellation that a note lists.
_LINES = 20


def _standing(texts: Texts, language: str, standing: Standing | None) -> str:
    if standing is None:
        return ""
    until = standing.held_until and standing.held_until.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    return texts.render(language, "standing", status=standing.status, edi=standing.edi, held_until=until)
