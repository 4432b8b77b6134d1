"""Room for requests: bodies that arrive, work in the database, and questions that many ask at once."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from time import monotonic

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from web.connections import is_trusted, tell_of_crowd
from web.database import RETRY_AFTER

# Each body may have 256 KiB; of one address that is no proxy's of ours, so many.
MAX_BODIES, MAX_BODIES_OF_AN_ADDRESS = 200, 50
# Of the readiness checks that wait for one that is running.
_MAX_WAITING = 50


class Bodies:
    """Bodies that are arriving. When there are too many, the one that began first is given up: a desk's is quick."""

    def __init__(self, limit: int = MAX_BODIES, limit_of_an_address: int = MAX_BODIES_OF_AN_ADDRESS) -> None:
        self._limit, self._limit_of_an_address = limit, limit_of_an_address
        self._arriving: dict[anyio.CancelScope, str] = {}

    @contextmanager
    def arriving(self, address: str, seconds: float) -> Iterator[None]:
        """Lets a body arrive within the block. Raises TimeoutError when it takes too long, or makes room for others."""
        with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
            self._arriving[scope] = address
            self._make_room(address)
            try:
                yield
            finally:
                self._arriving.pop(scope, None)
        if scope.cancelled_caught:
            raise TimeoutError

    def _make_room(self, address: str) -> None:
        if not is_trusted(address):
            of_it = [scope for scope, one in self._arriving.items() if one == address]
            if len(of_it) > self._limit_of_an_address:
                tell_of_crowd(self._limit_of_an_address, "bodies on their way", address)
                self._give_up(of_it[0])
        if len(self._arriving) > self._limit:
            tell_of_crowd(self._limit, "bodies on their way")
            self._give_up(next(iter(self._arriving)))

    def _give_up(self, scope: anyio.CancelScope) -> None:
        del self._arriving[scope]
        scope.cancel()


@contextmanager
def a_place(request: Request) -> Iterator[None]:
    """Holds one of the places for work in the database. Raises HTTPException 503 where none is free.

    A client that waited for one would lose patience, and hold a body meanwhile.
    """
    places: anyio.Semaphore = request.app.state.places
    try:
        places.acquire_nowait()
    except anyio.WouldBlock:
        raise HTTPException(
            503, "too many requests at once; nothing was taken, try again", headers=RETRY_AFTER
        ) from None
    try:
        yield
    finally:
        places.release()


def shared(
    endpoint: Callable[[Request], Awaitable[Response]], *, at_first: Response
) -> Callable[[Request], Awaitable[Response]]:
    """Lets all clients that ask while an answer is being found share the next one: anybody may ask, at any rate.

    Where very many wait for it, they get the last one.
    """
    lock = anyio.Lock()
    began, kept = 0.0, at_first

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        nonlocal began, kept
        came = monotonic()
        if lock.statistics().tasks_waiting >= _MAX_WAITING:
            return kept
        async with lock:
            if began <= came:
                began = monotonic()
                kept = await endpoint(request)
            return kept

    return answer
