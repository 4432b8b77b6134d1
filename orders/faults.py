"""What a database error means for the work at hand, told by its SQLSTATE."""

from enum import Enum, auto

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

# Serialization failure, deadlock, lock timeout: the same transaction will pass when tried again.
_AGAIN = ("40001", "40P01", "55P03")
# What the connecting user may not do: its role is the wrong one, or `migrate --roles` is still to be run.
INSUFFICIENT_PRIVILEGE = "42501"
# No such table, no such column: `migrate` is still to be run.
_OTHER_SCHEMA = ("42P01", "42703")
# Connection lost, resources exhausted (disk full, too many connections), shutdown, read-only, no privilege, another
# schema: nobody's request is to blame, and trying at once will not help. See PostgreSQL, Appendix A.
_OUTAGE_CLASSES = ("08", "53", "57P", "58")
_OUTAGES = ("25006", INSUFFICIENT_PRIVILEGE, *_OTHER_SCHEMA)


class Fault(Enum):
    """Whose fault an error is."""

    AGAIN = auto()
    OUTAGE = auto()
    WORK = auto()


def classify(error: BaseException) -> Fault:
    """Tells a passing conflict (AGAIN) and an outage of the database (OUTAGE) from work that cannot be done (WORK)."""
    if not isinstance(error, DBAPIError):
        return Fault.WORK
    state = getattr(error.orig, "sqlstate", None)
    if state in _AGAIN:
        return Fault.AGAIN
    if state is None:
        # The server was not reached at all, or the driver refused the values before it was asked.
        return Fault.OUTAGE if isinstance(error, OperationalError | InterfaceError) else Fault.WORK
    outage = error.connection_invalidated or state in _OUTAGES or state.startswith(_OUTAGE_CLASSES)
    return Fault.OUTAGE if outage else Fault.WORK
