"""Database work for a request that is being answered: in a thread, bounded in time, and 503 when it cannot be done."""

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException

from configuration.outages import Outage
from database.faults import Fault, classify, describe_fault
from database.transactions import CONNECTIONS

_P = ParamSpec("_P")
_T = TypeVar("_T")

# The most impatient desk gives up after five seconds. What we gave up on may still be committed: then the desk's next
# try is a repeat.
_SECONDS = 4.0
RETRY_AFTER = {"Retry-After": "5"}
# A thread more would only wait for a connection.
_threads = anyio.CapacityLimiter(CONNECTIONS)
_outage = Outage("answers 503, the database cannot do its part", over="answers again")


async def in_database(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Runs `work(*args, **kwargs)` and returns its result.

    Raises HTTPException 503 when the database is away or too slow.
    """
    try:
        with anyio.fail_after(_SECONDS):
            result = await run_sync(partial(work, *args, **kwargs), abandon_on_cancel=True, limiter=_threads)
    except TimeoutError as error:
        raise _unavailable("too slow", error, f"it took longer than {_SECONDS:g} seconds") from error
    except Exception as error:
        if classify(error) is Fault.PERMANENT:
            raise
        raise _unavailable("away", error, describe_fault(error)) from error
    _outage.end()
    return result


def _unavailable(how: str, error: Exception, why: str) -> HTTPException:
    _outage.note(error, why)
    # Whether the commit was done is not known, be it that we gave up or that the connection did.
    again = "what was sent may have been taken; send it again, a repeat does no harm"
    return HTTPException(503, f"the database is {how}: {again}", headers=RETRY_AFTER)
