"""Retries: a request that cannot be decided is counted, delayed, and in the end parked, visibly."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, case, func, select, update

from database.locks import claim_unknown, lock_numbers_for_accepting, of_unknown_orders
from database.queries import AnyRow
from database.tables import RequestState, change_request
from delivery.backoff import ITEM
from rules.model import ParkedReason

# Attempts before a request that always fails is parked; the pauses between them double, from two seconds.
MAX_ATTEMPTS = 5


def count_failure(connection: Connection, request_id: int, error: str, *, pauses: bool = True) -> None:
    """Counts one failed attempt at a request: it waits twice as long as before, and is parked after MAX_ATTEMPTS.

    Without `pauses` it does not wait.
    """
    request = change_request.c
    later = ITEM.next_attempt(request.attempts + 1)
    last = request.attempts + 1 >= MAX_ATTEMPTS
    connection.execute(
        update(change_request)
        .where(request.id == request_id, request.state == RequestState.RECEIVED)
        .values(
            attempts=request.attempts + 1,
            not_before=later if pauses else request.not_before,
            state=case((last, RequestState.PARKED), else_=RequestState.RECEIVED),
            parked_at=case((last, func.clock_timestamp())),
            reasons=case((last, [ParkedReason.FAILED_REPEATEDLY]), else_=request.reasons),
            error=error,
        )
    )


def uncount_attempt(connection: Connection, request_id: int) -> None:
    """Takes back an attempt that was counted and not made; the request waits a second, if it is still undecided."""
    request = change_request.c
    later = func.greatest(request.not_before, func.clock_timestamp() + timedelta(seconds=1))
    connection.execute(
        update(change_request)
        .where(request.id == request_id, request.state == RequestState.RECEIVED)
        # A parked one may have been reprocessed meanwhile, with all its attempts.
        .values(attempts=func.greatest(request.attempts - 1, 0), not_before=later)
    )


def park_unknown_orders(connection: Connection, *, patience: timedelta, limit: int) -> int:
    """Parks requests whose order was not loaded within the patience; returns how many were found."""
    since = connection.execute(select(func.clock_timestamp() - patience)).scalar_one()
    overdue = find_overdue(connection, limit=limit, patience_since=since)
    if not overdue:
        return 0
    # An order is loaded under the same lock: either loading finds them parked, or they find it loaded.
    lock_numbers_for_accepting(connection, [row.order_number for row in overdue])
    ids = claim_unknown(connection, [row.id for row in overdue])
    connection.execute(
        update(change_request)
        .where(change_request.c.id.in_(ids), change_request.c.state == RequestState.RECEIVED)
        .values(
            state=RequestState.PARKED,
            parked_at=func.clock_timestamp(),
            reasons=[ParkedReason.UNKNOWN_ORDER],
            error=f"no order of that number was loaded within {int(patience.total_seconds())} seconds",
        )
    )
    return len(overdue)


def find_overdue(connection: Connection, *, limit: int, patience_since: datetime) -> Sequence[AnyRow]:
    """Returns up to `limit` requests that have waited out their patience for an order that was not loaded."""
    request = change_request.c
    overdue = of_unknown_orders(request.id, request.order_number).where(request.undecided_since <= patience_since)
    return connection.execute(overdue.order_by(request.id).limit(limit)).all()
