"""Applying change requests: from the inbox, under the locks of their orders, to decisions."""

from collections.abc import Sequence

from sqlalchemy import Connection

from configuration.settings import settings
from database.transactions import in_transaction
from orders.changes import claim_open_orders, claim_orders_of, decide_requests
from orders.decisions import Effects, record_decisions, store_decided
from orders.inbox import IncomingRequest
from orders.request_retries import count_failure, park_unknown_orders, uncount_attempt
from rules.model import Effect
from tasks.effects import NOTIFY, RESTOCK
from tasks.partners import address_check
from tasks.running.batches import TIME_LIMIT_SECONDS, Batch, Job, drain, run_batch
from tasks.running.wakeups import WakeUp, wake, wakeup_task

# Long enough to be worth a task, short enough that a shutdown need not wait for it.
SLICE_SECONDS = 2.0


def _claim(connection: Connection, limit: int, among: Sequence[int] | None) -> Batch:
    open_orders = claim_open_orders(connection, limit=limit, among=among)
    effects: dict[Effect, Sequence[int]] = {}

    def perform() -> None:
        check = address_check()
        decided = [one for open_order in open_orders for one in decide_requests(open_order, check)]
        effects.update(record_decisions(connection, open_orders, decided, hold=settings().escalation_hold))

    ids = [request.id for open_order in open_orders for request in open_order.requests]
    return Batch(ids, perform, after=lambda: _perform(effects))


def decide_new(
    connection: Connection, new: Sequence[IncomingRequest], decidable_now: Sequence[IncomingRequest]
) -> tuple[int, Effects]:
    """Stores new requests; those that are `decidable_now` are stored with their decision if their order can be locked.

    Returns how many are decided, and their effects. A worker performs the effects: an intake need not know the desks.
    """
    open_orders = claim_orders_of(connection, decidable_now)
    check = address_check()
    decided = [one for open_order in open_orders for one in decide_requests(open_order, check)]
    return len(decided), store_decided(connection, new, open_orders, decided, hold=settings().escalation_hold)


def _perform(effects: Effects) -> None:
    for kind, job in ((Effect.RESTOCK, RESTOCK), (Effect.NOTIFY, NOTIFY)):
        if kind in effects:
            run_batch(job, among=effects[kind])


# A worker performs the effects of its decisions itself, in later transactions. Beat's wake-ups find what a worker that
# died has left.
CHANGES = Job("apply_changes", limit=200, claim=_claim, count_failure=count_failure, uncount_attempt=uncount_attempt)


@wakeup_task(WakeUp.APPLY_CHANGES, time_limit=TIME_LIMIT_SECONDS)
def apply_changes() -> None:
    """Decides what is due and performs the effects, for a time slice; sends itself a wake-up if something is left."""
    if drain(CHANGES, seconds=SLICE_SECONDS):
        wake(WakeUp.APPLY_CHANGES)


@wakeup_task(WakeUp.PARK_UNKNOWN)
def park_unknown() -> None:
    """Parks requests that have waited for their order long enough."""
    patience = settings().patience
    while in_transaction(park_unknown_orders, patience=patience, limit=500):
        pass
    # Requests that wait or are parked may call for a note to colleagues.
    wake(WakeUp.NOTE)
