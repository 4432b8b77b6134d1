"""Taking deliveries into the inbox: what the brokers' intakes and the webhooks have in common."""

from collections.abc import Sequence

import structlog
from sqlalchemy.exc import DBAPIError

from orders.dead_letters import DeadLetter, keep_dead_letters
from orders.faults import Fault, classify
from orders.inbox import Accepted, Delivery, accept
from orders.messages import Unreadable
from tasks.batches import run_batch
from tasks.changes import CHANGES
from tasks.database import in_transaction
from tasks.doorbells import Doorbell, ring

_log = structlog.get_logger()

# Of a transaction's deliveries together. PostgreSQL takes no statement of a gigabyte, and memory has an end before.
_MAX_BYTES = 8 * 1024 * 1024

# So few are decided here, in the time that it would take to ring for a worker and be heard.
_FEW = 20


def take(deliveries: Sequence[Delivery]) -> Accepted:
    """Keeps deliveries; a few new ones are decided at once, for more a worker is rung for."""
    accepted = keep(deliveries)
    if accepted.new and (accepted.new > _FEW or run_batch(CHANGES, among=accepted.ids) < accepted.new):
        ring(Doorbell.APPLY_CHANGES)
    return accepted


def keep(deliveries: Sequence[Delivery]) -> Accepted:
    """Takes deliveries in one transaction; when this returns they are kept, each as request or dead letter.

    One that the database refuses is put to the dead letters alone. Raises when the database is away: then nothing
    was taken, and nothing may be acknowledged.
    """
    accepted = _keep(deliveries)
    if accepted.dead:
        _log.warning("dead letters", count=accepted.dead, origin=deliveries[0].origin)
    return accepted


def _keep(deliveries: Sequence[Delivery]) -> Accepted:
    if len(deliveries) > 1 and sum(len(delivery.raw) for delivery in deliveries) > _MAX_BYTES:
        return _keep_halves(deliveries)
    try:
        return in_transaction(lambda connection: accept(connection, deliveries))
    except Exception as error:
        if classify(error) is not Fault.WORK:
            raise
        return _keep_halves(deliveries) if len(deliveries) > 1 else _refused(deliveries[0], error)


def _keep_halves(deliveries: Sequence[Delivery]) -> Accepted:
    half = len(deliveries) // 2
    one, other = _keep(deliveries[:half]), _keep(deliveries[half:])
    new, repeated, dead = one.new + other.new, one.repeated + other.repeated, one.dead + other.dead
    return Accepted(new, repeated, dead, one.ids + other.ids)


def _refused(delivery: Delivery, error: Exception) -> Accepted:
    refused_by = "the database refused it" if isinstance(error, DBAPIError) else "it could not be taken"
    told = f"{refused_by}: {type(error).__name__}"
    _log.error("a delivery failed", origin=delivery.origin, position=delivery.position, error=told)
    letter = DeadLetter(delivery.origin, delivery.position, delivery.raw, Unreadable.INVALID_MESSAGE, told)
    in_transaction(lambda connection: keep_dead_letters(connection, [letter]))
    return Accepted(new=0, repeated=0, dead=1)
