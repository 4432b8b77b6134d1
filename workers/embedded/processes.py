"""Server programs: found in their wheels, ended where an earlier run has left them, and never two on one folder."""

import os
import platform
import re
import secrets
import subprocess
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from signal import Signals
from typing import IO, Any

import psutil

from workers.accounts import SERVERS, Account, allow_traversal, is_root, system_user

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


def bare_environment() -> dict[str, str]:
    """The environment of a server and its helpers: nothing of ours, least of all a secret."""
    return {"PATH": os.environ.get("PATH", os.defpath)}


def servers_user(home: Path, data: Path, program: Path) -> Account | None:
    """The user that root runs a server as, who then owns its data and may reach it and the program; None otherwise."""
    if not is_root():
        return None
    account = system_user(SERVERS)
    for above in (home, data.parent):
        # They stay root's, who writes there. Through them passes the group of the servers, and nobody else.
        os.chown(above, -1, account.gid)
        above.chmod(0o710)
    allow_traversal(*home.parents, *program.parents)
    for folder, folders, files in os.walk(data):
        # An earlier version ran as `pgserver`.
        for path in (Path(folder), *(Path(folder, name) for name in (*folders, *files))):
            if path.lstat().st_uid != account.uid:
                account.give(path)
    return account


def run(*command: str, **options: Any) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - none from outside
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
            env=bare_environment(),
            **options,
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{Path(command[0]).name} was not done within {PATIENCE_SECONDS} seconds") from error
    if done.returncode != 0:
        lines = done.stderr.splitlines() or ["it gave no reason"]
        why = next((line for line in lines if re.search("error|FATAL|PANIC", line)), lines[0])
        is_full = "No space left" in done.stderr
        raise ServiceError(f"{Path(command[0]).name} failed: {why}{': free some of its disk' if is_full else ''}")


def private(path: Path) -> IO[str]:
    """The file itself, emptied, for its owner alone, also if it was there and open to others."""
    return open(path, "w", opener=_for_us_alone)


def _for_us_alone(name: str, flags: int) -> int:
    file = os.open(name, flags | os.O_NOFOLLOW, 0o600)
    os.fchmod(file, 0o600)
    return file


def keep(path: Path, choose: Callable[[str], str]) -> str:
    """What `choose` makes of the text kept in the file, kept in its place."""
    kept = path.read_text() if path.exists() else ""
    chosen = choose(kept)
    if chosen != kept:
        with private(path) as file:
            file.write(chosen)
    return chosen


def made_up(kept: str) -> str:
    """The password that was kept, or a new one."""
    return kept or secrets.token_urlsafe(32)
