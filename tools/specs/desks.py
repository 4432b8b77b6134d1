"""How each kind of desk proves that a webhook is its own, and what it sends: for openapi.json.

A kind whose payload is our template is described by its class alone.
"""

from dataclasses import dataclass
from typing import Any

from desks.payload import NamedTicket, TicketPayload
from desks.registry import kinds
from tools.specs import examples


@dataclass(frozen=True, slots=True)
class DeskScheme:
    """One kind of desk: its headers by the names of their security schemes, its bodies, and what these are made of."""

    headers: dict[str, tuple[str, str]]
    body: str
    example: dict[str, Any]
    names_tickets: bool = False

    @property
    def bodies(self) -> tuple[str, ...]:
        """The schemas of all that it may send."""
        return (self.body, NamedTicket.__name__) if self.names_tickets else (self.body,)


_BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "zammad": ("ZammadPayload", examples.ZAMMAD),
    "chatwoot": ("ChatwootPayload", examples.CHATWOOT),
    "standard": ("ChangeMessage", examples.EVENTS["cancel"][1]),
}

DESKS = {
    name: DeskScheme(
        {f"{name}-{header}": (header, description) for header, description in kind.signature_headers.items()},
        *_BODIES.get(name, (TicketPayload.__name__, examples.TICKET)),
        names_tickets=kind.reads_tickets,
    )
    for name, kind in sorted(kinds().items())
}

# Two desks define their own payloads: only the fields that we read are described.
PAYLOADS: dict[str, dict[str, Any]] = {
    "ZammadPayload": {
        "title": "ZammadPayload",
        "description": "Zammad's default payload. Of the ticket also its attributes `countermand_order`, "
        "`countermand_kind`, `countermand_note`, `countermand_shipping_name` and so on are looked at, or those that "
        "the desks file names; a ticket whose kind is blank is ignored.",
        "type": "object",
        "required": ["ticket"],
        "properties": {
            "ticket": {
                "type": "object",
                "required": ["id", "customer"],
                "properties": {"customer": {"type": "object", "required": ["email"]}},
            }
        },
    },
    "ChatwootPayload": {
        "title": "ChatwootPayload",
        "description": "Chatwoot's `conversation_updated`; other events are ignored. Of its `custom_attributes` "
        "`countermand_order`, `countermand_kind`, `countermand_note`, `countermand_shipping_name` and so on are looked "
        "at, or those that the desks file names; only a change of the kind asks for something. The address of a "
        "visitor of a website or API inbox is passed over, verified or not.",
        "type": "object",
        "required": ["event"],
        "properties": {"event": {"type": "string"}, "custom_attributes": {"type": "object"}},
    },
}
