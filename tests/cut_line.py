"""A line to a server that is cut after so many bytes of what the server says, as a server that is killed cuts it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"


@dataclass
class Line:
    """What passes, and where it ends; `None`: nowhere."""

    port: int = 0
    cut_after: int | None = None
    passed: int = 0
    # Cut by a reset, and not by an end that is said.
    reset: bool = False
    open: list[socket.socket] = field(default_factory=list)


@contextmanager
def cut_line(server: tuple[str, int] | str) -> Iterator[Line]:
    """Yields a line on a port of the loopback to a server at a host and a port, or at a socket's path."""
    line = Line()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        line.port = listening.getsockname()[1]
        threading.Thread(target=_accept, args=(listening, line, server), daemon=True).start()
        try:
            yield line
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for one in line.open:
                one.close()


def _accept(listening: socket.socket, line: Line, server: tuple[str, int] | str) -> None:
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            far = socket.socket(socket.AF_UNIX if isinstance(server, str) else socket.AF_INET)
            far.connect(server)
            line.open += [client, far]
            threading.Thread(target=_forward, args=(client, far), daemon=True).start()
            threading.Thread(target=_pass, args=(far, client, line), daemon=True).start()


def _forward(client: socket.socket, far: socket.socket) -> None:
    with suppress(OSError):
        while data := client.recv(65536):
            far.sendall(data)
    with suppress(OSError):
        far.shutdown(socket.SHUT_RDWR)


def _pass(far: socket.socket, client: socket.socket, line: Line) -> None:
    with suppress(OSError):
        while data := far.recv(65536):
            rest = len(data) if line.cut_after is None else max(line.cut_after - line.passed, 0)
            client.sendall(data[:rest])
            line.passed += min(len(data), rest)
            if rest < len(data):
                break
        if line.reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            # Ends the other thread's read: while it lasts, closing sends nothing.
            client.shutdown(socket.SHUT_RD)
            client.close()
            return
        client.shutdown(socket.SHUT_RDWR)
