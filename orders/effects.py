"""The outbox: what a decision triggers, done after its commit, exactly once."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, case, func, select, text, update

from database.locks import lock_dead_effects
from database.queries import is_one_of
from database.tables import EffectState, effect
from delivery.backoff import ITEM
from delivery.leases import MAX_ATTEMPTS

_MARK_DONE = text(
    """
    UPDATE effect SET state = 'done', done_at = clock_timestamp(), error = NULL
    -- Not `=`: for that the planner would go through all that is pending.
    WHERE id = ANY(CAST(:ids AS bigint[])) AND state IS NOT DISTINCT FROM 'pending'
    """
)


class EffectGone(Exception):
    """An effect that was claimed is not pending any more. Nothing of the batch is written."""


def mark_done(connection: Connection, ids: Sequence[int]) -> None:
    """Marks claimed effects as done."""
    found = connection.execute(_MARK_DONE, {"ids": list(ids)}).rowcount
    if found != len(ids):
        raise EffectGone(f"{found} of {len(ids)} claimed effects were still pending")


def count_dead(connection: Connection) -> int:
    """Returns how many effects are dead."""
    return connection.execute(select(func.count()).where(effect.c.state == EffectState.DEAD)).scalar_one()


def revive_dead(connection: Connection, *, limit: int, after: int = 0) -> Sequence[int]:
    """Makes the next dead effects, with ids above `after`, pending again with all their attempts; returns their ids."""
    ids = lock_dead_effects(connection, limit=limit, after=after)
    dead = update(effect).where(is_one_of(effect.c.id, ids), effect.c.state == EffectState.DEAD)
    again = dead.values(state=EffectState.PENDING, attempts=0, not_before=func.clock_timestamp(), error=None)
    connection.execute(again)
    return ids


def uncount_attempt(connection: Connection, effect_id: int) -> None:
    """Takes back an attempt that was counted and not made; the effect waits a second, if it is still pending."""
    later = func.greatest(effect.c.not_before, func.clock_timestamp() + timedelta(seconds=1))
    connection.execute(
        update(effect)
        .where(effect.c.id == effect_id, effect.c.state == EffectState.PENDING)
        # A dead one may have been revived meanwhile, with all its attempts.
        .values(attempts=func.greatest(effect.c.attempts - 1, 0), not_before=later)
    )


def count_failure(connection: Connection, effect_id: int, error: str, *, pauses: bool = True) -> None:
    """Counts a failed attempt of an effect: it waits twice as long as before, and is dead after MAX_ATTEMPTS.

    Without `pauses` it does not wait.
    """
    tried = effect.c.attempts + 1
    connection.execute(
        update(effect)
        .where(effect.c.id == effect_id, effect.c.state == EffectState.PENDING)
        .values(
            attempts=tried,
            not_before=ITEM.next_attempt(tried) if pauses else effect.c.not_before,
            state=case((tried >= MAX_ATTEMPTS, EffectState.DEAD), else_=EffectState.PENDING),
            error=error,
        )
    )
