"""What every session of the database is set to, and what it is asked before it is used (docs/limits.md)."""

from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import Connection

from database.faults import NEWER_SCHEMA, UNFIT_SESSION
from database.revisions import revisions

# A database, a role or a server may have other values for each. They are written as PostgreSQL shows them.
#
# Nothing of ours holds a lock for a second; a longer wait had better be an error than go on. What has to wait longer
# (`database.migrate`, `orders.audit`) says so itself.
SESSION = {
    "lock_timeout": "5s",
    "statement_timeout": "1min",
    "idle_in_transaction_session_timeout": "1min",
    "idle_session_timeout": "0",
    # After waiting for a lock a transaction sees what its holder has done: the export passes over a request otherwise.
    "default_transaction_isolation": "read committed",
    # What was accepted is on the disk. With `remote_apply` it would be no safer.
    "synchronous_commit": "on",
    # A row that a policy hides is an error, and not an order that is not there.
    "row_security": "off",
    # Otherwise a lock that was not given in time ends the session, and the transaction is not tried again.
    "exit_on_error": "off",
    # How values are written, and how they are read.
    "timezone": "UTC",
    "timezone_abbreviations": "Default",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    # `migrate` makes tables whose rows can be locked.
    "default_table_access_method": "heap",
}
# What not every version knows: the version from which on, as a number.
SESSION_SINCE = {"transaction_timeout": (170000, "0")}
# Over TCP, a server notices within half a minute that we have vanished.
SERVERS_LINE = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
}
# What a session may not be set to by everyone. With another value promises are broken, so it is not used.
REFUSED = {
    "session_replication_role": (("origin", "local"), "no trigger guards the tables then"),
    "zero_damaged_pages": (("off",), "orders and requests on a damaged page would be missing without a word"),
    "ignore_checksum_failure": (("off",), "damaged orders and requests would be taken for sound ones"),
}
POOLER = "so a pooler stands before PostgreSQL: set COUNTERMAND_DATABASE_POOLED=true, or name PostgreSQL itself"

_ASK = """
    SELECT ARRAY(SELECT current_setting(name, true) FROM unnest(%s::text[]) WITH ORDINALITY AS one (name, place)
                 ORDER BY place),
        CASE WHEN to_regclass('alembic_version') IS NOT NULL
             THEN has_table_privilege(to_regclass('alembic_version'), 'SELECT') END
"""  # our own


class UnfitSession(psycopg.OperationalError):
    """A setting of the database breaks a promise, and is not ours to set."""

    sqlstate = UNFIT_SESSION


class NewerSchema(psycopg.OperationalError):
    """The tables are those of a version that comes after this one."""

    sqlstate = NEWER_SCHEMA


def of(connection: Connection) -> psycopg.Connection[Any]:
    """Returns the driver's connection. Raises OperationalError where it was lost."""
    found = connection.connection.driver_connection
    if not isinstance(found, psycopg.Connection):
        raise psycopg.OperationalError("the connection is lost")
    return found


def settings_for(server_version: int) -> dict[str, str]:
    """Returns the settings of a session on this version of PostgreSQL."""
    newer = {name: value for name, (since, value) in SESSION_SINCE.items() if server_version >= since}
    return {**SESSION, **newer}


def set_locally(settings: Mapping[str, str]) -> str:
    """Returns the statement that sets them for one transaction.

    Not by set_config(): that is a query, after which the audit could no longer choose its snapshot.
    """
    return "; ".join(f"SET LOCAL {name} = {_literal(value, name)}" for name, value in settings.items())


def _literal(value: str, name: str) -> str:
    if name == "search_path":
        # In one literal it would be one name.
        return value
    return "'{}'".format(value.replace("'", "''"))


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Sets what a new session could not be asked for at its start, and looks at all the others.

    Raises UnfitSession or NewerSchema, or OperationalError where a pooler has passed over what was asked for.
    """
    asked = settings_for(connection.info.server_version)
    connection.autocommit = True
    for name in asked.keys() - SESSION.keys():
        connection.execute(f"SET {name} = '{asked[name]}'")
    check(connection, asked)
    connection.autocommit = False


def check(connection: psycopg.Connection[Any], asked: Mapping[str, str] | None = None) -> None:
    """Looks at the settings of the present session or transaction. Raises as `prepare` does."""
    asked = settings_for(connection.info.server_version) if asked is None else asked
    row = connection.execute(_ASK, [[*asked, *REFUSED]]).fetchone()
    shown, knows_revision = row if row else ([], False)
    found = dict(zip((*asked, *REFUSED), shown, strict=True))
    for name, value in asked.items():
        if found[name] != value:
            raise psycopg.OperationalError(f"{name} is {found[name]} and not {value}, {POOLER}")
    for name, (expected, harm) in REFUSED.items():
        if found[name] not in expected:
            raise UnfitSession(f"{name} is {found[name]} and not {expected[0]}: {harm}")
    if knows_revision:
        _expect_known_revision(connection)


def _expect_known_revision(connection: psycopg.Connection[Any]) -> None:
    for (revision,) in connection.execute("SELECT version_num FROM alembic_version").fetchall():
        if revision not in revisions():
            raise NewerSchema(f"its tables are at revision {revision}, and those of this version at {max(revisions())}")
