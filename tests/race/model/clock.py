"""A clock for one database that crawls, and jumps when it is told to: time passes in a test, and nobody sleeps.

PostgreSQL finds our now() before its own. A real second is a hundredth of one here, so that what happens without a jump
happens at one moment, and still in sequence.
"""

from datetime import datetime, timedelta

from sqlalchemy import Connection, create_engine, text

_FUNCTIONS = ("now", "statement_timestamp", "clock_timestamp")
_MAKE = """
    CREATE SCHEMA clock;
    CREATE TABLE clock.hand (began timestamptz NOT NULL, jumped interval NOT NULL);
    INSERT INTO clock.hand VALUES (clock_timestamp(), '0');
"""
_FUNCTION = """
    CREATE FUNCTION clock.{name}() RETURNS timestamptz STABLE PARALLEL SAFE LANGUAGE sql RETURN
    (SELECT began + jumped + (pg_catalog.{name}() - began) / 100 FROM clock.hand);
"""
_DEFAULTS = """
    SELECT format('ALTER TABLE %I.%I ALTER %I SET DEFAULT clock.%s', table_schema, table_name, column_name,
        column_default)
    FROM information_schema.columns WHERE table_schema = 'public' AND column_default = 'statement_timestamp()'
"""


def install(url: str) -> None:
    """Gives a migrated database this clock; for whoever connects from now on."""
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(_MAKE))
        for name in _FUNCTIONS:
            connection.execute(text(_FUNCTION.format(name=name)))
        for change in connection.scalars(text(_DEFAULTS)).all():
            connection.execute(text(change))
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f'ALTER DATABASE "{name}" SET search_path = clock, pg_catalog, public'))
    server.dispose()


def start_again(connection: Connection) -> datetime:
    """Puts the clock back to the real time, which it returns."""
    started = "UPDATE clock.hand SET began = pg_catalog.clock_timestamp(), jumped = '0' RETURNING began"
    began: datetime = connection.execute(text(started)).scalar_one()
    return began


def jump(connection: Connection, seconds: int) -> None:
    """Lets so many seconds pass."""
    connection.execute(text("UPDATE clock.hand SET jumped = jumped + :by"), {"by": timedelta(seconds=seconds)})
