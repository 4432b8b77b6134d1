"""What can go wrong with one call to a desk. A fault is given what the desk would do, and does or leaves it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event
from typing import Any, TypeAlias, cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Act: TypeAlias = Callable[[], Response]
Fault: TypeAlias = Callable[[Act], Response]

# More than the client reads of one answer.
HUGE = 9 * 1024 * 1024
_PATIENCE_SECONDS = 60.0


def says(status: int, content: bytes = b"", **headers: str) -> Fault:
    """Answers so, and does nothing; `Retry_After="5"` is the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Response(content, status, named, media_type="text/plain")


def hangs_up(_: Act) -> Response:
    """Does nothing, and closes the connection without an answer."""
    return _HungUp()


def after_storing(fault: Fault) -> Fault:
    """Does what was asked first."""

    def done_first(act: Act) -> Response:
        act()
        return fault(act)

    return done_first


def hangs(gate: Event, *, stored: Event | None = None, then: Fault | None = None) -> Fault:
    """Does what was asked, and tells `stored`; answers only when the gate is opened, well or as `then` says."""

    def late_answer(act: Act) -> Response:
        response = act()
        if stored:
            stored.set()
        assert gate.wait(_PATIENCE_SECONDS)
        return then(act) if then else response

    return late_answer


def arrives_late(gate: Event, arrived: Event) -> Fault:
    """Does what was asked only when the gate is opened, and tells `arrived`: it was on its way so long."""

    def late(act: Act) -> Response:
        assert gate.wait(_PATIENCE_SECONDS)
        response = act()
        arrived.set()
        return response

    return late


def before_the_answer(meanwhile: Callable[[], Any]) -> Fault:
    """Does what was asked; something else happens before its answer is out."""

    def interrupted(act: Act) -> Response:
        response = act()
        meanwhile()
        return response

    return interrupted


def http_date(seconds: float) -> str:
    """Returns the moment in so many seconds, as Retry-After may have it."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


class _HungUp(Response):
    """No answer at all."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # ASGI has no way to hang up; `receive` is a method of uvicorn's, which holds the connection.
        cast("Any", receive).__self__.transport.abort()
        await receive()
