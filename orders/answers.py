"""Answers and notes for colleagues: written once, delivered under a lease, settled by its holder.

The work of an answer is its effect `notify`. Its text is a notification, which also says whether an earlier attempt may
have delivered it. A notification changes only under the lock of its effect. A note on a ticket is both in one row.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Update, func, text, update

from database.locks import claim_delivery, lock_answer, lock_note
from database.queries import AnyRow
from database.tables import EffectState, NoteState, NotificationState, effect, notification, ticket_note
from delivery.backoff import ITEM
from delivery.leases import MAX_ATTEMPTS, expect_fence, lease_end
from delivery.outcomes import Failure
from orders import destinations
from orders.effects import mark_done

# Longer than the task that delivers may run (it is killed then): nobody delivers beside the holder of a lease.
LEASE = timedelta(seconds=90)
# After an attempt whose outcome is unknown: a request that is still on its way arrives before the next attempt looks.
UNKNOWN_PAUSE = timedelta(seconds=15)

# The rows are one JSON parameter, so that the statement is the same for any number of them and is prepared once.
_WRITE = text(
    """
    INSERT INTO notification (change_request_id, channel, visibility, subject, body, state)
    SELECT change_request_id, channel, visibility, subject, body, state
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS written (change_request_id bigint, channel text, visibility text,
        subject text, body text, state text)
    """
)
_SET_DESTINATIONS = text(
    """
    UPDATE effect SET destination = written.destination
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS written (effect_id bigint, destination text)
    -- Not `=`: for that the planner would go through all that is pending.
    WHERE effect.id = written.effect_id AND effect.state IS NOT DISTINCT FROM 'pending'
    """
)


@dataclass(frozen=True, slots=True)
class Leased:
    """An answer or a note that is ours to deliver until the lease ends.

    `look_first`: an earlier attempt may have delivered it.
    """

    id: int
    is_note: bool
    fence: int
    look_first: bool
    row: AnyRow


def write(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Writes notifications: one in state `sent` ends its effect, the others wait for their delivery.

    Each row has the columns of `notification`, with `effect_id` and `destination`.
    """
    connection.execute(_WRITE, {"rows": json.dumps(rows)})
    sent = [row["effect_id"] for row in rows if row["state"] == NotificationState.SENT]
    if sent:
        mark_done(connection, sent)
    waiting = [row for row in rows if row["state"] != NotificationState.SENT]
    if waiting:
        connection.execute(_SET_DESTINATIONS, {"rows": json.dumps(waiting)})


def lease(connection: Connection) -> Leased | None:
    """Takes the next answer or note that is due and whose destination does not back off; None if there is none.

    The attempt counts from now on. An answer is dead if its process died at the last attempt that it had.
    """
    while (row := claim_delivery(connection)) is not None:
        if row.attempts < MAX_ATTEMPTS:
            return _take(connection, row)
        reason = f"{row.attempts} attempts to deliver it ended with the death of their process"
        connection.execute(_work(row).values(state=EffectState.DEAD, error=reason))
    return None


def _take(connection: Connection, row: AnyRow) -> Leased:
    work = {"attempts": row.attempts + 1, "not_before": lease_end(LEASE)}
    delivery = {"state": NotificationState.SENDING, "fence": row.fence + 1, "leased_at": func.clock_timestamp()}
    _record(connection, row, work, delivery)
    destinations.begin_attempt(connection, row.destination, at_most=LEASE)
    # The state of a note that was dead no longer says that an earlier attempt may have delivered it.
    look_first = row.delivery_state == NotificationState.SENDING or (row.is_note and row.fence > 0)
    return Leased(row.id, row.is_note, row.fence + 1, look_first, row)


def confirm(connection: Connection, leased: Leased) -> None:
    """Notes that an answer or a note was delivered, and that its destination works. Raises LostFence."""
    row = _hold(connection, leased)
    _record(connection, row, {}, {"state": NotificationState.SENT, "leased_at": None, **_no_error(row)})
    if not row.is_note:
        mark_done(connection, [row.id])
    destinations.end_backoff(connection, row.destination)
    destinations.end_attempt(connection, row.destination, begun_at=row.leased_at)


def fail(connection: Connection, leased: Leased, failure: Failure) -> None:
    """Records a failed attempt: the next one waits twice as long, and after the last one it is dead. Raises LostFence.

    The destination backs off too, unless it works or the failure is final.
    """
    row = _hold(connection, leased)
    is_last = failure.is_final or row.attempts >= MAX_ATTEMPTS
    asked = max(failure.retry_after or 0, UNKNOWN_PAUSE.total_seconds() if failure.outcome_unknown else 0)
    work: dict[str, Any] = {"not_before": ITEM.next_attempt(row.attempts, at_least=asked), "error": failure.reason}
    state = NotificationState.SENDING if failure.outcome_unknown else NotificationState.PENDING
    delivery: dict[str, Any] = {"state": state, "leased_at": None}
    if is_last:
        (delivery if row.is_note else work)["state"] = EffectState.DEAD
    _record(connection, row, work, delivery)
    if not (failure.is_final or failure.destination_works):
        destinations.back_off(
            connection, row.destination, failure.reason, retry_after=failure.retry_after, only_again=row.attempts > 1
        )
    destinations.end_attempt(connection, row.destination, begun_at=row.leased_at)


def _hold(connection: Connection, leased: Leased) -> AnyRow:
    """Locks what is leased and returns it. Raises LostFence unless it is still ours."""
    row = lock_note(connection, leased.id) if leased.is_note else lock_answer(connection, leased.id)
    name = f"{'note' if leased.is_note else 'answer'} {leased.id}"
    held = (EffectState.PENDING, NotificationState.SENDING, leased.fence)
    expect_fence(name, (row.state, row.delivery_state, row.fence), held)
    return row


def _record(connection: Connection, row: AnyRow, work: dict[str, Any], delivery: dict[str, Any]) -> None:
    """Writes the state of the work and of its delivery: of a note both are in one row."""
    if row.is_note:
        connection.execute(_work(row).values(**work, **delivery))
        return
    if work:
        connection.execute(_work(row).values(work))
    connection.execute(update(notification).where(notification.c.id == row.notification_id).values(delivery))


def _work(row: AnyRow) -> Update:
    if row.is_note:
        is_open = ticket_note.c.state.in_((NoteState.PENDING, NoteState.SENDING))
        return update(ticket_note).where(ticket_note.c.id == row.id, is_open)
    return update(effect).where(effect.c.id == row.id, effect.c.state == EffectState.PENDING)


def _no_error(row: AnyRow) -> dict[str, Any]:
    # Of an answer `mark_done` empties it.
    return {"error": None} if row.is_note else {}
