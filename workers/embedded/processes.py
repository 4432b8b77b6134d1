"""Server programs as child processes: found in their wheels, started, awaited, stopped, and never two on one folder."""

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from signal import Signals
from typing import IO, Any

import psutil

PATIENCE_SECONDS = 60  # for a start with a long log to replay, and for a stop with much to write


class ServiceError(Exception):
    """An embedded service cannot run; the message says why in one line, for people."""


@contextmanager
def running(
    name: str,
    command: list[str],
    data: Path,
    stop: Signals,
    ready: Callable[[int], bool],
    config: str = "",
    **account: Any,
) -> Iterator[None]:
    """Run a server that works in `data`, from the moment it is ready; stop it by its signal, in its own time."""
    log = data.with_name(f"{data.name}.log")
    with private(log) as output, tempfile.TemporaryFile("w+") as stdin:
        stdin.write(config)
        stdin.seek(0)
        # In a session of its own the terminal's Ctrl-C does not reach it: whoever works with it stops first.
        process = subprocess.Popen(  # noqa: S603 - no part of the command comes from outside
            command, cwd=data, stdin=stdin, stdout=output, stderr=output, start_new_session=True, **account
        )
    try:
        _await_ready(name, process, ready, log)
        yield
    finally:
        process.send_signal(stop)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # both recover from their logs
            process.wait()


def _await_ready(name: str, process: subprocess.Popen[bytes], ready: Callable[[int], bool], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ready(process.pid):
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines() or ["it gave no reason"]
            reason = next((line for line in reversed(lines) if "FATAL" in line or " # " in line), lines[-1])
            raise ServiceError(f"{name} did not start: {reason.strip()} (see {log})")
        time.sleep(0.02)


def end_orphans(data: Path, stop: Signals) -> None:
    """End the servers still at work in `data`: we hold the home's lock, so whoever started them is gone."""
    orphans = [
        process
        for process in psutil.process_iter(["name", "cwd", "cmdline"])
        if process.info["name"] in ("postgres", "valkey-server") and process.info["cwd"] == str(data)
    ]
    for orphan in orphans:
        # PostgreSQL's helpers take signals amiss that are not from their parent; they end when it does.
        if not "".join(orphan.info["cmdline"] or ()).startswith("postgres: "):
            with suppress(psutil.NoSuchProcess):
                orphan.send_signal(stop)
    _, alive = psutil.wait_procs(orphans, timeout=PATIENCE_SECONDS)
    if alive:
        raise ServiceError(f"process {alive[0].pid} has worked in {data} since an earlier run and does not stop")


def find_program(package: str, pattern: str) -> Path:
    """A program in an installed package, which is not imported: the import alone looks for folders of its own."""
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for program in Path(folder).resolve().glob(pattern):
            return program
    raise ServiceError(f"{package} has no program for {platform.system()} on {platform.machine()}")


def run(*command: str, **options: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # noqa: S603 - none from outside
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()]
        raise ServiceError(f"{Path(command[0]).name} failed: {lines[0]}")


def private(path: Path) -> IO[str]:
    """The file, emptied, for its owner alone."""
    return open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600))
