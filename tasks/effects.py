"""What follows a decision: restock the lines of a cancelled order, tell the answer."""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection

from database.locks import AnyRow, claim_notices, claim_restocks
from database.tables import NotificationState
from desks.channels import Channel, LogChannel
from desks.mail import MailChannel
from desks.notices import Asked, Notice, Standing, write_notice
from orders import answers
from orders.effects import count_failure, mark_done, uncount_attempt
from orders.messages import parse_change
from orders.reading import faults_as_stored, standings
from orders.stock import restock as restock_effects
from rules.model import Edi, Outcome, Reason, Status
from tasks.helpdesks import helpdesks, store_texts
from tasks.running.batches import TIME_LIMIT_SECONDS, Batch, Job, drain
from tasks.running.wakeups import WakeUp, wake, wakeup_task

SLICE_SECONDS = 2.0


def _claim_restock(connection: Connection, limit: int, among: Sequence[int] | None) -> Batch:
    ids = claim_restocks(connection, limit=limit, among=among)

    def perform() -> None:
        if ids:
            restock_effects(connection, ids)
            mark_done(connection, ids)

    return Batch(ids, perform)


def _claim_notify(connection: Connection, limit: int, among: Sequence[int] | None) -> Batch:
    rows = claim_notices(connection, limit=limit, among=among)
    logged: list[Notice] = []

    def perform() -> None:
        logged.clear()
        written = []
        now = standings(connection, [row.order_number for row in rows])
        for row in rows:
            channel = helpdesks().channel_for(row.source, row.ticket)
            notice = _notice(row, now[row.order_number], to_the_customer=channel.name == MailChannel.name)
            is_log = channel.name == LogChannel.name
            if is_log:
                logged.append(notice)
            written.append(_notification(row, notice, channel, told=is_log))
        if written:
            answers.write(connection, written)

    def after() -> None:
        # The log is the one channel whose loss loses nothing: the text is in the table, so it is told after the commit.
        for notice in logged:
            LogChannel().deliver(notice)
        if len(logged) < len(rows):
            wake(WakeUp.ANSWER)

    return Batch([row.id for row in rows], perform, after)


def _notice(row: AnyRow, order: AnyRow, *, to_the_customer: bool) -> Notice:
    data = (message := parse_change(row.body)).data
    # Whoever writes on a ticket without saying who he is may be anybody.
    is_the_customer = to_the_customer or data.requester is not None
    return write_notice(
        source=row.source,
        request_id=row.external_id,
        ticket=row.ticket,
        order=row.order_number,
        outcome=Outcome(row.outcome),
        reasons=[Reason(reason) for reason in row.reasons],
        faults=faults_as_stored(row.address_faults),
        language=data.language,
        asked=Asked(message.to_rules(), [(line.sku, line.quantity) for line in data.lines or ()]),
        customer=order.customer_name if is_the_customer else None,
        shop=helpdesks().shop,
        texts=store_texts(),
        standing=Standing(Status(order.status), Edi(order.edi_state), order.held_until),
    )


def _notification(row: AnyRow, notice: Notice, channel: Channel, *, told: bool) -> dict[str, object]:
    return {
        "effect_id": row.id,
        "change_request_id": row.change_request_id,
        "channel": channel.name,
        "outlet": channel.destination,
        "visibility": notice.visibility,
        "subject": notice.subject,
        "body": notice.body,
        "state": NotificationState.SENT if told else NotificationState.PENDING,
    }


# As large as a batch of decisions: what follows from one is one batch.
_job = partial(Job, limit=200, count_failure=count_failure, uncount_attempt=uncount_attempt, claims_all=True)
RESTOCK = _job("restock", claim=_claim_restock)
NOTIFY = _job("notify", claim=_claim_notify)


@wakeup_task(WakeUp.EFFECTS, time_limit=TIME_LIMIT_SECONDS)
def effects() -> None:
    """Restocks and notifies what is due, one after the other: both at once would take the processors from decisions."""
    restock()
    notify()


@wakeup_task(WakeUp.RESTOCK, time_limit=TIME_LIMIT_SECONDS)
def restock() -> None:
    """Restocks what is due, for a time slice."""
    if drain(RESTOCK, seconds=SLICE_SECONDS):
        wake(WakeUp.RESTOCK)


@wakeup_task(WakeUp.NOTIFY, time_limit=TIME_LIMIT_SECONDS)
def notify() -> None:
    """Puts what is due into words and tells it where that is the log, for a time slice; answers are rung for."""
    if drain(NOTIFY, seconds=SLICE_SECONDS):
        wake(WakeUp.NOTIFY)
