"""Countermand as a person runs it: real processes, in a home of their own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.running.wakeups import WakeUp
from tests.builders import rows
from workers.app import app

_ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("countermand")


def environment(**changes: str) -> dict[str, str]:
    """Returns this process's environment without any setting of Countermand's, and with these changes."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERMAND_")}
    return {**clean, **changes}


def let_children_be_ended() -> None:
    """Lets what we start be ended by signals that we ignore ourselves, under `nohup` or in a script's background.

    A program inherits what is ignored, and not what is handled.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def countermand(*arguments: str, env: dict[str, str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Runs the command to its end."""
    return subprocess.run([COMMAND, *arguments], env=env, input=given, capture_output=True, timeout=240, check=False)


def await_that(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Waits for what other processes do; fails the test if it does not come."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.1)):
        if condition():
            return
        pause.wait(0.1)
    pytest.fail(f"waited {seconds:g} seconds in vain: {what}")


@contextmanager
def a_worker(run: Callable[[], None], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real worker, run by a function of a test module, for the block."""
    code = f"from {run.__module__} import {run.__name__} as run; run()"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=_ROOT, stdout=out, stderr=out, start_new_session=True
        ) as worker,
    ):
        try:
            yield worker
        finally:
            os.killpg(worker.pid, signal.SIGKILL)
            # pytest shows it if the test fails.
            sys.stdout.write(log.read_text(errors="replace"))


def sweep_until(query: str, wakeup: WakeUp, **options: Any) -> None:
    """Rings as beat does, until the query is true."""

    def is_true() -> bool:
        app.send_task(wakeup, **options)
        return bool(rows(query)[0][0])

    await_that(is_true, query, seconds=240)


def log_of(home: Path) -> Path:
    """Returns the file that holds what `up` and its processes wrote."""
    return home.with_suffix(".log")


@contextmanager
def running_up(home: Path, port: int, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `countermand up` for the block, from when all its processes are ready on; ends it by Ctrl-C.

    A test's folders are for its own user alone, so where that is root the processes are root too.
    """
    log = log_of(home)
    command = [
        str(COMMAND),
        "up",
        "--home",
        str(home),
        "--port",
        str(port),
        *(["--as-root"] if os.geteuid() == 0 else []),
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            # The machine may be busy with other tests.
            env={"COUNTERMAND_START_SECONDS": "180", **env},
            stdout=out,
            stderr=out,
        )
        try:
            await_that(
                lambda: process.poll() is not None or "countermand is up" in log.read_text(),
                f"{log} says that all processes are ready",
                seconds=200,
            )
            assert process.poll() is None, log.read_text()
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 0, log.read_text()
