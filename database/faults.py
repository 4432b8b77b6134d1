"""What a database error means for the work at hand, by its SQLSTATE."""

from enum import Enum, auto

import psycopg
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# Serialization failure, deadlock, lock timeout: the same transaction will pass when tried again.
_AGAIN = ("40001", "40P01", "55P03")
# What the connecting user may not do: its role is the wrong one, or `migrate --roles` is still to be run.
INSUFFICIENT_PRIVILEGE = "42501"
# No such table, no such column: `migrate` is still to be run.
OTHER_SCHEMA = ("42P01", "42703")
_READ_ONLY = "25006"
# Raised by `database.session`, not by a server: a setting that breaks a promise; tables of a version after this one.
UNFIT_SESSION = "F0000"
NEWER_SCHEMA = "CM001"
# Connection lost, resources exhausted (disk full, too many connections), shutdown, read-only, no privilege, another
# schema: no request is to blame, and trying at once will not help. See PostgreSQL, Appendix A.
_OUTAGE_CLASSES = ("08", "53", "57P", "58")
_OUTAGES = (_READ_ONLY, INSUFFICIENT_PRIVILEGE, *OTHER_SCHEMA, UNFIT_SESSION, NEWER_SCHEMA)
# The server is there, and something else must be done first.
OURS_TO_MEND = (INSUFFICIENT_PRIVILEGE, *OTHER_SCHEMA, UNFIT_SESSION, NEWER_SCHEMA)

# What is wrong, and what helps, by SQLSTATE or its class. What is not here is a connection that was refused or lost.
_REMEDIES = {
    _READ_ONLY: ("the database takes no writes", "make it writable, or name its primary server"),
    "53100": ("the disk of the database is full", "free some of it"),
    "53200": ("the database has no memory left", "give its server more, or run fewer processes"),
    "53300": ("the database has no connection left", "raise its max_connections, or run fewer processes"),
    "53400": ("a limit that is set in the database is reached", "raise it there"),
    "58": ("the disk of the database fails", "see the log of its server"),
    INSUFFICIENT_PRIVILEGE: (
        "the database's user may not do this",
        "use one with the role for it, see docs/security.md",
    ),
    **dict.fromkeys(
        OTHER_SCHEMA, ("the tables of the database are not those of this version", "run `countermand migrate`")
    ),
    UNFIT_SESSION: ("the database has a setting that breaks a promise", "set it back, see docs/limits.md"),
    NEWER_SCHEMA: ("the database is newer than this program", "run the version that migrated it, or a later one"),
}


class Fault(Enum):
    """Whose fault an error is."""

    RETRYABLE = auto()
    OUTAGE = auto()
    PERMANENT = auto()


def classify(error: BaseException) -> Fault:
    """Returns whether an error is a passing conflict, an outage of the database, or work that cannot be done."""
    # After a connection was lost, SQLAlchemy asks for the rollback of the transaction that was open on it.
    if isinstance(error, PoolTimeout | PendingRollbackError):
        return Fault.OUTAGE
    if not isinstance(error, DBAPIError | psycopg.Error):
        return Fault.PERMANENT
    state = sqlstate(error)
    if state in _AGAIN:
        return Fault.RETRYABLE
    if not state:
        return Fault.PERMANENT if _refused_by_the_driver(error) else Fault.OUTAGE
    outage = _has_lost_its_connection(error) or state in _OUTAGES or state.startswith(_OUTAGE_CLASSES)
    return Fault.OUTAGE if outage else Fault.PERMANENT


def _refused_by_the_driver(error: BaseException) -> bool:
    """Returns True for what the driver refuses to send, False for a server that no longer answers.

    The driver also says of a connection that it lost unawares that it cannot be used so (a ProgrammingError): at its
    start, or at its end, there is no statement.
    """
    if _has_lost_its_connection(error) or (isinstance(error, DBAPIError) and error.statement is None):
        return False
    raised = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(raised, psycopg.DataError | psycopg.ProgrammingError | psycopg.NotSupportedError)


def _has_lost_its_connection(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and error.connection_invalidated


def sqlstate(error: BaseException) -> str | None:
    """Returns the SQLSTATE of a database error; None where no server has sent one."""
    raised = error.orig if isinstance(error, DBAPIError) else error
    return getattr(raised, "sqlstate", None)


def in_a_line(error: BaseException) -> str:
    """Names an error and quotes its first line: what follows may quote values, and those may be personal data."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def describe_fault(error: BaseException) -> str:
    """Says in one line what a conflict or an outage is, and what helps; quotes no value."""
    found = str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0]
    if classify(error) is Fault.RETRYABLE:
        return f"another transaction holds what is needed ({found})"
    state = sqlstate(error) or ""
    if known := _REMEDIES.get(state) or _REMEDIES.get(state[:2]):
        what, remedy = known
        return f"{what} ({found}): {remedy}"
    return f"the database cannot be reached: {found}"
