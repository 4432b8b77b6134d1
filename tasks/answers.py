"""Delivering answers and notes: leased in one transaction, delivered outside any, settled in a second one."""

import time

import structlog

from configuration import ConfigurationError
from database.queries import AnyRow
from database.transactions import in_transaction
from delivery.leases import LostFence
from delivery.outcomes import DeliveryError, Failure
from desks.notices import Notice, Visibility
from orders import answers
from orders.answers import Leased
from rules.model import Outcome
from tasks.helpdesks import helpdesks
from tasks.running import progress
from tasks.running.wakeups import WakeUp, wake, wakeup_task

_log = structlog.get_logger()

SLICE_SECONDS = 5.0
# A slice and one last answer, whose calls have an end of their own; see `orders.answers.LEASE`.
_TIME_LIMIT_SECONDS = 75


def answer_one() -> bool:
    """Delivers the next answer or note that is due; returns False if there is none."""
    leased = in_transaction(answers.lease)
    if leased is None:
        return False
    row = leased.row
    log = _log.bind(source=row.source, request=row.external_id, channel=row.channel, ticket=row.ticket)
    try:
        failure = _deliver(leased)
        if failure is None:
            in_transaction(lambda connection: answers.confirm(connection, leased))
            log.info("answered", visibility=row.visibility, outcome=row.outcome)
        else:
            in_transaction(lambda connection: answers.fail(connection, leased, failure))
            log.warning("not answered", error=failure.reason, unknown=failure.outcome_unknown, final=failure.is_final)
    except LostFence as lost:
        log.warning("another process has taken over the answer", error=str(lost))
    return True


def _deliver(leased: Leased) -> Failure | None:
    row = leased.row
    try:
        channel = helpdesks().channel(row.channel, row.source)
        channel.deliver(_notice(row), customer=row.customer_email, look_first=leased.look_first)
    except ConfigurationError as error:
        return Failure(str(error), outcome_unknown=leased.look_first)
    except DeliveryError as error:
        return Failure.of(error, look_first=leased.look_first)
    except Exception as error:  # noqa: BLE001  # an answer that always breaks something must not stop the others
        _log.exception("a delivery broke", source=row.source, request=row.external_id)
        return Failure(f"the delivery broke: {type(error).__name__}", outcome_unknown=True, destination_works=True)
    return None


def _notice(row: AnyRow) -> Notice:
    return Notice(
        source=row.source,
        request_id=row.external_id,
        ticket=row.ticket,
        visibility=Visibility(row.visibility),
        outcome=Outcome(row.outcome) if row.outcome else None,
        subject=row.subject,
        body=row.body,
    )


@wakeup_task(WakeUp.ANSWER, time_limit=_TIME_LIMIT_SECONDS)
def answer() -> None:
    """Delivers what is due, for a time slice; wakes itself if something may be left."""
    deadline = time.monotonic() + SLICE_SECONDS
    while answer_one():
        progress.note_task()
        if time.monotonic() > deadline:
            wake(WakeUp.ANSWER)
            return
