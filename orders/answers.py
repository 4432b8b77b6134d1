"""Telling decisions, and what colleagues must know: written once, delivered under a lease, settled by its holder.

The effect `notify` is an answer's unit of work; its notification is the text, and says whether an earlier try is
unclear. Every change of a notification is made under the lock of its effect. A note on a ticket is both in one row.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Update, func, text, update

from database.locks import AnyRow, claim_delivery, lock_answer, lock_note
from database.tables import EffectState, NoteState, NotificationState, effect, notification, ticket_note
from delivery.backoff import ITEM
from delivery.leases import MAX_ATTEMPTS, expect_fence, lease_end
from delivery.outcomes import Failure
from orders import destinations
from orders.effects import mark_done

# Longer than the task that delivers may run (it is killed then): nobody delivers beside the holder of a lease.
LEASE = timedelta(seconds=90)
# After an unclear try: time for a request that is still on its way to arrive, before anyone looks for it.
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
_GIVE_A_WAY_OUT = text(
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

    `look_first`: an earlier try may have delivered it.
    """

    id: int
    is_note: bool
    fence: int
    look_first: bool
    row: AnyRow


def write(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Writes notifications; those that are told with that (state `sent`) end their effects, the others wait.

    Each row has the columns of `notification`, with `effect_id` and `destination`.
    """
    connection.execute(_WRITE, {"rows": json.dumps(rows)})
    told = [row["effect_id"] for row in rows if row["state"] == NotificationState.SENT]
    if told:
        mark_done(connection, told)
    waiting = [row for row in rows if row["state"] != NotificationState.SENT]
    if waiting:
        connection.execute(_GIVE_A_WAY_OUT, {"rows": json.dumps(waiting)})


def lease(connection: Connection) -> Leased | None:
    """Takes the next answer or note that is due, its destination not resting; None if there is none.

    The try counts from here on. What its deliverer died at the last time is dead, and passed over.
    """
    while (row := claim_delivery(connection)) is not None:
        if row.attempts < MAX_ATTEMPTS:
            return _take(connection, row)
        told = f"whoever tried to deliver it died, {row.attempts} times"
        connection.execute(_work(row).values(state=EffectState.DEAD, error=told))
    return None


def _take(connection: Connection, row: AnyRow) -> Leased:
    work = {"attempts": row.attempts + 1, "not_before": lease_end(LEASE)}
    told = {"state": NotificationState.SENDING, "fence": row.fence + 1, "leased_at": func.clock_timestamp()}
    _stand(connection, row, work, told)
    destinations.begin_attempt(connection, row.destination, at_most=LEASE)
    # Of a note nothing else says that an earlier try was unclear, once it was dead.
    look_first = row.told == NotificationState.SENDING or (row.is_note and row.fence > 0)
    return Leased(row.id, row.is_note, row.fence + 1, look_first, row)


def confirm(connection: Connection, leased: Leased) -> None:
    """Notes that an answer or a note was delivered, and that its destination works. Raises LostFence."""
    row = _hold(connection, leased)
    _stand(connection, row, {}, {"state": NotificationState.SENT, "leased_at": None, **_no_error(row)})
    if not row.is_note:
        mark_done(connection, [row.id])
    destinations.end_backoff(connection, row.destination)
    destinations.end_attempt(connection, row.destination, begun_at=row.leased_at)


def fail(connection: Connection, leased: Leased, failure: Failure) -> None:
    """Notes a failed try: it waits, twice as long as before, and is dead after the last. Raises LostFence.

    The destination rests too, unless the failure is the ticket's own or final.
    """
    row = _hold(connection, leased)
    is_last = failure.is_final or row.attempts >= MAX_ATTEMPTS
    asked = max(failure.retry_after or 0, UNKNOWN_PAUSE.total_seconds() if failure.outcome_unknown else 0)
    work: dict[str, Any] = {"not_before": ITEM.next_attempt(row.attempts, at_least=asked), "error": failure.reason}
    state = NotificationState.SENDING if failure.outcome_unknown else NotificationState.PENDING
    told: dict[str, Any] = {"state": state, "leased_at": None}
    if is_last:
        (told if row.is_note else work)["state"] = EffectState.DEAD
    _stand(connection, row, work, told)
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
    expect_fence(name, (row.state, row.told, row.fence), held)
    return row


def _stand(connection: Connection, row: AnyRow, work: dict[str, Any], told: dict[str, Any]) -> None:
    """Writes how the work and its telling stand: of a note both are in one row."""
    if row.is_note:
        connection.execute(_work(row).values(**work, **told))
        return
    if work:
        connection.execute(_work(row).values(work))
    connection.execute(update(notification).where(notification.c.id == row.notification_id).values(told))


def _work(row: AnyRow) -> Update:
    if row.is_note:
        is_open = ticket_note.c.state.in_((NoteState.PENDING, NoteState.SENDING))
        return update(ticket_note).where(ticket_note.c.id == row.id, is_open)
    return update(effect).where(effect.c.id == row.id, effect.c.state == EffectState.PENDING)


def _no_error(row: AnyRow) -> dict[str, Any]:
    # Of an answer `mark_done` empties it.
    return {"error": None} if row.is_note else {}
