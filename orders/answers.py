"""Telling decisions: written once, delivered under a lease, settled by whoever holds the newest fence.

The effect `notify` is the unit of work; its notification is the text, and says whether an earlier try is unclear.
Every change of a notification is made under the lock of its effect.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from orders.effects import MAX_ATTEMPTS, mark_done, pause_after
from orders.locks import AnyRow, claim_answer, lock_answer
from orders.tables import EffectState, NotificationState, effect, notification, outlet

# Longer than the task that delivers may run (it is killed then): nobody delivers beside the holder of a lease.
LEASE = timedelta(seconds=90)
# After an unclear try: time for a request that is still on its way to arrive, before anyone looks for it.
UNCLEAR_PAUSE = timedelta(seconds=15)
# How long an outlet rests at most after failures in a row, unless it asks for longer itself.
LONGEST_REST = timedelta(minutes=2)

# The rows are one JSON parameter, so that the statement is the same for any number of them and is prepared once.
_WRITE = text(
    """
    INSERT INTO notification (change_request_id, channel, visibility, subject, body, state)
    SELECT change_request_id, channel, visibility, subject, body, state
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS written (change_request_id bigint, channel text, visibility text,
        subject text, body text, state text)
    """
)


class LostFence(Exception):
    """Someone else has taken the answer over; what became of this try is theirs to find out."""


@dataclass(frozen=True, slots=True)
class Leased:
    """An answer that is ours to deliver until the lease ends; `look_first`: an earlier try may have delivered it."""

    effect_id: int
    notification_id: int
    fence: int
    look_first: bool
    row: AnyRow


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a try failed: whether it may have succeeded, whether another can, and the seconds we were asked to wait.

    `is_tickets_own`: it concerns this ticket alone, and the outlet works.
    """

    told: str
    unclear: bool = False
    final: bool = False
    retry_after: float | None = None
    is_tickets_own: bool = False


def write(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Writes notifications; those that are told with that (state `sent`) end their effects.

    Each row has the columns of `notification`, and `effect_id`.
    """
    connection.execute(_WRITE, {"rows": json.dumps(rows)})
    told = [row["effect_id"] for row in rows if row["state"] == NotificationState.SENT]
    if told:
        mark_done(connection, told)


def lease(connection: Connection) -> Leased | None:
    """Takes the next answer that is due, its outlet not resting; None if there is none.

    The try counts from here on. An answer whose deliverer died at the last one is dead, and passed over.
    """
    while (row := claim_answer(connection)) is not None:
        if row.attempts < MAX_ATTEMPTS:
            return _take(connection, row)
        told = f"whoever tried to deliver it died, {row.attempts} times"
        gone = update(effect).where(effect.c.id == row.effect_id, effect.c.state == EffectState.PENDING)
        connection.execute(gone.values(state=EffectState.DEAD, error=told))
    return None


def _take(connection: Connection, row: AnyRow) -> Leased:
    connection.execute(
        update(effect)
        .where(effect.c.id == row.effect_id, effect.c.state == EffectState.PENDING)
        .values(attempts=effect.c.attempts + 1, not_before=func.clock_timestamp() + LEASE)
    )
    connection.execute(
        update(notification)
        .where(notification.c.id == row.notification_id)
        .values(state=NotificationState.SENDING, fence=row.fence + 1)
    )
    look_first = row.notification_state == NotificationState.SENDING
    return Leased(row.effect_id, row.notification_id, row.fence + 1, look_first, row)


def confirm(connection: Connection, leased: Leased, outlet_name: str) -> None:
    """Notes that an answer was delivered, and that its outlet works. Raises LostFence.

    A rest that is not over stays: another was asked to wait while this answer was on its way.
    """
    _hold(connection, leased)
    told = update(notification).where(notification.c.id == leased.notification_id)
    connection.execute(told.values(state=NotificationState.SENT))
    mark_done(connection, [leased.effect_id])
    connection.execute(delete(outlet).where(outlet.c.name == outlet_name, outlet.c.not_before <= func.now()))


def fail(connection: Connection, leased: Leased, failure: Failure, outlet_name: str) -> None:
    """Notes a failed try: the answer waits, twice as long as before, and is dead after the last. Raises LostFence.

    The outlet rests too, unless the failure is the ticket's own or final.
    """
    attempts = _hold(connection, leased)
    is_last = failure.final or attempts >= MAX_ATTEMPTS
    pause = func.greatest(
        pause_after(attempts),
        timedelta(seconds=failure.retry_after or 0),
        UNCLEAR_PAUSE if failure.unclear else timedelta(),
    )
    connection.execute(
        update(effect)
        .where(effect.c.id == leased.effect_id, effect.c.state == EffectState.PENDING)
        .values(
            state=EffectState.DEAD if is_last else EffectState.PENDING,
            not_before=func.clock_timestamp() + pause,
            error=failure.told,
        )
    )
    state = NotificationState.SENDING if failure.unclear else NotificationState.PENDING
    connection.execute(update(notification).where(notification.c.id == leased.notification_id).values(state=state))
    if not (failure.final or failure.is_tickets_own):
        _rest(connection, outlet_name, failure)


def _hold(connection: Connection, leased: Leased) -> int:
    """Locks the answer and returns its tries so far. Raises LostFence unless it is still ours."""
    row = lock_answer(connection, leased.effect_id)
    if (row.state, row.notification_state, row.fence) != (
        EffectState.PENDING,
        NotificationState.SENDING,
        leased.fence,
    ):
        raise LostFence(
            f"answer {leased.effect_id} is {row.state}, its notification {row.notification_state} at {row.fence}; "
            f"expected pending, sending at {leased.fence}"
        )
    return int(row.attempts)


def _rest(connection: Connection, name: str, failure: Failure) -> None:
    asked = timedelta(seconds=failure.retry_after or 0)
    first = func.clock_timestamp() + func.greatest(pause_after(1), asked)
    failures = outlet.c.failures + 1
    again = func.clock_timestamp() + func.greatest(func.least(pause_after(failures), LONGEST_REST), asked)
    resting = upsert(outlet).values(name=name, failures=1, not_before=first, error=failure.told)
    connection.execute(
        resting.on_conflict_do_update(
            index_elements=[outlet.c.name],
            set_={
                "failures": failures,
                # Two that failed side by side must not shorten each other's rest.
                "not_before": func.greatest(outlet.c.not_before, again),
                "error": failure.told,
            },
        )
    )
