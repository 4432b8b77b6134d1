"""`countermand up`: everything in the foreground, on the servers of the environment or on embedded ones."""

import errno
import fcntl
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from sqlalchemy import Connection

from cli.advice import PERMIT_OR_STAY_ROOT
from cli.terminal import err
from configuration.settings import settings
from configuration.urls import without_password
from database.migrate import migrate
from database.server import server_warnings
from database.transactions import engine, in_transaction
from desks.registry import Helpdesks
from edi.transports.directory import DirectoryTransport
from tasks.helpdesks import helpdesks
from tasks.partners import partners
from workers.accounts import (
    Account,
    NotPermitted,
    give_home,
    is_root,
    owner_of,
    prepare_for,
    processes_account,
    switch_to,
)
from workers.broker import QUEUE, STREAM, is_stream
from workers.discovery import announced, publish_to_environment
from workers.embedded import Services, embedded_services
from workers.embedded.processes import private
from workers.errors import Unreachable, UsageError
from workers.log_files import Followed, shown
from workers.logs import configure_logs, in_json, line, patient_stream
from workers.signals import stop_on_signals
from workers.supervisor import SUPERVISORD, end_earlier, log_of, programs, supervised
from workers.variables import not_for
from workers.watch import Watch

# How long a reader of our log may pause before lines are dropped; the processes do not wait for it.
_READER_SECONDS = 5.0
_NO_PARTNER = (
    "no partner is configured (COUNTERMAND_PARTNERS): orders count as sent once they are in this folder, "
    "and that is final"
)


@contextmanager
def services_of(home: Path) -> Iterator[Services]:
    """Provides the services: those of the environment, and embedded ones for what it does not name; migrated."""
    named = settings()
    with ExitStack() as stack:
        if named.database_url and named.broker_url:
            services = Services(named.database_url, named.broker_url)
        else:
            own = stack.enter_context(embedded_services(home))
            services = Services(named.database_url or own.database_url, named.broker_url or own.broker_url)
        publish_to_environment(services, home)
        for warning in in_transaction(_migrate):
            err.print(f"countermand: warning: {warning}", markup=False, highlight=False)
        # `up` itself needs the database no more, and connections are limited.
        engine().dispose()
        stack.enter_context(announced(services, home))
        yield services


def _migrate(connection: Connection) -> list[str]:
    migrate(connection)
    return server_warnings(connection)


def up(home: Path, port: int | None, *, as_root: bool = False) -> None:
    """Runs everything until Ctrl-C or SIGTERM, then stops it in order: processes first, services last.

    Started by root, it runs as the home's owner, or runs the processes as a user of their own, unless `as_root`.
    Raises Unreachable when not every process gets on within a minute.
    """
    stop_on_signals()
    configure_logs(level=logging.WARNING, process="up")
    # Their files are read before anything is started: a mistake in one then ends `up` in one line.
    desks, without = helpdesks(), not_for()
    port = port or settings().http_port
    os.environ["COUNTERMAND_HTTP_PORT"] = str(port)
    # The processes write to files, and cannot see who reads them.
    os.environ.setdefault("COUNTERMAND_LOG", "json" if in_json() else "console")
    try:
        with ExitStack() as stack:
            account = _work_as_no_root(home) if is_root() and not as_root else None
            stack.enter_context(_alone_in(home))
            _check_port(settings().http_host, port)
            if account:
                _prepare_for(account, home)
            services = stack.enter_context(services_of(home))
            logs = {name: Followed(log_of(home / "log", name), name) for name in (*programs(), SUPERVISORD)}
            stack.enter_context(shown(logs.values(), patient_stream(_READER_SECONDS).write))
            supervisor = stack.enter_context(supervised(home, programs(), without=without, account=account))
            watch = Watch(settings().http_host, port, supervisor, logs)
            watch.await_all()
            _print_addresses(home, port, services, desks)
            watch.watch()
    except NotPermitted as refused:
        raise UsageError(f"{refused}: {PERMIT_OR_STAY_ROOT}") from None
    except KeyboardInterrupt:
        _print_status("stopped")


