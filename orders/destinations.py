"""Where answers and notes go: whose turn is next, and which destination backs off after a failure."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, func, update
from sqlalchemy.dialects.postgresql import insert as upsert

from database.tables import destination
from delivery.backoff import DESTINATION, WORKS
from delivery.leases import lease_end


def begin_attempt(connection: Connection, name: str, *, at_most: timedelta) -> None:
    """Notes that an attempt begins, which takes `at_most`: until it has ended, other destinations come first."""
    begun = upsert(destination).values(name=name, turn_at=lease_end(at_most))
    connection.execute(
        begun.on_conflict_do_update(index_elements=[destination.c.name], set_={"turn_at": begun.excluded.turn_at})
    )


def end_attempt(connection: Connection, name: str, *, begun_at: datetime) -> None:
    """Notes how long an attempt took: for as long again, other destinations that have work come first."""
    took = func.clock_timestamp() - begun_at
    ended = update(destination).where(destination.c.name == name)
    connection.execute(ended.values(took=took, turn_at=func.clock_timestamp() + took))


def end_backoff(connection: Connection, name: str) -> None:
    """Notes that a destination works. A back-off that is not over stays: another attempt was asked to wait."""
    failing = destination.c.failures > 0, destination.c.not_before <= func.now()
    connection.execute(update(destination).where(destination.c.name == name, *failing).values(WORKS))


def back_off(connection: Connection, name: str, reason: str, *, retry_after: float | None, only_again: bool) -> None:
    """Backs off from a destination after a failure: twice as long as before, and as long as it asked for in seconds.

    With `only_again` only if the destination has failed since it last worked: what failed now has failed before, and
    the destination has worked since, so the fault is not the destination's.
    """
    failed = update(destination).where(destination.c.name == name)
    if only_again:
        failed = failed.where(destination.c.failures > 0)
    values = DESTINATION.after_failure(destination.c.failures, reason, retry_after=retry_after)
    # Two attempts that failed side by side must not shorten each other's back-off.
    values["not_before"] = func.greatest(destination.c.not_before, values["not_before"])
    connection.execute(failed.values(values))
