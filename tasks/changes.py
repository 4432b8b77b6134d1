"""Applying change requests: from the inbox, under the locks of their orders, to decisions."""

from collections.abc import Sequence

from celery import shared_task
from sqlalchemy import Connection

from orders.changes import claim_open_orders, decide_requests
from orders.decisions import record_decisions
from orders.parking import count_failure, park_unknown_orders
from rules.model import Effect
from tasks.batches import Batch, Job, drain
from tasks.database import in_transaction
from tasks.doorbells import Doorbell, ring
from tasks.settings import settings

# Long enough to be worth a task, short enough that a shutdown need not wait for it.
SLICE_SECONDS = 2.0


def _claim(connection: Connection, limit: int, among: Sequence[int] | None) -> Batch:
    open_orders = claim_open_orders(connection, limit=limit, among=among)
    effects: set[Effect] = set()

    def perform() -> None:
        decided = [one for open_order in open_orders for one in decide_requests(open_order)]
        effects.update(effect for one in decided for effect in one.decision.effects)
        record_decisions(connection, open_orders, decided)

    def after() -> None:
        for effect, doorbell in ((Effect.RESTOCK, Doorbell.RESTOCK), (Effect.NOTIFY, Doorbell.NOTIFY)):
            if effect in effects:
                ring(doorbell)

    return Batch([request.id for open_order in open_orders for request in open_order.requests], perform, after)


CHANGES = Job("apply_changes", limit=200, claim=_claim, count_failure=count_failure)


@shared_task(name=Doorbell.APPLY_CHANGES)
def apply_changes() -> None:
    """Decides what is due, for a time slice; rings for itself if something is left."""
    if drain(CHANGES, seconds=SLICE_SECONDS):
        ring(Doorbell.APPLY_CHANGES)


@shared_task(name=Doorbell.PARK_UNKNOWN)
def park_unknown() -> None:
    """Parks requests that have waited for their order long enough."""
    patience = settings().patience
    while in_transaction(lambda connection: park_unknown_orders(connection, patience=patience, limit=500)):
        pass
