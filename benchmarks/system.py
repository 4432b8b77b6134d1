"""What is measured: embedded services that wait for the disk, a fresh database each time, real processes."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis
from sqlalchemy import Connection, create_engine, make_url, text

from benchmarks.usage import Processes
from database import transactions
from database.migrate import migrate
from database.transactions import in_transaction
from workers.discovery import publish_to_environment
from workers.embedded import Services, embedded_services
from workers.errors import CommandError
from workers.supervisor import programs, supervised

_PATIENCE_SECONDS = 60
# The orders of a measurement are not due; only the part `export` exports, and by itself.
_NO_EXPORT = str(24 * 3600)
_MEGABYTE = 2**20
_TO_THE_LOG = text("SELECT pg_logical_emit_message(false, 'bench', repeat('x', :bytes))")


@dataclass(frozen=True, slots=True)
class System:
    """The services of one run."""

    home: Path
    services: Services

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """Makes a database of its own, migrated, the one of this process and of those it starts; yields its URL."""
        with _on_the_server(self.services.database_url) as server:
            server.execute(text("CREATE DATABASE measured"))
        url = make_url(self.services.database_url).set(database="measured").render_as_string(hide_password=False)
        redis.Redis.from_url(self.services.broker_url).flushall()
        # Its control numbers begin anew, and an interchange never replaces another's file.
        shutil.rmtree(self.home / "edi", ignore_errors=True)
        self.use(url)
        in_transaction(migrate)
        try:
            yield url
        finally:
            transactions.engine().dispose()
            with _on_the_server(self.services.database_url) as server:
                server.execute(text("DROP DATABASE measured WITH (FORCE)"))

    def hold_autovacuum(self) -> None:
        """Has PostgreSQL vacuum nothing by itself from now on."""
        with _on_the_server(self.services.database_url) as server:
            server.execute(text("ALTER SYSTEM SET autovacuum = off"))
            server.execute(text("SELECT pg_reload_conf()"))

    def use(self, url: str) -> None:
        """Makes a database of this system the one of this process and of those it starts, instead of another."""
        if transactions.engine.cache_info().currsize:
            transactions.engine().dispose()
        publish_to_environment(Services(url, self.services.broker_url), self.home)
        transactions.engine.cache_clear()

    @contextmanager
    def processes(self, commands: Mapping[str, list[str]]) -> Iterator[Processes]:
        """Runs these processes as `countermand up` does, from the moment they are ready."""
        with (
            tempfile.TemporaryDirectory(dir=self.home, prefix="log-") as logs,
            supervised(self.home, commands, log_folder=Path(logs)) as supervisord,
        ):
            # Beat logs nothing, and need not be ready.
            _await_ready([Path(logs) / f"{name}.log" for name in commands if name != "beat"])
            yield Processes(commands, psutil.Process(supervisord.pid), self.home)


@contextmanager
def running_system() -> Iterator[System]:
    """Starts the services in a temporary folder, for the block, apart from whatever the environment names."""
    for name in [name for name in os.environ if name.startswith("COUNTERMAND_")]:
        del os.environ[name]
    os.environ["COUNTERMAND_EXPORT_SECONDS"] = _NO_EXPORT
    with (
        tempfile.TemporaryDirectory(prefix="countermand-bench-") as folder,
        embedded_services(Path(folder)) as services,
    ):
        _fill_the_log(services.database_url)
        yield System(Path(folder), services)


def _fill_the_log(url: str) -> None:
    """Writes as much to PostgreSQL's log as it keeps files of: one that has run for a day need not make them anew."""
    with _on_the_server(url) as server:
        size = server.execute(text("SELECT pg_size_bytes(current_setting('min_wal_size'))")).scalar_one()
        for _ in range(size // _MEGABYTE):
            server.execute(_TO_THE_LOG, {"bytes": _MEGABYTE})
        server.execute(text("CHECKPOINT"))


@contextmanager
def _on_the_server(url: str) -> Iterator[Connection]:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def our_programs(concurrency: int = 2) -> dict[str, list[str]]:
    """Returns what `countermand up` runs, without HTTP, which is not measured."""
    return {name: command for name, command in programs(concurrency).items() if name != "http"}


def broker_is_known() -> None:
    """Allows this process to send wake-ups: Celery reads the broker's URL when the app is imported."""
    from workers.app import app

    app.finalize()


def tidy_up() -> None:
    """Does now what PostgreSQL would else do in the middle of a measurement."""
    with transactions.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("CHECKPOINT"))
    transactions.engine().dispose()


def _await_ready(logs: list[Path]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not all(log.exists() and "ready" in log.read_text() for log in logs):
        if time.monotonic() > deadline:
            late = next(log for log in logs if not (log.exists() and "ready" in log.read_text()))
            raise CommandError(
                f"{late.stem} was not ready within {_PATIENCE_SECONDS} seconds; its log ends: {_end(late)}"
            )
        time.sleep(0.05)


def _end(log: Path) -> str:
    return (log.read_text().splitlines() or ["nothing"])[-1] if log.exists() else "there is none"
