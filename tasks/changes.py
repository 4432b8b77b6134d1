"""Applying change requests: from the inbox, under the locks of their orders, to decisions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from sqlalchemy import Connection

from orders.changes import claim_open_orders, decide_requests
from orders.decisions import record_decisions
from orders.parking import count_failure, park_unknown_orders
from rules.model import Effect
from tasks.batches import TIME_LIMIT_SECONDS, Batch, Job, drain, run_batch
from tasks.database import in_transaction
from tasks.doorbells import Doorbell, ring, rung_by
from tasks.effects import NOTIFY, RESTOCK
from tasks.settings import settings

# Long enough to be worth a task, short enough that a shutdown need not wait for it.
SLICE_SECONDS = 2.0


_Effects: TypeAlias = Mapping[Effect, Sequence[int]]


def _claim_and(follow: Callable[[_Effects], None]) -> Callable[[Connection, int, Sequence[int] | None], Batch]:
    def claim(connection: Connection, limit: int, among: Sequence[int] | None) -> Batch:
        open_orders = claim_open_orders(connection, limit=limit, among=among)
        effects: dict[Effect, Sequence[int]] = {}

        def perform() -> None:
            decided = [one for open_order in open_orders for one in decide_requests(open_order)]
            effects.update(record_decisions(connection, open_orders, decided))

        ids = [request.id for open_order in open_orders for request in open_order.requests]
        return Batch(ids, perform, after=lambda: follow(effects))

    return claim


def _ring_for(effects: _Effects) -> None:
    for kind, doorbell in ((Effect.RESTOCK, Doorbell.RESTOCK), (Effect.NOTIFY, Doorbell.NOTIFY)):
        if effects[kind]:
            ring(doorbell)


def _do(effects: _Effects) -> None:
    for kind, job in ((Effect.RESTOCK, RESTOCK), (Effect.NOTIFY, NOTIFY)):
        if effects[kind]:
            run_batch(job, among=effects[kind])


# For whoever is no worker: an intake need not know the desks.
CHANGES = Job("apply_changes", limit=200, claim=_claim_and(_ring_for), count_failure=count_failure)
# A worker does what follows itself, in transactions after the decisions'. What one leaves that dies, the sweeps find.
_CHANGES_AND_EFFECTS = replace(CHANGES, claim=_claim_and(_do))


@rung_by(Doorbell.APPLY_CHANGES, time_limit=TIME_LIMIT_SECONDS)
def apply_changes() -> None:
    """Decides what is due and does what follows, for a time slice; rings for itself if something is left."""
    if drain(_CHANGES_AND_EFFECTS, seconds=SLICE_SECONDS):
        ring(Doorbell.APPLY_CHANGES)


@rung_by(Doorbell.PARK_UNKNOWN)
def park_unknown() -> None:
    """Parks requests that have waited for their order long enough."""
    patience = settings().patience
    while in_transaction(lambda connection: park_unknown_orders(connection, patience=patience, limit=500)):
        pass
