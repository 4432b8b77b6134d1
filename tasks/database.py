"""One task run, one transaction: only here it begins and ends. Returning commits, raising rolls back."""

import random
import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError

from orders.faults import Fault, classify
from tasks.settings import settings

_T = TypeVar("_T")
_log = structlog.get_logger()

# Passing conflicts (deadlock, lock timeout) before one is believed to be none.
_TRIES = 5
# Nothing of ours holds a lock for a second; who waits longer had better say so than wait on.
_SESSION = "-c timezone=UTC -c lock_timeout=5s -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"


class NoDatabase(Exception):
    """No database is configured."""


@cache
def engine() -> Engine:
    """Returns this process's engine, made at its first use."""
    url = settings().database_url
    if url is None:
        raise NoDatabase("no database is configured: set COUNTERMAND_DATABASE_URL")
    made = create_engine(
        url,
        # A worker process does one thing at a time; the HTTP process a few.
        pool_size=2,
        max_overflow=3,
        pool_pre_ping=True,
        # An error quotes the statement, never its values: they are names and addresses, and errors are logged.
        hide_parameters=True,
        connect_args={"options": _SESSION, "application_name": "countermand", "connect_timeout": 5},
    )
    event.listen(made, "handle_error", _leave_out_the_detail)
    return made


def _leave_out_the_detail(context: ExceptionContext) -> None:
    """Cuts an error to its first line: the detail of a constraint quotes the row it refused, and errors are logged."""
    for error in (context.original_exception, context.sqlalchemy_exception):
        if error is not None and error.args:
            error.args = (str(error.args[0]).partition("\n")[0], *error.args[1:])


def in_transaction(work: Callable[[Connection], _T], *, tries: int = _TRIES) -> _T:
    """Runs `work` in one transaction and commits it; on a passing conflict runs all of it again, up to `tries` times.

    Raises what `work` raised, and the database's error when a conflict does not pass or the database is away.
    """
    for attempt in range(1, tries + 1):
        try:
            with engine().begin() as connection:
                return work(connection)
        except DBAPIError as error:
            if classify(error) is not Fault.AGAIN or attempt == tries:
                raise
            _log.info("conflict, trying again", attempt=attempt, sqlstate=getattr(error.orig, "sqlstate", None))
            time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311  # spreads rivals, hides nothing
    raise AssertionError("the last try returns or raises")
