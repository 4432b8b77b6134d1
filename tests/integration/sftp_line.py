"""A line to the SFTP server of the tests that breaks after so many bytes, wherever in the conversation that is."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from edi.transports.ssh import SftpConfig
from tests.integration.sftp_server import Warehouse

S = TypeVar("S")
T = TypeVar("T")


@dataclass(slots=True)
class Line:
    """A line to a server that breaks, both ways at once, when it has carried so many bytes one way."""

    config: SftpConfig
    carried: int = 0

    def carry(self, source: socket.socket, target: socket.socket, after: int | None) -> None:
        """Carries one way until either side ends it, or it breaks; `after` is None for the way that does not count."""
        while after is None or self.carried < after:
            wanted = 65536 if after is None else min(65536, after - self.carried)
            if not (data := _or_nothing(source.recv, wanted)):
                break
            self.carried += 0 if after is None else len(data)
            _or_nothing(target.sendall, data)
        for end in (source, target):
            _or_nothing(end.shutdown, socket.SHUT_RDWR)


def _or_nothing(call: Callable[[S], T], argument: S) -> T | None:
    with suppress(OSError):
        return call(argument)
    return None


@contextmanager
def breaking_line(warehouse: Warehouse, direction: str, after: int | None) -> Iterator[Line]:
    """Holds a line for one connection; with `after` None it breaks not, and counts."""
    limit = sys.maxsize if after is None else after
    to_server, to_us = (limit, None) if direction == "to the server" else (None, limit)
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        line = Line(replace(warehouse.config, port=listener.getsockname()[1]))

        def serve() -> None:
            with listener.accept()[0] as client, socket.create_connection(("127.0.0.1", warehouse.port)) as server:
                back = threading.Thread(target=line.carry, args=(server, client, to_us))
                back.start()
                line.carry(client, server, to_server)
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        stack.callback(thread.join)
        yield line
