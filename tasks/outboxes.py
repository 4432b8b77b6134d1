"""Comparing the partners' outboxes with the database."""

from collections.abc import Iterable
from functools import partial

from database.server import is_replica
from database.transactions import reading
from edi import outboxes
from edi.partners import Partner
from edi.transports.transport import TransportError


def compare_outboxes(partners: Iterable[Partner]) -> tuple[list[str], list[str]]:
    """Returns what contradicts the database in the partners' outboxes, and which of them could not be compared.

    A replica may lag behind what is in the outboxes, so nothing is compared with one.
    """
    if reading(is_replica):
        return [], []
    contradictions, unseen = [], []
    for partner in partners:
        try:
            numbers = outboxes.numbers_in(partner, partner.transport.list_outbox())
        except TransportError as error:
            unseen.append(f"the content of the outbox of {partner.name} was not compared: {error}")
            continue
        if numbers:
            found = reading(partial(outboxes.known, partner=partner, numbers=numbers))
            contradictions += outboxes.contradictions(partner, numbers, found)
    return contradictions, unseen
