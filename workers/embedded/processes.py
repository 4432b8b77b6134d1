"""Server programs: found in their wheels, ended where an earlier run has left them, and never two on one folder."""

import os
import platform
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from signal import Signals
from typing import IO, Any

import psutil

PATIENCE_SECONDS = 60  # for a start with a long log to replay, and for a stop with much to write


class ServiceError(Exception):
    """An embedded service cannot run; the message says why in one line, for people."""


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
    try:
        done = subprocess.run(  # noqa: S603 - none from outside
            command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, **options
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{Path(command[0]).name} was not done within {PATIENCE_SECONDS} seconds") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()]
        raise ServiceError(f"{Path(command[0]).name} failed: {lines[0]}")


def private(path: Path) -> IO[str]:
    """The file, emptied, for its owner alone."""
    return open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600))
