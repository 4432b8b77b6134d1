"""How a decision is told: who may read it, and in which words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from desks.quoting import greetable, quoted
from desks.texts import fixed, language_for, render
from rules.model import Address, AddressFault, AddressRole, ChangeRequest, Edi, Outcome, Reason, Status
from rules.postal import postal_lines
from rules.table import ESCALATING


class Visibility(StrEnum):
    """`public` goes to the customer, `internal` to the store's own people."""

    PUBLIC = "public"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Notice:
    """One rendered notification. Its body names people and is never logged; everything else may be."""

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


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an order stands as a note is written; `held_until` is when an escalation lets it go, if one holds it."""

    status: Status
    edi: Edi
    held_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked: the request, and of a partial cancellation the lines (sku, quantity)."""

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
) -> Notice:
    """Puts a decision into words: an answer to the customer, or a note that tells colleagues what to do.

    `customer` is the name to greet, given only where the reader is known to be that customer; `shop` is who signs.
    Whatever is escalated is for colleagues alone: the requester may be a stranger. So is a cancellation that lacks a
    note: only a colleague can fill in the form.
    """
    chosen = language_for(language)
    is_internal = outcome is Outcome.ESCALATED or Reason.NOTE_REQUIRED in reasons
    told = {
        "order": order,
        "outcome": outcome,
        "asked": _asked(chosen, order, asked),
        "advice": _advice(chosen, reasons, asked, faults),
    }
    if is_internal:
        body = render(chosen, "note", **told, **_for_colleagues(chosen, reasons, asked, standing))
    else:
        body = render(chosen, "answer", **told, customer=customer and greetable(customer), shop=shop)
    subject = render(chosen, "subject", order=order, outcome=outcome, internal=is_internal)
    visibility = Visibility.INTERNAL if is_internal else Visibility.PUBLIC
    return Notice(source, request_id, ticket, visibility, outcome, subject, body)


def _asked(language: str, order: str, asked: Asked | None) -> str | None:
    if asked is None:
        return None
    roles = [str(role) for role, _ in _addresses(asked)]
    return render(language, "asked", order=order, kind=asked.request.kind, roles=roles)


def _addresses(asked: Asked) -> list[tuple[AddressRole, Address]]:
    wanted = ((AddressRole.SHIPPING, asked.request.shipping), (AddressRole.BILLING, asked.request.billing))
    return [(role, address) for role, address in wanted if address is not None]


def _advice(language: str, reasons: Sequence[Reason], asked: Asked | None, faults: Sequence[AddressFault] = ()) -> str:
    """One paragraph a reason; of two addresses it says which is meant where the text alone does not."""
    roles = [role for role, _ in _addresses(asked)] if asked else []
    # Faults name their address themselves.
    faulty = {Reason.INVALID_ADDRESS: render(language, "address_faults", faults=faults)} if faults else {}
    paragraphs = [faulty.get(reason) or fixed(language, reason) for reason in reasons]
    if len(reasons) == len(roles) > 1:
        paragraphs = [
            f"{render(language, 'label', role=role)}: {text}"
            if reason in _OF_EITHER_ADDRESS and reason not in faulty
            else text
            for role, reason, text in zip(roles, reasons, paragraphs, strict=True)
        ]
    return "\n\n".join(paragraphs)


# The reasons whose texts do not say which address they are about.
_OF_EITHER_ADDRESS = {Reason.INVALID_ADDRESS, Reason.ADDRESS_IS_UNCHANGED, Reason.SUPERSEDED_BY_NEWER_REQUEST}


def _for_colleagues(
    language: str, reasons: Sequence[Reason], asked: Asked | None, standing: Standing | None
) -> dict[str, Any]:
    steps = [fixed(language, f"next_{one}") for one in reasons if one in ESCALATING or one is Reason.NOTE_REQUIRED]
    addresses = [
        {"label": render(language, "label", role=role), "text": quoted(", ".join(postal_lines(address)))}
        for role, address in (_addresses(asked) if asked else ())
    ]
    return {
        "reasons": reasons,
        "lines": ", ".join(f"{quantity} × {quoted(sku)}" for sku, quantity in asked.lines[:_LINES]) if asked else "",
        "addresses": addresses,
        "requester": quoted((asked and asked.request.requester) or ""),
        "note": quoted((asked and asked.request.note) or ""),
        "next_steps": "\n\n".join(steps),
        "standing": _standing(language, standing),
    }


# So many lines of a partial cancellation are named in a note.
_LINES = 20


def _standing(language: str, standing: Standing | None) -> str:
    if standing is None:
        return ""
    until = standing.held_until and standing.held_until.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    return render(language, "standing", status=standing.status, edi=standing.edi, held_until=until)
