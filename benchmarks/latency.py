"""How long one request takes: from the publishing until another connection sees its decision, and its effects done."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from statistics import quantiles
from typing import Any

from benchmarks.backlog import publish
from benchmarks.made import SOURCE, cancel_requests, request_id
from database.transactions import engine
from workers.errors import CommandError

# How often one looks. Looking costs a tenth of a millisecond of the machine that is measured: beside a load, which has
# need of it, one looks less often, and finds what is done up to so much later than it was; for effects, which take
# longer, each fifth time.
_LOOK_SECONDS = 0.001
_LOOK_SECONDS_BESIDE_A_LOAD = 0.004
_LOOK_FOR_EFFECTS_EACH = 5
_PATIENCE_SECONDS = 60

_LOOK = """
    SELECT state = 'decided', state = 'decided'
        AND NOT EXISTS (SELECT FROM effect WHERE change_request_id = request.id AND effect.state <> 'done')
    FROM (SELECT) AS one LEFT JOIN change_request AS request ON (source, external_id) = (%(source)s, %(external_id)s)
"""
# Of many, name by name: so there is one plan for any number of them, and it reads the index.
_DECIDED = """
    SELECT name FROM unnest(%(external_ids)s::text[]) AS name
    WHERE (SELECT state = 'decided' FROM change_request WHERE (source, external_id) = (%(source)s, name))
"""
_DONE = """
    SELECT name FROM unnest(%(external_ids)s::text[]) AS name
    WHERE NOT EXISTS (SELECT FROM effect WHERE effect.state <> 'done' AND change_request_id =
        (SELECT id FROM change_request WHERE (source, external_id) = (%(source)s, name)))
"""


def single_request(number: str) -> tuple[float, float]:
    """Publishes the request to cancel an order on the stream; see `timed`."""
    message = cancel_requests([number])
    return timed(lambda: publish(message), _LOOK, {"source": SOURCE, "external_id": request_id(number)})


def timed(publish: Callable[[], None], look: str, parameters: dict[str, Any]) -> tuple[float, float]:
    """Publishes one request; returns the milliseconds until `look` sees it decided, and its effects done.

    A commit is seen when it is on disk, which is later than any time in the row itself.
    """
    with _looking() as looking:
        started, decided = time.monotonic(), None
        publish()
        while True:
            is_decided, is_done = looking.execute(look, parameters, prepare=True).fetchone()
            passed = time.monotonic() - started
            if is_decided and decided is None:
                decided = passed
            if decided is not None and is_done:
                return decided * 1000, passed * 1000
            if passed > _PATIENCE_SECONDS:
                raise CommandError(f"request {parameters} was not done within {_PATIENCE_SECONDS} seconds")
            time.sleep(_LOOK_SECONDS)


def watch(line: Connection) -> list[tuple[float, float]]:
    """Returns the milliseconds that requests published by another process took, as `timed` does.

    The line carries, for each, its order's number and the monotonic time just before. It returns when the line has
    ended and all of them are done.
    """
    with _looking() as looking:
        watched = _Watched(looking)
        turns = count(1)
        while watched.hear(line) or not watched.are_done():
            watched.look(next(turns) % _LOOK_FOR_EFFECTS_EACH == 0)
            time.sleep(_LOOK_SECONDS_BESIDE_A_LOAD)
    return watched.milliseconds()


class _Watched:
    """Requests on their way: when each was published, seen decided, and seen done."""

    def __init__(self, looking: Any) -> None:
        self._looking = looking
        self._published: dict[str, float] = {}
        self._decided: dict[str, float] = {}
        self._done: dict[str, float] = {}
        self._heard = time.monotonic()

    def hear(self, line: Connection) -> bool:
        """Takes what has been published meanwhile; False once the line has ended."""
        try:
            while line.poll():
                number, self._heard = line.recv()
                self._published[request_id(number)] = self._heard
        except EOFError:
            return False
        return True

    def look(self, for_effects: bool) -> None:
        """Looks which are decided and, where asked, whose effects are done."""
        self._see(_DECIDED, self._decided, self._published.keys() - self._decided.keys())
        if for_effects:
            self._see(_DONE, self._done, self._decided.keys() - self._done.keys())
        if time.monotonic() - self._heard > _PATIENCE_SECONDS:
            left = len(self._published) - len(self._done)
            raise CommandError(f"{left} requests were not done within {_PATIENCE_SECONDS} seconds")

    def are_done(self) -> bool:
        """True if nothing is left to be looked for."""
        return len(self._done) == len(self._published)

    def milliseconds(self) -> list[tuple[float, float]]:
        """Returns how long each took, until it was decided and until its effects were done."""
        return [
            ((self._decided[one] - at) * 1000, (self._done[one] - at) * 1000) for one, at in self._published.items()
        ]

    def _see(self, query: str, seen: dict[str, float], sought: set[str]) -> None:
        if sought:
            values = {"source": SOURCE, "external_ids": list(sought)}
            found = self._looking.execute(query, values, prepare=True).fetchall()
            seen.update(dict.fromkeys((name for (name,) in found), time.monotonic()))


@contextmanager
def _looking() -> Iterator[Any]:
    """Yields a connection of the driver's own: half of what a look costs by SQLAlchemy."""
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection.connection.driver_connection


def percentiles(tries: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Returns p50, p95 and p99 of both, in milliseconds."""
    decided, done = zip(*tries, strict=True)
    return {"tries": len(tries), "decided_ms": _percentiles(decided), "effects_done_ms": _percentiles(done)}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    cuts = quantiles(values, n=100, method="inclusive")
    return {f"p{cut}": cuts[cut - 1] for cut in (50, 95, 99)}
