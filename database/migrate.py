"""Bringing the schema up to date."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text

from configuration import ConfigurationError
from database.revisions import revisions

# Two programs that start at once must not migrate at once.
_MIGRATING = 0x434D4D  # "CMM"
_MIGRATIONS = Path(__file__).parent / "migrations"


class WrongEncoding(ConfigurationError):
    """The database has no room for names and addresses in every script."""


class NoSchema(ConfigurationError):
    """No schema is there for the tables."""


class NewerDatabase(ConfigurationError):
    """The tables are those of a version that comes after this one."""


def alembic_config(connection: Connection) -> Config:
    """Returns Alembic's configuration for our migrations on this connection."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def migrate(connection: Connection) -> str:
    """Brings the schema up to date within the caller's transaction; returns the revision that it is at then.

    Raises WrongEncoding where the database is not in UTF-8: requests and orders would be refused one by one, later;
    NoSchema where the search_path leads to none, and NewerDatabase where there is nothing that we could do.
    """
    _expect_utf8(connection)
    _expect_schema(connection)
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})
    _expect_known_revision(connection)
    # A new index or constraint reads a whole table. It still waits for a lock no longer than anyone else.
    connection.execute(text("SET LOCAL statement_timeout = '1h'"))
    command.upgrade(alembic_config(connection), "head")
    return current_revision(connection) or "none"


def _expect_utf8(connection: Connection) -> None:
    name, encoding = connection.execute(text("SELECT current_database(), current_setting('server_encoding')")).one()
    if encoding != "UTF8":
        raise WrongEncoding(
            f"the database {name} is in {encoding}, which cannot write every name and address; expected UTF8: make "
            f"another with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and name that"
        )


def _expect_schema(connection: Connection) -> None:
    path, schema = connection.execute(text("SELECT current_setting('search_path'), current_schema()")).one()
    if schema is None:
        raise NoSchema(
            f"no schema of the search_path ({path}) is there for the tables, or its user may not use it: "
            "CREATE SCHEMA and GRANT USAGE, CREATE on it, or name another search_path"
        )


def _expect_known_revision(connection: Connection) -> None:
    revision = current_revision(connection)
    if revision is not None and revision not in revisions():
        raise NewerDatabase(
            f"the database is newer than this program (its tables are at revision {revision}, and those of this "
            f"version at {max(revisions())}): run the version that migrated it, or a later one"
        )


def current_revision(connection: Connection) -> str | None:
    """Returns the revision that the database is at; None before the first migration."""
    return MigrationContext.configure(connection).get_current_revision()


def newest_revision(connection: Connection) -> str | None:
    """Returns the revision that this program needs."""
    return ScriptDirectory.from_config(alembic_config(connection)).get_current_head()


def draft(connection: Connection, what_it_does: str) -> str:
    """Writes a draft of the next migration, with what the models have and this database has not; returns its file.

    The database must be at our newest revision: what an earlier migration brings would be drafted once more.
    """
    newest = newest_revision(connection)
    if newest is None or current_revision(connection) != newest:
        raise ConfigurationError(
            f"the database is at revision {current_revision(connection)}, and our newest is {newest}: migrate it first"
        )
    config = alembic_config(connection)
    made = command.revision(config, what_it_does, rev_id=f"{int(newest) + 1:04}", autogenerate=True)
    return str(made.path) if isinstance(made, Script) else ""
