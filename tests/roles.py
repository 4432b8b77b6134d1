"""What the database lets a role do."""

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

DENIED = "42501"


REFUSED_BY_A_TRIGGER = "23001"


def fate(engine: Engine, statement: str) -> str | None:
    """Returns the SQLSTATE by which a statement is refused; None if it is done."""
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    except DBAPIError as error:
        state: str | None = getattr(error.orig, "sqlstate", None)
        return state
    return None
