"""`countermand up` on embedded services of its own, in the way a person has it."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import redis
from sqlalchemy import Engine, create_engine, make_url, text

from orders.audit import audit
from orders.loading import load_orders
from orders.messages import OrderMessage
from tests.builders import encoded
from tests.chaos.servers import a_port
from tests.processes import countermand, environment, log_of, running_up
from workers.broker import broker_at
from workers.supervisor import programs

_SERVICES = {"postgres": "PostgreSQL", "valkey-server": "Valkey"}
_BACKEND = "postgres: postgres countermand "


@dataclass
class Embedded:
    """A running `up`."""

    home: Path
    port: int
    env: dict[str, str]
    up: psutil.Process
    database_url: str
    broker_url: str
    broker: redis.Redis = field(init=False)
    # Of no session that is looked at: they are those of the database `countermand`.
    server: Engine = field(init=False)
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        """Opens what the tests look through."""
        self.broker = redis.Redis.from_url(self.broker_url)
        url = make_url(self.database_url)
        self.server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT", pool_pre_ping=True)
        self.engine = create_engine(url, pool_pre_ping=True, connect_args={"application_name": "tests"})

    def close(self) -> None:
        """Closes it."""
        self.broker.close()
        self.server.dispose()
        self.engine.dispose()

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """Runs one statement in a transaction of its own and returns its rows."""
        with self.engine.begin() as connection:
            result = connection.execute(text(sql), parameters)
            return list(result) if result.returns_rows else []

    def load(self, *orders: dict[str, Any]) -> None:
        """Loads orders, as the store's import does."""
        messages = [OrderMessage.model_validate(order, strict=False) for order in orders]
        with self.engine.begin() as connection:
            load_orders(connection, messages)

    def publish(self, *events: dict[str, Any]) -> None:
        """Publishes requests, as an integration does."""
        assert broker_at(self.broker_url).publish(map(encoded, events)) == len(events)

    def audit(self) -> dict[str, Any]:
        """Returns what the audit finds."""
        with self.engine.begin() as connection:
            return audit(connection, patience=timedelta(minutes=15))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Runs a command to its end."""
        return countermand(*arguments, env=self.env)

    def log(self) -> str:
        """Returns what `up` and its processes have written."""
        return log_of(self.home).read_text()

    def processes(self) -> Iterator[tuple[str, psutil.Process]]:
        """Yields every process with the name of its program; of PostgreSQL's those that serve our sessions."""
        names = {tuple(command[1:]): name for name, command in programs().items()}
        yield "up", self.up
        for process in self.up.children(recursive=True):
            # One may end between being listed and being looked at.
            with suppress(psutil.Error):
                name, command = process.name(), process.cmdline()
                if name not in _SERVICES:
                    yield names.get(tuple(command[1:]), "supervisord"), process
                elif name != "postgres" or " ".join(command).startswith(_BACKEND):
                    yield _SERVICES[name], process

    def program(self, name: str) -> list[psutil.Process]:
        """Returns the processes of a program, its first one first."""
        return [process for found, process in self.processes() if found == name]


@contextmanager
def embedded_up(folder: Path, **settings: str) -> Iterator[Embedded]:
    """Runs everything for the block, from when all its processes are ready on."""
    home, port = folder / "home", a_port()
    env = environment(COUNTERMAND_HOME=str(home), **settings)
    with running_up(home, port, env) as up:
        found = json.loads((home / "services.json").read_text())
        running = Embedded(home, port, env, psutil.Process(up.pid), found["database_url"], found["broker_url"])
        try:
            yield running
        finally:
            running.close()
