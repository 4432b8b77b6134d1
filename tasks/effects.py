"""What follows a decision: restock the lines of a cancelled order, tell the answer."""

from collections.abc import Sequence

from celery import shared_task
from sqlalchemy import Connection, insert

from desks.channels import channel_for
from desks.notices import Notice, write_notice
from orders.effects import count_failure, mark_done
from orders.locks import AnyRow, claim_effects
from orders.stock import restock as restock_effects
from orders.tables import notification
from rules.model import Effect, Outcome, Reason
from tasks.batches import Batch, Job, drain
from tasks.doorbells import Doorbell, ring

SLICE_SECONDS = 2.0


def _claim_restock(connection: Connection, limit: int, among: Sequence[int] | None) -> Batch:
    ids = [row.id for row in claim_effects(connection, Effect.RESTOCK, limit=limit, among=among)]

    def perform() -> None:
        if ids:
            restock_effects(connection, ids)
            mark_done(connection, ids)

    return Batch(ids, perform)


def _claim_notify(connection: Connection, limit: int, among: Sequence[int] | None) -> Batch:
    rows = claim_effects(connection, Effect.NOTIFY, limit=limit, among=among)
    notices: list[tuple[AnyRow, Notice]] = []

    def perform() -> None:
        notices[:] = [(row, _notice(row)) for row in rows]
        if rows:
            connection.execute(insert(notification), [_notification_row(row, notice) for row, notice in notices])
            mark_done(connection, [row.id for row in rows])

    def after() -> None:
        # The log is the one channel whose loss loses nothing: the text is in the table, so it is told after the commit.
        for _, notice in notices:
            channel_for(notice).deliver(notice)

    return Batch([row.id for row in rows], perform, after)


def _notice(row: AnyRow) -> Notice:
    return write_notice(
        source=row.source,
        request_id=row.external_id,
        ticket=row.ticket,
        order=row.order_number,
        outcome=Outcome(row.outcome),
        reasons=[Reason(reason) for reason in row.reasons],
    )


def _notification_row(row: AnyRow, notice: Notice) -> dict[str, object]:
    return {
        "change_request_id": row.change_request_id,
        "channel": channel_for(notice).name,
        "visibility": notice.visibility,
        "subject": notice.subject,
        "body": notice.body,
        "state": "sent",
    }


# A restock touches many lines, so its batches are smaller.
RESTOCK = Job("restock", limit=50, claim=_claim_restock, count_failure=count_failure)
NOTIFY = Job("notify", limit=200, claim=_claim_notify, count_failure=count_failure)


@shared_task(name=Doorbell.RESTOCK)
def restock() -> None:
    """Restocks what is due, for a time slice."""
    if drain(RESTOCK, seconds=SLICE_SECONDS):
        ring(Doorbell.RESTOCK)


@shared_task(name=Doorbell.NOTIFY)
def notify() -> None:
    """Tells what is due, for a time slice."""
    if drain(NOTIFY, seconds=SLICE_SECONDS):
        ring(Doorbell.NOTIFY)
