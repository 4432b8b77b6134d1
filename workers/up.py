"""`countermand up`: everything in the foreground, on the servers of the environment or on embedded ones."""

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from sqlalchemy import Connection

from configuration.urls import without_password
from desks.registry import Helpdesks
from orders.migrate import migrate
from orders.server import server_warnings
from tasks.database import engine, in_transaction
from tasks.helpdesks import helpdesks
from tasks.partners import partners
from tasks.settings import settings
from workers.broker import QUEUE, STREAM, is_stream
from workers.cli.terminal import err
from workers.discovery import announced, publish_to_environment
from workers.embedded import Services, embedded_services
from workers.errors import Unreachable, UsageError
from workers.supervisor import end_earlier, programs, supervised

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
        # Nothing else is asked of it here, and a connection is one that somebody else may need.
        engine().dispose()
        stack.enter_context(announced(services, home))
        yield services


def _migrate(connection: Connection) -> list[str]:
    migrate(connection)
    return server_warnings(connection)


def up(home: Path, port: int | None) -> None:
    """Runs everything until Ctrl-C or SIGTERM, then stops it in order: processes first, services last."""
    console = Console(stderr=True)
    # Their files are read before anything is started: a mistake in one is told in one line.
    desks = helpdesks()
    partners()
    port = port or settings().http_port
    os.environ["COUNTERMAND_HTTP_PORT"] = str(port)
    if console.is_terminal:
        # The processes write to a pipe of supervisord's, and cannot see who reads it.
        os.environ.setdefault("COUNTERMAND_LOG", "console")
    try:
        stop_on_signals()
        with ExitStack() as stack:
            stack.enter_context(_alone_in(home))
            _check_port(settings().http_host, port)
            services = stack.enter_context(services_of(home))
            supervisord = stack.enter_context(supervised(home, programs()))
            _say_where_everything_is(console, home, port, services, desks)
            raise Unreachable(f"supervisord ended by itself with exit code {supervisord.wait()}")
    except KeyboardInterrupt:
        console.print("countermand: stopped")


@contextmanager
def _alone_in(home: Path) -> Iterator[None]:
    """Holds this home against a second `up`, after ending what a killed one has left."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        is_file = "is a file" if home.exists() else "lies in a file"
        raise UsageError(f"the home {home} {is_file}, expected a folder; name another with --home") from None
    with open(home / "up.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unreachable(f"a countermand is up in {home} already; stop it, or name another --home") from None
        end_earlier(home)
        yield


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"port {port} of {host} cannot be used ({error.strerror}); name another with --port"
            ) from None


def stop_on_signals() -> None:
    """Lets SIGTERM, and the end of the terminal (SIGHUP), leave all blocks as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say_where_everything_is(console: Console, home: Path, port: int, services: Services, desks: Helpdesks) -> None:
    stream = is_stream(services.broker_url)
    where = {
        "home": home.resolve(),
        "database": without_password(services.database_url),
        "broker": without_password(services.broker_url),
        "change requests go to": f"stream {STREAM}, field event" if stream else f"queue {QUEUE}",
        "interchanges go to": ", ".join(str(partner.transport) for partner in partners()),
        "partners": settings().partners or _NO_PARTNER,
        "http": f"http://{settings().http_host}:{port}",
        "webhooks": ", ".join(f"/webhooks/{name}" for name in desks.desks) or "none (COUNTERMAND_DESKS names no file)",
        "credentials": f"{home.resolve() / 'services.json'} (for its owner alone)",
        "stop with": "Ctrl-C",
    }
    console.print("countermand is up", style="bold green")
    for name, value in where.items():
        console.print(f"  {name:<22} {value}", highlight=False, soft_wrap=True)
    sys.stderr.flush()
