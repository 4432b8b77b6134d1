"""Database work for a request that is being answered: in a thread, bounded in time, and 503 when it cannot be done."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import structlog
from anyio.to_thread import run_sync
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from orders.faults import Fault, classify

_T = TypeVar("_T")
_log = structlog.get_logger()

# The most impatient desk gives up after five seconds. What we gave up on may still be committed: then the desk's next
# try is a repeat.
_SECONDS = 4.0
RETRY_AFTER = {"Retry-After": "5"}
# As many as the engine has connections: a thread more would only wait for one.
_threads = anyio.CapacityLimiter(5)


async def in_database(work: Callable[[], _T]) -> _T:
    """Runs `work` and returns its result. Raises HTTPException 503 when the database is away, or too slow."""
    try:
        with anyio.fail_after(_SECONDS):
            return await run_sync(work, abandon_on_cancel=True, limiter=_threads)
    except (TimeoutError, PoolTimeout) as error:
        raise _unavailable(error) from error
    except DBAPIError as error:
        if classify(error) is Fault.WORK:
            raise
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> HTTPException:
    _log.warning("the database is away", error=type(error).__name__)
    return HTTPException(503, "the database is away; nothing was taken, try again", headers=RETRY_AFTER)
