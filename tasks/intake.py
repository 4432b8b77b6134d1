"""Taking deliveries into the inbox: what the brokers' intakes and the webhooks have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from database.faults import Fault, classify, in_a_line
from database.transactions import Attempts, in_transaction
from orders.dead_letters import DeadLetter, keep_dead_letters
from orders.decisions import Effects
from orders.inbox import Accepted, Delivery, accept, arrive, sift
from orders.messages import Unreadable
from tasks.changes import CHANGES, accept_new
from tasks.running.wakeups import Waker, WakeUp, wake

_log = structlog.get_logger()

# Of a transaction's deliveries together. PostgreSQL takes no statement of a gigabyte, and memory has an end before.
_MAX_BYTES = 8 * 1024 * 1024

# So few are decided here, in the time that it would take to ring for a worker and be heard. More come when more comes
# than this process alone can decide.
_FEW = CHANGES.limit
_FEW_ATTEMPTS = Attempts(2)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch, how many of its new requests are decided already, and the effects of these."""

    accepted: Accepted
    decided: int
    effects: Effects


def take(deliveries: Sequence[Delivery], waker: Waker | None = None) -> Accepted:
    """Keeps deliveries; a few new ones are decided in the same transaction, for more a worker is rung for.

    By `bell` it rings for what may wait a little: what follows decisions, and what could not be decided yet.
    """
    few = _decide_few(deliveries, wake if waker is None else waker) if _are_few(deliveries) else None
    return few or _keep_and_ring(deliveries)


def _are_few(deliveries: Sequence[Delivery]) -> bool:
    # What was in hand before may have ended whoever had it: it is kept, and a worker tries it with care.
    return len(deliveries) <= _FEW and not _is_much(deliveries) and not any(one.is_redelivered for one in deliveries)


def _keep_and_ring(deliveries: Sequence[Delivery]) -> Accepted:
    accepted = keep(deliveries)
    if accepted.new:
        wake(WakeUp.APPLY_CHANGES)
    return accepted


def _decide_few(deliveries: Sequence[Delivery], waker: Waker) -> Accepted | None:
    """Takes and decides; None where anything of it fails: then nothing is taken, and all is to be kept first."""
    try:
        taken = _FEW_ATTEMPTS.in_transaction(accept_and_decide, deliveries)
    except Exception as error:
        if classify(error) is Fault.OUTAGE:
            raise
        _tell_of_a_failure(error, len(deliveries))
        return None
    _tell_of_dead_letters(deliveries, taken.accepted)
    if taken.effects:
        waker(WakeUp.EFFECTS)
    if taken.decided < taken.accepted.new:
        waker(WakeUp.APPLY_CHANGES)
    return taken.accepted


def _tell_of_a_failure(error: Exception, count: int) -> None:
    # A lock that somebody holds is no fault of ours; a lost guard is.
    log = _log.info if classify(error) is Fault.RETRYABLE else _log.error
    log("not decided at once", count=count, error=in_a_line(error))


def accept_and_decide(connection: Connection, deliveries: Sequence[Delivery]) -> Taken:
    """Accepts deliveries and decides of them what need not wait; what follows is to be rung for after the commit."""
    arrived, dead = arrive(connection, deliveries)
    sifted = sift(connection, arrived)
    dead += sifted.conflicts
    keep_dead_letters(connection, dead)
    decided, effects = accept_new(connection, sifted.new, sifted.decidable_now)
    repeated = len(arrived) - len(sifted.new) - len(sifted.conflicts)
    return Taken(Accepted(len(sifted.new), repeated, len(dead)), decided, effects)


def keep(deliveries: Sequence[Delivery]) -> Accepted:
    """Takes deliveries in one transaction; when this returns they are kept, each as request or dead letter.

    One that the database refuses is put to the dead letters alone. Raises when the database is away: then nothing
    was taken, and nothing may be acknowledged.
    """
    accepted = _keep(deliveries)
    _tell_of_dead_letters(deliveries, accepted)
    return accepted


def _tell_of_dead_letters(deliveries: Sequence[Delivery], accepted: Accepted) -> None:
    if accepted.dead:
        _log.warning("dead letters", count=accepted.dead, origin=deliveries[0].origin)


def _is_much(deliveries: Sequence[Delivery]) -> bool:
    return len(deliveries) > 1 and sum(len(delivery.raw) for delivery in deliveries) > _MAX_BYTES


def _keep(deliveries: Sequence[Delivery]) -> Accepted:
    if _is_much(deliveries):
        return _keep_halves(deliveries)
    try:
        return in_transaction(accept, deliveries)
    except Exception as error:
        if classify(error) is not Fault.PERMANENT:
            raise
        return _keep_halves(deliveries) if len(deliveries) > 1 else _refused(deliveries[0], error)


def _keep_halves(deliveries: Sequence[Delivery]) -> Accepted:
    half = len(deliveries) // 2
    one, other = _keep(deliveries[:half]), _keep(deliveries[half:])
    return Accepted(one.new + other.new, one.repeated + other.repeated, one.dead + other.dead)


def _refused(delivery: Delivery, error: Exception) -> Accepted:
    refused_by = "the database refused it" if isinstance(error, DBAPIError) else "it could not be taken"
    told = f"{refused_by}: {type(error).__name__}"
    _log.error("a delivery failed", origin=delivery.origin, position=delivery.position, error=told)
    letter = DeadLetter(delivery.origin, delivery.position, delivery.raw, Unreadable.INVALID_MESSAGE, told)
    in_transaction(keep_dead_letters, [letter])
    return Accepted(new=0, repeated=0, dead=1)