def _work_as_no_root(home: Path) -> Account | None:
    """Becomes the ordinary user that the home belongs to, or returns the one that the processes are to work as."""
    if owner := owner_of(home):
        prepare_for(owner, _files(), ())
        switch_to(owner)
        return None
    return processes_account()


def _prepare_for(account: Account, home: Path) -> None:
    give_home(home)
    outside = [folder for folder in _folders() if not folder.is_relative_to(home)]
    prepare_for(account, _files(), outside)


def _files() -> list[Path]:
    return [path for path in (settings().desks, settings().partners) if path]


def _folders() -> Iterator[Path]:
    """Yields the folders that interchanges are put into and answers are taken from."""
    for partner in partners():
        if isinstance(partner.transport, DirectoryTransport):
            yield partner.transport.folder.resolve()
            if (inbox := partner.transport.inbox) and inbox.exists():
                yield inbox.resolve()


@contextmanager
def _alone_in(home: Path) -> Iterator[None]:
    """Holds this home against a second `up`, after ending what a killed one has left."""
    with ExitStack() as stack:
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Closes it to others; the group may keep access, to collect files from an outbox.
            home.chmod(home.stat().st_mode & 0o750)
            lock = stack.enter_context(private(home / "up.lock"))
        except OSError as error:
            raise UsageError(_describe_home_error(home, error)) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unreachable(f"a countermand is up in {home} already; stop it, or name another --home") from None
        end_earlier(home)
        yield


def _describe_home_error(home: Path, error: OSError) -> str:
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        is_file = "is a file" if home.exists() else "lies in a file"
        return f"the home {home} {is_file}, expected a folder; name another with --home"
    if isinstance(error, PermissionError):
        whose = f", which belongs to {home.owner()}" if home.exists() else ""
        return f"the home {home}{whose}, cannot be written in by this user: start as its owner, or name another --home"
    if error.errno == errno.EROFS:
        return f"the home {home} is on a disk that cannot be written to: name another with --home"
    if error.errno == errno.ENOSPC:
        return f"the home {home} is on a full disk: free some of it, or name another with --home"
    return f"the home {home} cannot be used ({error.strerror}): name another with --home"


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"port {port} of {host} cannot be used ({error.strerror}); name another with --port"
            ) from None


def _print_addresses(home: Path, port: int, services: Services, desks: Helpdesks) -> None:
    stream = is_stream(services.broker_url)
    where: dict[str, str] = {
        "home": str(home.resolve()),
        "database": without_password(services.database_url),
        "broker": without_password(services.broker_url),
        "change requests go to": f"stream {STREAM}, field event" if stream else f"queue {QUEUE}",
        "interchanges go to": ", ".join(str(partner.transport) for partner in partners()),
        "partners": str(settings().partners or _NO_PARTNER),
        "http": f"http://{settings().http_host}:{port}",
        "webhooks": ", ".join(f"/webhooks/{name}" for name in desks.desks) or "none (COUNTERMAND_DESKS names no file)",
        "credentials": f"{home.resolve() / 'services.json'} (for its owner alone)",
        "stop with": "Ctrl-C",
    }
    _print_status("is up", **where)


def _print_status(what: str, **where: object) -> None:
    """Prints a status, as a line of the log if logs are JSON."""
    if in_json():
        patient_stream(_READER_SECONDS).write(f"{line(f'countermand {what}', where, process='up')}\n")
        return
    console = Console(stderr=True)
    console.print(f"countermand {what}" if where else f"countermand: {what}", style="bold green" if where else None)
    for name, value in where.items():
        console.print(f"  {name:<22} {value}", highlight=False, soft_wrap=True)
    sys.stderr.flush()
