"""Real processes, killed at a point of the test's choice: `kill -9`, and nothing of them tidies up."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from sqlalchemy import Connection, text

from tests.race.gates import observing

_ROOT = Path(__file__).parents[2]
_HERE = b"at the point\n"
PATIENCE_SECONDS = 30.0


def stop_here(*_: object) -> None:
    """Says that the point is reached, and waits for the end."""
    os.write(1, _HERE)
    signal.pause()


def kill_at_the_point(work: Callable[[], object]) -> None:
    """Runs a function of a test module in a process group of its own, and kills it where it calls `stop_here`.

    Returns once PostgreSQL has rolled back what the process had open.
    """
    code = f"from {work.__module__} import {work.__name__} as work; work()"
    with (
        rolled_back(),
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=_ROOT, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        ) as process,
    ):
        try:
            _await_the_point(process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def rolled_back() -> Iterator[None]:
    """Ends once PostgreSQL has rolled back what processes that came and went within the block had open."""
    with observing() as observer:
        others = _sessions(observer)
        yield
        for _ in range(int(PATIENCE_SECONDS / 0.005)):
            if _sessions(observer) <= others:
                return
            Event().wait(0.005)
    raise AssertionError("PostgreSQL has not noticed that the process is gone")


def _await_the_point(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    said = b""
    while not said.endswith(_HERE):
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE_SECONDS)
        chunk = process.stdout.read(65536) if ready else b""
        assert chunk, f"it ended, or hung, before the point: {said.decode()}"
        said += chunk


def _sessions(observer: Connection) -> set[int]:
    others = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
    return set(observer.scalars(others))
