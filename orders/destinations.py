"""Where answers and notes go: whose turn is next, and which of them rests after a failure."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, update
from sqlalchemy.dialects.postgresql import insert as upsert

from database.tables import destination, outlet
from orders.effects import pause_after

# How long one rests at most after failures in a row, unless it asks for longer itself.
LONGEST_REST = timedelta(minutes=2)


def begin_try(connection: Connection, name: str, *, at_most: timedelta) -> None:
    """Notes that a try begins, which takes `at_most`: until it has ended, others are served before."""
    later = func.clock_timestamp() + at_most
    begun = upsert(destination).values(name=name, turn_at=later)
    connection.execute(begun.on_conflict_do_update(index_elements=[destination.c.name], set_={"turn_at": later}))


def end_try(connection: Connection, name: str, *, begun_at: datetime) -> None:
    """Notes how long a try took: for as long again others that have work are served before."""
    took = func.clock_timestamp() - begun_at
    ended = update(destination).where(destination.c.name == name)
    connection.execute(ended.values(took=took, turn_at=func.clock_timestamp() + took))


def end_rest(connection: Connection, name: str) -> None:
    """Notes that a destination works. A rest that is not over stays: another was asked to wait meanwhile."""
    connection.execute(delete(outlet).where(outlet.c.name == name, outlet.c.not_before <= func.now()))


def rest(connection: Connection, name: str, error: str, *, retry_after: float | None, only_again: bool) -> None:
    """Lets a destination rest after a failure: twice as long as before, and as long as it asked for in seconds.

    With `only_again` it rests only if it has failed since it last worked: what failed now has failed before, and the
    destination has worked since, so the fault is not the destination's.
    """
    asked = timedelta(seconds=retry_after or 0)
    failures = outlet.c.failures + 1
    again = func.clock_timestamp() + func.greatest(func.least(pause_after(failures), LONGEST_REST), asked)
    longer = {
        "failures": failures,
        # Two that failed side by side must not shorten each other's rest.
        "not_before": func.greatest(outlet.c.not_before, again),
        "error": error,
    }
    if only_again:
        connection.execute(update(outlet).where(outlet.c.name == name).values(longer))
        return
    first = func.clock_timestamp() + func.greatest(pause_after(1), asked)
    resting = upsert(outlet).values(name=name, failures=1, not_before=first, error=error)
    connection.execute(resting.on_conflict_do_update(index_elements=[outlet.c.name], set_=longer))
