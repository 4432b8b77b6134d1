"""Looking at the partners' outboxes for what contradicts the database."""

from collections.abc import Iterable
from functools import partial

from database.server import is_replica
from database.transactions import reading
from edi import outboxes
from edi.partners import Partner
from edi.transports.transport import TransportError


def look(partners: Iterable[Partner]) -> tuple[list[str], list[str]]:
    """Returns what contradicts the database in the partners' outboxes, and which of them could not be looked at.

    A replica may lag behind what is in the outboxes, so nothing is compared with one.
    """
    if reading(is_replica):
        return [], []
    contradictions, unseen = [], []
    for partner in partners:
        try:
            numbers = outboxes.numbers_in(partner, partner.transport.list_outbox())
        except TransportError as error:
            unseen.append(f"what lies in the outbox of {partner.name} was not compared: {error}")
            continue
        if numbers:
            found = reading(partial(outboxes.known, partner=partner, numbers=numbers))
            contradictions += outboxes.contradictions(partner, numbers, found)
    return contradictions, unseen
