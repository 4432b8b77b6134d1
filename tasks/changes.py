"""Applying change requests: from the inbox, under the locks of their orders, to decisions."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from sqlalchemy import Connection

from orders.changes import OpenOrder, claim_open_orders, claim_orders_of, decide_requests
from orders.decisions import record_decisions
from orders.inbox import Accepted
from orders.parking import count_failure, park_unknown_orders, take_back_try
from rules.model import Effect
from tasks.batches import TIME_LIMIT_SECONDS, Batch, Job, drain, run_batch
from tasks.database import in_transaction
from tasks.doorbells import Bell, Doorbell, ring, rung_by
from tasks.effects import NOTIFY, RESTOCK
from tasks.settings import settings

# Long enough to be worth a task, short enough that a shutdown need not wait for it.
SLICE_SECONDS = 2.0


_Effects: TypeAlias = Mapping[Effect, Sequence[int]]


def _batch(connection: Connection, open_orders: Sequence[OpenOrder], follow: Callable[[_Effects], None]) -> Batch:
    effects: dict[Effect, Sequence[int]] = {}

    def perform() -> None:
        decided = [one for open_order in open_orders for one in decide_requests(open_order)]
        effects.update(record_decisions(connection, open_orders, decided))

    ids = [request.id for open_order in open_orders for request in open_order.requests]
    return Batch(ids, perform, after=lambda: follow(effects))


def _claim(connection: Connection, limit: int, among: Sequence[int] | None) -> Batch:
    return _batch(connection, claim_open_orders(connection, limit=limit, among=among), _do)


def claim_accepted(connection: Connection, accepted: Accepted, bell: Bell) -> Batch:
    """Claims what this transaction has just accepted; what has to wait for something else is not in the batch.

    Whoever takes requests is no worker and need not know the desks: for what follows it rings.
    """
    open_orders = claim_orders_of(connection, accepted.ids, accepted.numbers)
    return _batch(connection, open_orders, partial(_ring_for, bell))


def _ring_for(bell: Bell, effects: _Effects) -> None:
    if any(effects.values()):
        bell(Doorbell.EFFECTS)


def _do(effects: _Effects) -> None:
    for kind, job in ((Effect.RESTOCK, RESTOCK), (Effect.NOTIFY, NOTIFY)):
        if effects[kind]:
            run_batch(job, among=effects[kind])


# A worker does what follows itself, in transactions after the decisions'. What one leaves that dies, the sweeps find.
CHANGES = Job("apply_changes", limit=200, claim=_claim, count_failure=count_failure, take_back_try=take_back_try)


@rung_by(Doorbell.APPLY_CHANGES, time_limit=TIME_LIMIT_SECONDS)
def apply_changes() -> None:
    """Decides what is due and does what follows, for a time slice; rings for itself if something is left."""
    if drain(CHANGES, seconds=SLICE_SECONDS):
        ring(Doorbell.APPLY_CHANGES)


@rung_by(Doorbell.PARK_UNKNOWN)
def park_unknown() -> None:
    """Parks requests that have waited for their order long enough."""
    patience = settings().patience
    while in_transaction(lambda connection: park_unknown_orders(connection, patience=patience, limit=500)):
        pass
