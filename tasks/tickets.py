"""Tickets whose forms are read by the desks' APIs: what a webhook named, and what a listing of changed tickets found.

Each is noted in a transaction, read outside any, and taken into the inbox in the transaction that settles it.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import count
from typing import Any

import structlog
from sqlalchemy import Connection

from database.faults import Fault, classify
from database.transactions import in_transaction
from delivery.leases import LostFence
from delivery.outcomes import DeliveryError, Failure
from desks.channels import Forbidden
from desks.desk import Desk, Form, Ignored, Unusable, opened_api
from orders import tickets
from orders.dead_letters import DeadLetter, keep_dead_letters
from orders.inbox import Delivery, store
from orders.messages import Unreadable, UnreadableMessage, parse_change
from orders.notes import write_notes
from orders.tickets import Leased
from tasks.helpdesks import helpdesks
from tasks.running.wakeups import WakeUp, wake, wakeup_task
from tasks.webhooks import ORIGIN, form_in, notes_on

_log = structlog.get_logger()

SLICE_SECONDS = 5.0
# A slice and one last reading, whose calls have an end of their own; see `orders.tickets.LEASE`.
_TIME_LIMIT_SECONDS = 75


class Read(StrEnum):
    """What became of one reading of a ticket."""

    TAKEN = "taken"
    KNOWN = "known"
    ASKS_NOTHING = "asks nothing"
    DIFFERS = "differs"
    UNUSABLE = "unusable"
    FAILED = "failed"
    LOST = "lost"


# What a form was found to be: a form, or the words why there is none, or why it could not be read.
_Found = Form | Ignored | Unusable | Failure


def readable() -> Mapping[str, Desk]:
    """Returns the desks whose tickets can be read by their APIs, by their sources."""
    return {desk.source: desk for desk in helpdesks().desks.values() if desk.reads_tickets and desk.config.answers}


def read_one(desks: Mapping[str, Desk]) -> Read | None:
    """Reads the next ticket that is due of these desks, by their sources; None if there is none."""
    leased = in_transaction(lambda connection: tickets.lease(connection, desks.keys()))
    if leased is None:
        return None
    desk = desks[leased.source]
    found = _read(desk, leased)
    log = _log.bind(desk=desk.name, ticket=leased.ticket)
    try:
        became = _settle(desk, leased, found)
    except LostFence as lost:
        log.warning("another process has taken over the ticket", error=str(lost))
        return Read.LOST
    match found, became:
        case _, Read.TAKEN:
            wake(WakeUp.APPLY_CHANGES)
            log.info("a ticket's form was taken")
        case _, Read.DIFFERS:
            log.warning("a form was changed after its kind was chosen, and is not taken: choose the kind again")
        case Unusable() | Failure(), Read.UNUSABLE | Read.FAILED:
            log.warning("a ticket's form could not be read", became=became, error=_reason(found))
    return became


def _read(desk: Desk, leased: Leased) -> _Found:
    """Returns what the desk says of a ticket. In no transaction."""
    try:
        with opened_api(desk) as api:
            return desk.form(api, leased.ticket)
    except (Ignored, Unusable) as without:
        return without
    except DeliveryError as error:
        # What is forbidden may be this ticket alone. An answer that does not come may be the ticket's fault or the
        # desk's; then other tickets get their turn first.
        desk_works = error.destination_works or isinstance(error, Forbidden)
        return replace(Failure.of(error), destination_works=desk_works)
    except Exception as error:  # noqa: BLE001  # a ticket that always breaks something must not stop the others
        _log.exception("reading a ticket broke", desk=desk.name, ticket=leased.ticket)
        return Failure(f"reading it broke: {type(error).__name__}", destination_works=True)


def _settle(desk: Desk, leased: Leased, found: _Found) -> Read:
    match found:
        case Form():
            return _settle_form(desk, leased, found)
        case Ignored():
            in_transaction(lambda connection: tickets.settle(connection, leased))
            return Read.ASKS_NOTHING
        case Unusable():
            return _give_up(desk, leased, str(found), found.form)
        case Failure():
            return in_transaction(lambda connection: _fail(connection, desk, leased, found))


def _settle_form(desk: Desk, leased: Leased, form: Form) -> Read:
    try:
        return in_transaction(lambda connection: _take(connection, desk, leased, form))
    except UnreadableMessage as unreadable:
        event = form.event(desk.source, form.key, leased.noted_at)
        return _give_up(desk, leased, str(unreadable), form_in(event))
    except LostFence:
        raise
    except Exception as error:
        if classify(error) is not Fault.PERMANENT:
            raise
        _log.exception("a ticket's form could not be kept", desk=desk.name, ticket=leased.ticket)
        return _give_up(desk, leased, f"the database refused it: {type(error).__name__}")


def _give_up(desk: Desk, leased: Leased, reason: str, form: Mapping[str, Any] | None = None) -> Read:
    notes = notes_on(desk, {**(form or {}), "ticket": leased.ticket}, reason)

    def bury_and_note(connection: Connection) -> None:
        _bury(connection, desk, leased, reason)
        write_notes(connection, notes)

    in_transaction(bury_and_note)
    return Read.UNUSABLE


def _take(connection: Connection, desk: Desk, leased: Leased, form: Form) -> Read:
    """Takes a form into the inbox unless it is the last one that this ticket has asked, and settles the ticket."""
    asked = tickets.requests_from(connection, desk.source, leased.ticket)
    became = _compared(desk, form, list(asked.values()))
    if became is Read.TAKEN:
        event = form.event(desk.source, _free_id(form.key, asked), leased.noted_at)
        parse_change(event)
        store(connection, [Delivery(ORIGIN + desk.name, _fingerprint(event), event)])
    tickets.settle(connection, leased)
    return became


def _compared(desk: Desk, form: Form, asked: Sequence[Mapping[str, object]]) -> Read:
    if not asked:
        return Read.TAKEN
    if form.is_asked_by(asked[-1]):
        return Read.KNOWN
    if desk.asks_by_kind and asked[-1]["kind"] == form.kind:
        return Read.DIFFERS
    return Read.TAKEN


def _free_id(key: str, asked: Mapping[str, object]) -> str:
    """Returns the id for a form; of one that comes again after another a new one."""
    return key if key not in asked else next(one for number in count(2) if (one := f"{key}-{number}") not in asked)


def _fail(connection: Connection, desk: Desk, leased: Leased, failure: Failure) -> Read:
    if failure.is_final or tickets.is_hopeless(connection, leased, failure):
        _bury(connection, desk, leased, failure.reason)
        return Read.UNUSABLE
    tickets.fail(connection, leased, failure)
    return Read.FAILED


def _bury(connection: Connection, desk: Desk, leased: Leased, reason: str) -> None:
    """Makes a dead letter of a ticket that cannot be read: what names it, and why; and settles it."""
    raw = json.dumps({"ticket": leased.ticket}).encode()
    # Of one ticket each reason is a letter of its own.
    position = _fingerprint(raw + reason.encode())
    letter = DeadLetter(ORIGIN + desk.name, position, raw, Unreadable.INVALID_MESSAGE, reason)
    keep_dead_letters(connection, [letter])
    tickets.settle(connection, leased)


def _reason(found: _Found) -> str:
    return found.reason if isinstance(found, Failure) else str(found)


def _fingerprint(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


@wakeup_task(WakeUp.READ_TICKETS, time_limit=_TIME_LIMIT_SECONDS)
def read_tickets() -> None:
    """Reads what is due, for a time slice; wakes itself if something may be left."""
    deadline = time.monotonic() + SLICE_SECONDS
    desks = readable()
    while read_one(desks) is not None:
        if time.monotonic() > deadline:
            wake(WakeUp.READ_TICKETS)
            return
