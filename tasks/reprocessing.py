"""Reprocessing slice by slice, each a short transaction: a killed run's work stays done, another run does the rest."""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from database.transactions import in_transaction
from orders.effects import revive_dead
from orders.notes import revive_dead_notes
from orders.reprocessing import BEGINNING, Filter, Place, find_parked, preview, revive
from tasks.partners import address_check
from tasks.running.wakeups import WakeUp, wake

# Requests or effects a transaction. A preview reads requests whole, and one may have 256 KiB.
_SLICE = 500
_SLICE_OF_PREVIEW = 100


def iterate_reprocessing(wanted: Filter) -> Iterator[int]:
    """As it is iterated, makes parked requests undecided again; yields for each slice how many still were parked."""
    place = BEGINNING
    while slice_ := in_transaction(_revive_next, wanted, place):
        revived, ended = slice_
        # At the first slice and after the last: between them a worker goes on by itself, or at beat's next wake-up.
        if place == BEGINNING:
            wake(WakeUp.APPLY_CHANGES)
        place = ended
        yield revived
    if place != BEGINNING:
        wake(WakeUp.APPLY_CHANGES)


def _revive_next(connection: Connection, wanted: Filter, after: Place) -> tuple[int, Place] | None:
    requests = find_parked(connection, wanted, after, limit=_SLICE)
    if not requests:
        return None
    return revive(connection, requests), Place(requests[-1].order_number, requests[-1].id)


def iterate_previews(wanted: Filter) -> Iterator[Mapping[str, Any]]:
    """Yields for each parked request what would be decided now; writes nothing. Raises ConfigurationError."""
    place, check = BEGINNING, address_check()
    while (found := in_transaction(preview, wanted, place, check=check, limit=_SLICE_OF_PREVIEW)).shown:
        yield from found.shown
        place = found.place


def iterate_revived_effects() -> Iterator[int]:
    """As it is iterated, makes dead effects and dead notes pending again; yields how many effects a slice had."""
    after = 0
    while ids := in_transaction(revive_dead, limit=_SLICE, after=after):
        yield len(ids)
        after = ids[-1]
    after = 0
    while notes := in_transaction(revive_dead_notes, limit=_SLICE, after=after):
        after = notes[-1]
