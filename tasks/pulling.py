"""Listing the tickets that have changed, by the desks' APIs: what no webhook has brought is found and read.

A page is asked for outside any transaction; its tickets are noted in the transaction that moves the listing on.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from database.transactions import in_transaction, reading
from delivery.leases import LostFence
from delivery.outcomes import DeliveryError, Failure
from desks.desk import Changed, Desk, opened_api
from orders import tickets
from orders.tickets import Listing
from tasks.running.wakeups import WakeUp, wake, wakeup_task
from tasks.tickets import Read, read_one, readable

_log = structlog.get_logger()

SLICE_SECONDS = 5.0
# A slice and one last page, whose call has an end of its own; see `orders.tickets.LEASE`.
_TIME_LIMIT_SECONDS = 75


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was listed: how many of its tickets may ask for something, and whether it is the last."""

    found: int
    is_last: bool


@dataclass(slots=True)
class Pulled:
    """What a pull has done so far: how many tickets were listed that may ask for something, and what became of each."""

    listed: int = 0
    read: Counter[Read] = field(default_factory=Counter)


def list_page(desk: Desk, since: datetime | None = None) -> Page | None:
    """Lists one page of a desk's changed tickets and notes those that may ask for something.

    None if another process lists them, or they are listed from now on. Raises DeliveryError and LostFence.
    """
    listing = in_transaction(lambda connection: tickets.begin_listing(connection, desk.source, since))
    if listing is None:
        return None
    try:
        with opened_api(desk) as api:
            changed = desk.list_changed(api, listing.since, listing.cursor)
    except DeliveryError as error:
        failure = Failure.of(error)
        in_transaction(lambda connection: tickets.fail_page(connection, listing, failure))
        raise
    in_transaction(lambda connection: _end_page(connection, listing, changed))
    return Page(len(changed.tickets), changed.cursor is None)


def _end_page(connection: Connection, listing: Listing, changed: Changed) -> None:
    tickets.end_page(connection, listing, changed.tickets, changed.cursor)


def pull(desk: Desk, since: datetime | None) -> Iterator[Pulled]:
    """Lists what has changed and reads it, page by page and ticket by ticket; yields what is done so far.

    What a worker has in hand meanwhile is left to it. Raises DeliveryError and LostFence.
    """
    done = Pulled()
    page = list_page(desk, since)
    if page is None:
        raise LostFence(f"another process lists the tickets of {desk.name} at this moment")
    while page:
        done.listed += page.found
        yield done
        page = None if page.is_last else list_page(desk)
    while (became := read_one({desk.source: desk})) is not None:
        done.read[became] += 1
        yield done


@wakeup_task(WakeUp.LIST_TICKETS, time_limit=_TIME_LIMIT_SECONDS)
def list_tickets() -> None:
    """Lists the changed tickets of each desk that is due, for a time slice; the rest waits for beat's next wake-up."""
    deadline = time.monotonic() + SLICE_SECONDS
    for desk in _due():
        page = _list_apart(desk)
        while page and not page.is_last and time.monotonic() < deadline:
            page = _list_apart(desk)
        if time.monotonic() > deadline:
            return


def _due() -> Sequence[Desk]:
    every = {source: timedelta(minutes=desk.config.pull_minutes) for source, desk in readable().items()}
    wanted = {source: pause for source, pause in every.items() if pause}
    due = reading(lambda connection: tickets.desks_to_list(connection, wanted))
    return [readable()[source] for source in due]


def _list_apart(desk: Desk) -> Page | None:
    """Lists a page; what goes wrong is logged, and holds up no other desk."""
    try:
        page = list_page(desk)
    except (DeliveryError, LostFence) as error:
        _log.warning("changed tickets could not be listed", desk=desk.name, error=str(error))
        return None
    if page and page.found:
        _log.info("changed tickets are to be read", desk=desk.name, count=page.found)
        wake(WakeUp.READ_TICKETS)
    return page
