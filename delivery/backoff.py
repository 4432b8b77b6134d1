"""Backing off: the pause doubles after each failure in a row, and a destination that asks for more time gets it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, func

# A destination may be away for weeks: its failures must not overflow the power.
_MOST_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class Backoff:
    """A pause after the first failure, twice as long after each further one, up to the longest."""

    longest: timedelta
    first: timedelta = timedelta(seconds=2)

    def pause(self, failures: int) -> timedelta:
        """Returns the pause after so many failures in a row.

        >>> [Backoff(timedelta(seconds=60)).pause(failures).seconds for failures in (1, 2, 3, 4, 5, 6, 7)]
        [2, 4, 8, 16, 32, 60, 60]
        """
        return min(2.0 ** min(failures - 1, _MOST_DOUBLINGS) * self.first, self.longest)

    def pause_sql(self, failures: Any, *, at_least: float | None = None) -> ColumnElement[Any]:
        """Returns the same as an SQL interval of at least so many seconds."""
        pause = func.least(func.power(2, func.least(failures - 1, _MOST_DOUBLINGS)) * self.first, self.longest)
        return pause if at_least is None else func.greatest(pause, timedelta(seconds=at_least))

    def next_attempt(self, failures: Any, *, at_least: float | None = None) -> ColumnElement[Any]:
        """Returns when the next attempt is due, as an SQL moment."""
        return func.clock_timestamp() + self.pause_sql(failures, at_least=at_least)

    def after_failure(
        self, failures: ColumnElement[Any], reason: str, *, retry_after: float | None = None
    ) -> dict[str, Any]:
        """Returns the values of a row that backs off after one more failure; `failures` is its column."""
        not_before = self.next_attempt(failures + 1, at_least=retry_after)
        return {"failures": failures + 1, "not_before": not_before, "error": reason}


# The values of a row that works, or works again.
WORKS: dict[str, Any] = {"failures": 0, "not_before": None, "error": None}

# What is delivered to a destination: an answer, a note, the reading of a ticket, and every other effect.
ITEM = Backoff(longest=timedelta(minutes=15))
# A desk or the mail server. One that always fails is still tried every two minutes.
DESTINATION = Backoff(longest=timedelta(minutes=2))
# A partner, and its inbox.
PARTNER = Backoff(longest=timedelta(minutes=5))
