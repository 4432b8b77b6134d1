"""A fake helpdesk on a real server: in a thread of this process, on a free port of this machine."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import uvicorn
from starlette.types import ASGIApp

_PATIENCE_SECONDS = 30.0


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serves an app and yields its URL; the server is at its end when the block is left."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            # `faults.hangs_up` knows this implementation.
            http="h11",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            log_config=None,
            access_log=False,
        )
    )
    # Listening before the thread runs: whoever connects at once waits in the queue, and nobody has to wait for us.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(_PATIENCE_SECONDS)
    assert not thread.is_alive(), "the fake desk does not end: a gate is still closed"
