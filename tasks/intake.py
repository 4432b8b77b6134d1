"""From deliveries to requests in the inbox, for the brokers' intakes and for the webhooks.

A delivery is received (parsed, its order's number locked), classified (new, repeated or a conflict) and stored; a few
new ones are decided in the same transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from database.faults import Fault, classify, in_a_line
from database.transactions import Attempts, in_transaction
from orders import inbox
from orders.dead_letters import DeadLetter, keep_dead_letters
from orders.decisions import Effects
from orders.inbox import Accepted, Delivery
from orders.messages import Unreadable
from tasks.changes import CHANGES, decide_new
from tasks.running.wakeups import Waker, WakeUp, wake

_log = structlog.get_logger()

# The limit for the deliveries of one transaction together: PostgreSQL takes no statement of a gigabyte, and memory ends
# before that.
_MAX_BYTES = 8 * 1024 * 1024

# A batch of at most this size is decided here, in less time than a wake-up would need to reach a worker. Larger batches
# come when there is more to decide than this process could do alone.
_FEW = CHANGES.limit
_FEW_ATTEMPTS = Attempts(2)


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a batch, how many of its new requests are decided already, and the effects of these."""

    accepted: Accepted
    decided: int
    effects: Effects


def take(deliveries: Sequence[Delivery], waker: Waker | None = None) -> Accepted:
    """Stores deliveries; a few new ones are decided in the same transaction, for more a worker is woken.

    `waker` sends the wake-ups that may wait a little: for effects, and for what could not be decided yet.
    """
    few = _decide_few(deliveries, wake if waker is None else waker) if _are_few(deliveries) else None
    return few or _store_and_wake(deliveries)


def _are_few(deliveries: Sequence[Delivery]) -> bool:
    # A redelivered request may have crashed the process that had it: it is stored, and a worker decides it with care.
    return len(deliveries) <= _FEW and not _is_much(deliveries) and not any(one.is_redelivered for one in deliveries)


def _store_and_wake(deliveries: Sequence[Delivery]) -> Accepted:
    accepted = store(deliveries)
    if accepted.new:
        wake(WakeUp.APPLY_CHANGES)
    return accepted


def _decide_few(deliveries: Sequence[Delivery], waker: Waker) -> Accepted | None:
    """Stores and decides; returns None where anything fails: then nothing is stored, and all must be stored first."""
    try:
        done = _FEW_ATTEMPTS.in_transaction(store_and_decide, deliveries)
    except Exception as error:
        if classify(error) is Fault.OUTAGE:
            raise
        _log_failure(error, len(deliveries))
        return None
    _log_dead_letters(deliveries, done.accepted)
    if done.effects:
        waker(WakeUp.EFFECTS)
    if done.decided < done.accepted.new:
        waker(WakeUp.APPLY_CHANGES)
    return done.accepted


def _log_failure(error: Exception, count: int) -> None:
    # A lock that another transaction holds is no fault of ours; a stale row is.
    log = _log.info if classify(error) is Fault.RETRYABLE else _log.error
    log("not decided at once", count=count, error=in_a_line(error))


def store_and_decide(connection: Connection, deliveries: Sequence[Delivery]) -> Decided:
    """Stores deliveries and decides those that need not wait; the caller wakes workers after the commit."""
    incoming, dead = inbox.receive(connection, deliveries)
    classified = inbox.classify(connection, incoming)
    dead += classified.conflicts
    keep_dead_letters(connection, dead)
    decided, effects = decide_new(connection, classified.new, classified.decidable_now)
    repeated = len(incoming) - len(classified.new) - len(classified.conflicts)
    return Decided(Accepted(len(classified.new), repeated, len(dead)), decided, effects)


def store(deliveries: Sequence[Delivery]) -> Accepted:
    """Stores deliveries, each as a request or a dead letter; once this returns none can be lost.

    One that the database refuses becomes a dead letter alone. Raises when the database is away: then nothing was
    stored, and nothing may be acknowledged.
    """
    accepted = _store(deliveries)
    _log_dead_letters(deliveries, accepted)
    return accepted


def _log_dead_letters(deliveries: Sequence[Delivery], accepted: Accepted) -> None:
    if accepted.dead:
        _log.warning("dead letters", count=accepted.dead, origin=deliveries[0].origin)


def _is_much(deliveries: Sequence[Delivery]) -> bool:
    return len(deliveries) > 1 and sum(len(delivery.raw) for delivery in deliveries) > _MAX_BYTES


def _store(deliveries: Sequence[Delivery]) -> Accepted:
    if _is_much(deliveries):
        return _store_halves(deliveries)
    try:
        return in_transaction(inbox.store, deliveries)
    except Exception as error:
        if classify(error) is not Fault.PERMANENT:
            raise
        return _store_halves(deliveries) if len(deliveries) > 1 else _refused(deliveries[0], error)


def _store_halves(deliveries: Sequence[Delivery]) -> Accepted:
    half = len(deliveries) // 2
    one, other = _store(deliveries[:half]), _store(deliveries[half:])
    return Accepted(one.new + other.new, one.repeated + other.repeated, one.dead + other.dead)


def _refused(delivery: Delivery, error: Exception) -> Accepted:
    refused_by = "the database refused it" if isinstance(error, DBAPIError) else "it could not be taken"
    reason = f"{refused_by}: {type(error).__name__}"
    _log.error("a delivery failed", origin=delivery.origin, position=delivery.position, error=reason)
    letter = DeadLetter(delivery.origin, delivery.position, delivery.raw, Unreadable.INVALID_MESSAGE, reason)
    in_transaction(keep_dead_letters, [letter])
    return Accepted(new=0, repeated=0, dead=1)
