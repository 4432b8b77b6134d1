"""How long one request takes: from the publishing until another connection sees its decision, and its effects done."""

import time
from collections.abc import Callable, Sequence
from statistics import quantiles
from typing import Any

from benchmarks.backlog import publish
from benchmarks.made import SOURCE, cancel_requests
from tasks.database import engine
from workers.errors import CommandError

# How often one looks until it is decided, and from then on until its effects are done. Looking costs a tenth of a
# millisecond of the machine that is measured: beside a load, which has need of it, one looks less often, and finds what
# is done up to so much later than it was.
_LOOKS = (0.001, 0.001)
LOOKS_BESIDE_A_LOAD = (0.002, 0.01)
_PATIENCE_SECONDS = 60

_LOOK = """
    SELECT state = 'decided', state = 'decided'
        AND NOT EXISTS (SELECT FROM effect WHERE change_request_id = request.id AND effect.state <> 'done')
    FROM (SELECT) AS one LEFT JOIN change_request AS request ON (source, external_id) = (%(source)s, %(external_id)s)
"""


def single_request(number: str, looks: tuple[float, float] = _LOOKS) -> tuple[float, float]:
    """Publishes the request to cancel an order on the stream; see `timed`."""
    message = cancel_requests([number])
    parameters = {"source": SOURCE, "external_id": f"{number}-1"}
    return timed(lambda: publish(message), _LOOK, parameters, looks)


def timed(
    publish: Callable[[], None], look: str, parameters: dict[str, Any], looks: tuple[float, float] = _LOOKS
) -> tuple[float, float]:
    """Publishes one request; returns the milliseconds until `look` sees it decided, and its effects done.

    A commit is seen when it is on disk, which is later than any time that the row itself tells.
    """
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # The driver's own: half of what it costs by SQLAlchemy, all of it taken from what is measured.
        looking: Any = connection.connection.driver_connection
        started, decided = time.perf_counter(), None
        publish()
        while True:
            is_decided, is_done = looking.execute(look, parameters, prepare=True).fetchone()
            passed = time.perf_counter() - started
            if is_decided and decided is None:
                decided = passed
            if decided is not None and is_done:
                return decided * 1000, passed * 1000
            if passed > _PATIENCE_SECONDS:
                raise CommandError(f"request {parameters} was not done within {_PATIENCE_SECONDS} seconds")
            time.sleep(looks[0] if decided is None else looks[1])


def percentiles(tries: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Returns p50, p95 and p99 of both, in milliseconds."""
    decided, done = zip(*tries, strict=True)
    return {"tries": len(tries), "decided_ms": _percentiles(decided), "effects_done_ms": _percentiles(done)}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    cuts = quantiles(values, n=100, method="inclusive")
    return {f"p{cut}": cuts[cut - 1] for cut in (50, 95, 99)}
