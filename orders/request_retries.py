"""Setting requests aside: what cannot be decided is counted, delayed and in the end parked, visibly."""

from datetime import timedelta

from sqlalchemy import Connection, case, func, select, update

from database.locks import claim_unknown, find_overdue_unknown, lock_numbers_for_accepting
from database.tables import RequestState, change_request
from delivery.backoff import ITEM
from rules.model import ParkedReason

# Tries before a request that always fails is parked; the pauses between them double, from two seconds.
MAX_ATTEMPTS = 5


def count_failure(connection: Connection, request_id: int, error: str, *, pauses: bool = True) -> None:
    """Counts one failed try of a request: it waits twice as long as before, and is parked after MAX_ATTEMPTS.

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
    """Takes back a try that was counted and not made; the request waits a second, if it is still undecided."""
    request = change_request.c
    later = func.greatest(request.not_before, func.clock_timestamp() + timedelta(seconds=1))
    connection.execute(
        update(change_request)
        .where(request.id == request_id, request.state == RequestState.RECEIVED)
        # A parked one may have been reprocessed meanwhile, with all its tries.
        .values(attempts=func.greatest(request.attempts - 1, 0), not_before=later)
    )


def park_unknown_orders(connection: Connection, *, patience: timedelta, limit: int) -> int:
    """Parks requests whose order nobody loaded within the patience; returns how many were found."""
    since = connection.execute(select(func.clock_timestamp() - patience)).scalar_one()
    overdue = find_overdue_unknown(connection, limit=limit, patience_since=since)
    if not overdue:
        return 0
    # Whoever loads such an order does that under the same lock: he finds them parked, or they find it loaded.
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
