"""One task run, one transaction: only here it begins and ends. Returning commits, raising rolls back."""

import random
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg
import structlog
from pydantic_core import from_json
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from configuration import ConfigurationError
from configuration.database_url import connect_arguments, engine_url, own_options, read_url
from configuration.settings import settings
from database import session
from database.faults import OURS_TO_MEND, Fault, classify, describe_fault, sqlstate

_P = ParamSpec("_P")
_T = TypeVar("_T")
_log = structlog.get_logger()

# How many connections a process holds at most. One that does one thing at a time never has a second one.
CONNECTIONS = 5


class NoDatabase(Exception):
    """No database is configured."""


@cache
def engine() -> Engine:
    """Returns this process's engine, made at its first use."""
    url = settings().database_url
    if url is None:
        raise NoDatabase("no database is configured: set COUNTERMAND_DATABASE_URL")
    pooled = settings().database_pooled
    read = read_url(url)
    try:
        arguments = connect_arguments(read, {**session.SESSION, **session.SERVERS_LINE}, pooled=pooled)
        asked = own_options(read.get("options", ""), session.SESSION) if pooled else {}
    except ValueError as error:
        raise ConfigurationError(f"COUNTERMAND_DATABASE_URL {error}") from None
    made = create_engine(
        engine_url(read),
        # Said in each BEGIN, whatever the database's default: a snapshot of before a lock was given would not show what
        # its holder has done.
        isolation_level="READ COMMITTED",
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=5,
        # A server behind a pooler has to be asked whether it is there; PostgreSQL itself says so when it goes.
        pool_pre_ping=pooled,
        # An error quotes the statement, never its values: they are names and addresses, and errors are logged.
        hide_parameters=True,
        # Several times faster than the standard library's, and a request's order alone has three values in JSON.
        json_deserializer=from_json,
        connect_args=arguments,
    )
    if pooled:
        _set_in_each_transaction(made, asked)
    else:
        event.listen(made, "connect", lambda connection, _: session.prepare(connection))
        event.listen(made, "checkout", _leave_one_that_has_ended)
    event.listen(made, "handle_error", _leave_out_the_detail)
    return made


def expect_usable() -> None:
    """Connects once, when a process starts. Raises ConfigurationError where something else must be done first.

    A database that is away is waited for by the work itself.
    """
    try:
        engine().connect().close()
    except DBAPIError as error:
        if sqlstate(error) in OURS_TO_MEND:
            raise ConfigurationError(describe_fault(error)) from None
    finally:
        # A process that forks takes no connection with it.
        engine().dispose()


def _set_in_each_transaction(made: Engine, asked: Mapping[str, str]) -> None:
    def settings_for(connection: psycopg.Connection[Any]) -> str:
        return session.set_locally({**asked, **session.settings_for(connection.info.server_version)})

    def check(connection: psycopg.Connection[Any], _record: object) -> None:
        connection.execute(settings_for(connection))
        session.check(connection)
        connection.rollback()

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(settings_for(session.of(connection)))

    event.listen(made, "connect", check)
    event.listen(made, "begin", begin)


def _leave_one_that_has_ended(connection: psycopg.Connection[Any], record: ConnectionPoolEntry, _: object) -> None:
    """Has the pool connect anew where the server has hung up: nothing else comes on a line before anything is asked.

    A ping (`pool_pre_ping`) would be another round trip for a lone request, and for each batch of a steady load.
    """
    was_used, record.info["was_used"] = record.info.get("was_used", False), True
    line = select.poll()
    line.register(connection.fileno(), select.POLLIN)
    # Whether a new one works is seen by the transaction: the pool tries no third time.
    if was_used and line.poll(0):
        raise DisconnectionError("the server has ended this connection")


def _leave_out_the_detail(context: ExceptionContext) -> None:
    """Cuts an error to its first line: the detail of a constraint quotes the row it refused, and errors are logged."""
    for error in (context.original_exception, context.sqlalchemy_exception):
        if error is not None and error.args:
            line = str(error.args[0]).partition("\n")[0]
            if "unsupported startup parameter" in line:
                line = f"{line}, {session.POOLER}"
            error.args = (line, *error.args[1:])


@dataclass(frozen=True, slots=True)
class Attempts:
    """How many times a transaction runs, at most, while it meets passing conflicts: deadlocks and lock timeouts."""

    at_most: int

    def in_transaction(
        self, work: Callable[Concatenate[Connection, _P], _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Does what the function `in_transaction` does, with this many attempts."""

        def commit() -> _T:
            with engine().begin() as connection:
                return work(connection, *args, **kwargs)

        return self._run(commit)

    def reading(self, work: Callable[Concatenate[Connection, _P], _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Does what the function `reading` does, with this many attempts."""

        def read() -> _T:
            with engine().connect() as connection:
                return work(connection, *args, **kwargs)

        return self._run(read)

    def _run(self, transaction: Callable[[], _T]) -> _T:
        for attempt in range(1, self.at_most + 1):
            try:
                return transaction()
            except DBAPIError as error:
                if classify(error) is not Fault.RETRYABLE or attempt == self.at_most:
                    raise
                _log.info("conflict, trying again", attempt=attempt, sqlstate=getattr(error.orig, "sqlstate", None))
                time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311  # spreads rivals, hides nothing
        raise AssertionError("the last attempt returns or raises")


# A conflict that has not passed after so many is believed to be none that passes.
_USUAL = Attempts(5)


def in_transaction(work: Callable[Concatenate[Connection, _P], _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Runs `work(connection, *args, **kwargs)` in one transaction, commits it, and returns the result.

    A passing conflict runs all of it again, up to five times. Raises what `work` raised, and the database's error
    when a conflict does not pass or the database is away.
    """
    return _USUAL.in_transaction(work, *args, **kwargs)


def reading(work: Callable[Concatenate[Connection, _P], _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Runs `work`, which only reads, as `in_transaction` does, and commits nothing."""
    return _USUAL.reading(work, *args, **kwargs)
