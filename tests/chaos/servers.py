"""A PostgreSQL and a Valkey of the test's own, that can be crashed, wiped and started again at the same addresses."""

import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGQUIT, Signals
from threading import Event
from typing import Self

import psutil

from workers.embedded.postgres import postgres
from workers.embedded.valkey import valkey


class Server:
    """One server, found by the folder that it works in."""

    def __init__(self, data: Path, running: Callable[[], AbstractContextManager[str]], crash_by: Signals) -> None:
        self._data, self._running, self._crash_by = data, running, crash_by
        self._block = ExitStack()
        self.url = ""

    @contextmanager
    def started(self) -> Iterator[Self]:
        """Runs it for the block."""
        self.start()
        try:
            yield self
        finally:
            self._block.close()

    def start(self) -> None:
        """Starts it, and returns when it is ready."""
        url = self._block.enter_context(self._running())
        assert self.url in ("", url), f"it came back at another address: {url}"
        self.url = url

    def crash(self) -> None:
        """Ends it without a chance to tidy up."""
        [server] = [child for child in psutil.Process().children() if child.cwd() == str(self._data)]
        server.send_signal(self._crash_by)
        self._block.close()


class Servers:
    """The servers of a home; both write to the disk what they have confirmed."""

    def __init__(self, home: Path) -> None:
        self._data = home / "data"
        self._data.mkdir(parents=True)
        (home / "valkey.port").write_text(str(a_port()))
        # SIGQUIT is what `pg_ctl stop -m immediate` sends.
        self.database = Server(self._data / "postgres", lambda: postgres(home, durable=True), SIGQUIT)
        self.broker = Server(self._data / "valkey", lambda: valkey(home, durable=True), SIGKILL)

    def wipe_broker(self) -> None:
        """Takes away everything that the crashed broker had."""
        shutil.rmtree(self._data / "valkey" / "appendonlydir")


def a_port() -> int:
    """Returns a free port that no connection is given by itself, as that could take it while its server is away."""
    for port in random.SystemRandom().sample(range(20000, 32000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def comes(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for something, not longer than this; returns whether it came."""
    return any(condition() or Event().wait(0.2) for _ in range(int(seconds / 0.2)))


def ended(process: psutil.Process) -> bool:
    """True if a process has ended, collected by its parent or not."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def signal_group(process: psutil.Process, number: Signals) -> None:
    """Sends a signal to a process and all that it started in its process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
