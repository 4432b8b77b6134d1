"""One task run, one transaction: only here it begins and ends. Returning commits, raising rolls back."""

import random
import select
import time
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import psycopg
import structlog
from pydantic_core import from_json
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from orders.faults import Fault, classify
from tasks.settings import settings

_T = TypeVar("_T")
_log = structlog.get_logger()

# Passing conflicts (deadlock, lock timeout) before one is believed to be none.
_TRIES = 5
# How many connections a process holds at most. One that does one thing at a time never has a second one.
CONNECTIONS = 5
# Nothing of ours holds a lock for a second; who waits longer had better say so than wait on. What has to wait longer
# (`orders.migrate`, `orders.audit`) says so itself.
_SESSION = {
    "timezone": "UTC",
    "lock_timeout": "5s",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
}
# Over TCP, a server that has vanished is noticed within half a minute, by both sides.
_LINE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
_SERVERS_LINE = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
}
_POOLER = "so a pooler stands before PostgreSQL: set COUNTERMAND_DATABASE_POOLED=true, or name PostgreSQL itself"


class NoDatabase(Exception):
    """No database is configured."""


@cache
def engine() -> Engine:
    """Returns this process's engine, made at its first use."""
    url = settings().database_url
    if url is None:
        raise NoDatabase("no database is configured: set COUNTERMAND_DATABASE_URL")
    pooled = settings().database_pooled
    made = create_engine(
        url,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=5,
        # What lies behind a pooler has to be asked; PostgreSQL itself says so when it goes.
        pool_pre_ping=pooled,
        # An error quotes the statement, never its values: they are names and addresses, and errors are logged.
        hide_parameters=True,
        # Several times faster than the standard library's, and a request's order alone has three values in JSON.
        json_deserializer=from_json,
        connect_args={
            # Unless PGAPPNAME says which of our processes it is, as the supervisor has it say.
            "fallback_application_name": "countermand",
            "connect_timeout": 5,
            # Whatever the database's own, or the environment's: texts come as texts.
            "client_encoding": "utf8",
            # A pooler gives the next transaction to another session of the server: nothing that belongs to one may be
            # asked for, so no options at its start, and no prepared statements.
            **({"prepare_threshold": None} if pooled else {"options": _options()}),
            **_LINE,
        },
    )
    if pooled:
        event.listen(made, "begin", _set_for_this_transaction)
    else:
        event.listen(made, "connect", _expect_what_was_asked_for)
        event.listen(made, "checkout", _leave_one_that_has_ended)
    event.listen(made, "handle_error", _leave_out_the_detail)
    return made


def _options() -> str:
    return " ".join(f"-c {name}={value}" for name, value in (_SESSION | _SERVERS_LINE).items())


def _set_for_this_transaction(connection: Connection) -> None:
    # Not by set_config(): that is a query, after which the audit could no longer choose its snapshot.
    connection.exec_driver_sql("; ".join(f"SET LOCAL {name} = '{value}'" for name, value in _SESSION.items()))


def _expect_what_was_asked_for(connection: psycopg.Connection[Any], _record: object) -> None:
    """Refuses a pooler that passes over the options: without time-outs, and with another's prepared statements."""
    asked = _SESSION["lock_timeout"]
    found = connection.execute("SHOW lock_timeout").fetchone()
    connection.rollback()
    if found != (asked,):
        raise psycopg.OperationalError(
            f"lock_timeout is {found[0] if found else 'not shown'} and not {asked}, {_POOLER}"
        )


def _leave_one_that_has_ended(connection: psycopg.Connection[Any], record: ConnectionPoolEntry, _: object) -> None:
    """Has the pool connect anew where the server has hung up: nothing else comes on a line before anything is asked.

    A ping (`pool_pre_ping`) would be another round trip for a lone request, and for each batch of a steady load.
    """
    was_used, record.info["was_used"] = record.info.get("was_used", False), True
    line = select.poll()
    line.register(connection.fileno(), select.POLLIN)
    # What becomes of a new one is the transaction's to tell: the pool tries no third time.
    if was_used and line.poll(0):
        raise DisconnectionError("the server has ended this connection")


def _leave_out_the_detail(context: ExceptionContext) -> None:
    """Cuts an error to its first line: the detail of a constraint quotes the row it refused, and errors are logged."""
    for error in (context.original_exception, context.sqlalchemy_exception):
        if error is not None and error.args:
            told = str(error.args[0]).partition("\n")[0]
            if "unsupported startup parameter" in told:
                told = f"{told}, {_POOLER}"
            error.args = (told, *error.args[1:])


def in_transaction(work: Callable[[Connection], _T], *, tries: int = _TRIES) -> _T:
    """Runs `work` in one transaction and commits it; on a passing conflict runs all of it again, up to `tries` times.

    Raises what `work` raised, and the database's error when a conflict does not pass or the database is away.
    """

    def commit() -> _T:
        with engine().begin() as connection:
            return work(connection)

    return _tried(commit, tries)


def reading(work: Callable[[Connection], _T]) -> _T:
    """Runs `work`, which only reads, as `in_transaction` does; nothing is committed."""

    def read() -> _T:
        with engine().connect() as connection:
            return work(connection)

    return _tried(read, _TRIES)


def _tried(run: Callable[[], _T], tries: int) -> _T:
    for attempt in range(1, tries + 1):
        try:
            return run()
        except DBAPIError as error:
            if classify(error) is not Fault.AGAIN or attempt == tries:
                raise
            _log.info("conflict, trying again", attempt=attempt, sqlstate=getattr(error.orig, "sqlstate", None))
            time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311  # spreads rivals, hides nothing
    raise AssertionError("the last try returns or raises")
