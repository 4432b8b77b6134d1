"""Connections to the HTTP port: how many, for how long without a request, and what is taken for HTTP.

uvicorn alone has no time-out for the head of a request, and when its bound is reached it refuses new connections, those
of health checks too. Here every new connection is let in, and the one that has waited longest without a request makes
room: a desk sends its head at once, and is not the one.
"""

import asyncio
import logging
import re
from collections.abc import Iterable
from ipaddress import ip_address
from time import monotonic
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from configuration.outages import Outage
from configuration.settings import settings

# Fewer than the 1,024 files that a process usually may open, and more than are ever answered at once.
MAX_CONNECTIONS = 800
# Of one address that is no proxy's of ours.
MAX_OF_AN_ADDRESS = 100
# So many may be let in before the oldest ones go.
BACKLOG = 100
HEAD_SECONDS = 10.0
MAX_HEAD_BYTES = 16 * 1024
_crowded = Outage("HTTP is crowded, the connection that has waited longest without a whole request makes room", over="")
_LINE_ENDS_OTHERWISE = re.compile(rb"(?<!\r)\n|\n[ \t]")


class StrictConnection(h11.Connection):
    """h11, without what two programs in a row may read in two ways (RFC 9112, 2.2, 5.2, 6.3)."""

    def next_event(self) -> Any:
        """Returns the next event. Raises h11.RemoteProtocolError for what is refused."""
        if self.their_state is h11.IDLE:
            _check_lines(self.trailing_data[0])
        event = super().next_event()
        if isinstance(event, h11.Request):
            _check_framing(event)
        return event


def _check_lines(arrived: bytes) -> None:
    if _LINE_ENDS_OTHERWISE.search(arrived.partition(b"\r\n\r\n")[0]):
        raise h11.RemoteProtocolError("a line of the head ends without CR, or goes on in the next")


def _check_framing(request: h11.Request) -> None:
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version < b"1.1"):
        raise h11.RemoteProtocolError("the length of the body is said in two ways")


class Protocol(H11Protocol):
    """A connection, which may be ended while it waits for a request."""

    head_seconds: ClassVar[float] = HEAD_SECONDS
    max_connections: ClassVar[int] = MAX_CONNECTIONS
    max_of_an_address: ClassVar[int] = MAX_OF_AN_ADDRESS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = StrictConnection(h11.SERVER, MAX_HEAD_BYTES)
        # None while a request is being answered.
        self.waits_since: float | None = None
        self._too_late: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """Whose connection it is: a client's, or that of the proxy before us."""
        return self.client[0] if self.client else ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a connection, and ends another if there are too many."""
        super().connection_made(transport)
        self._wait()
        open_ = cast("set[Protocol]", self.connections)
        if not is_trusted(self.address):
            of_it = [one for one in open_ if one.address == self.address]
            _make_room(of_it, self.max_of_an_address, self.address)
        _make_room(open_, self.max_connections)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._end_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Reads what has come; once it holds a head, the connection waits no longer."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._end_waiting()

    def on_response_complete(self) -> None:
        """Waits for the next request, also where the last one's body goes on."""
        self._wait()
        super().on_response_complete()

    def end(self) -> None:
        """Ends it at once, without an answer: there is no request."""
        self._end_waiting()
        self.connections.discard(self)
        self.transport.abort()

    def _wait(self) -> None:
        self._end_waiting()
        self.waits_since = monotonic()
        self._too_late = self.loop.call_later(self.head_seconds, self.end)

    def _end_waiting(self) -> None:
        self.waits_since = None
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None


def _make_room(connections: Iterable[Protocol], limit: int, address: str | None = None) -> None:
    there = list(connections)
    if len(there) > limit:
        tell_of_crowd(limit, "connections", address)
        waiting = [(one.waits_since, number) for number, one in enumerate(there) if one.waits_since is not None]
        # The one that has just come waits too, so there is one.
        there[min(waiting)[1]].end()


def tell_of_crowd(limit: int, what: str, address: str | None = None) -> None:
    """Says once a minute that there are too many, of one address or together."""
    if address is None:
        why = f"there are more than {limit} {what}"
    else:
        why = f"{address} has more than {limit} {what}; a proxy of yours belongs in COUNTERMAND_HTTP_TRUSTED_PROXIES"
    _crowded.note(ConnectionError(), why)


def is_trusted(address: str) -> bool:
    """True for a proxy of ours: it names the clients behind it, and there may be any number of them."""
    try:
        given = ip_address(address)
    except ValueError:
        return False
    return any(given in network for network in settings().trusted_networks)


class OnceAMinute(logging.Filter):
    """Lets each message of uvicorn's about a request that is no HTTP through once a minute: strangers cause them."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True for what is to be logged."""
        message, now = record.getMessage(), monotonic()
        if record.levelno > logging.WARNING or now - self._last.get(message, -60.0) >= 60.0:
            self._last[message] = now
            return True
        return False
