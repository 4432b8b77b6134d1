"""The web application over real HTTP: uvicorn in a thread of this process, on a free port of the loopback."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from urllib.parse import urlsplit

import httpx2
import uvicorn

from desks.registry import Helpdesks
from tests.deliveries import Delivery
from web.__main__ import serving as serving_options
from web.app import make_app

_PATIENCE = 30.0


@contextmanager
def serving(desks: Helpdesks) -> Iterator[str]:
    """Serves the application for the block; returns its URL."""
    # The protocol is named as uvicorn's own sockets do: without it asyncio leaves Nagle's algorithm on.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    # It listens before uvicorn has started, so that nobody has to wait for that.
    listening.listen(512)
    config = uvicorn.Config(make_app(desks), **{**serving_options(), "timeout_graceful_shutdown": 5})
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(_PATIENCE)
        listening.close()
        assert not thread.is_alive()


def send(http: httpx2.Client, delivery: Delivery) -> httpx2.Response:
    """Posts a delivery as its desk does."""
    return http.post(delivery.path, content=delivery.body, headers=dict(delivery.headers))


@contextmanager
def connected(url: str | httpx2.URL) -> Iterator[socket.socket]:
    """A plain connection to the server, for what no client of good manners sends."""
    address = urlsplit(str(url))
    with socket.create_connection((address.hostname, address.port), timeout=_PATIENCE) as connection:
        yield connection


def head_of(delivery: Delivery, **headers: str) -> bytes:
    """Returns the head of a POST as it goes over the wire; `headers` are added, `_` for `-`."""
    added = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}\r\n" for name, value in {**delivery.headers, **added, "Host": "countermand"}.items()]
    return f"POST {delivery.path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("latin-1")


def answer_of(connection: socket.socket) -> tuple[int, bytes]:
    """Reads one answer that ends with its connection or its length; returns status and body."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        length = None
        while line := stream.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, stream.read() if length is None else stream.read(length)
