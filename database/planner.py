"""How PostgreSQL plans what looks for the first few rows of a backlog: by its indexes, for the rest of a transaction.

A claim wants the first few rows of an index, in its sequence. The planner, whose statistics may be of a time when
nothing was due, believes that few are, and would fetch and sort the whole backlog for every batch. Its guess about two
joined tables is worse: so each claim of requests reads one table a statement. The setting serves what is written under
the locks too: PostgreSQL plans the look-up of a foreign key once a session, and would read the whole inbox for each row
as long as the session lives, had the inbox been empty then.
"""

from datetime import datetime

from sqlalchemy import Connection, text

FORCE_INDEX_PLANS = """
    SELECT set_config(name, 'off', true)
    FROM unnest(ARRAY['enable_sort', 'enable_bitmapscan', 'enable_seqscan', 'enable_hashjoin', 'enable_mergejoin',
        'enable_material']) AS name
"""
_FORCE = text(FORCE_INDEX_PLANS)
_FORCE_AND_ASK_THE_TIME = text(
    f"""
    WITH planned AS MATERIALIZED ({FORCE_INDEX_PLANS}) SELECT clock_timestamp(), (SELECT count(*) FROM planned)
    """  # noqa: S608  # our own constant
)


def force_index_plans(connection: Connection) -> None:
    """Makes the planner use indexes for the rest of the transaction."""
    connection.execute(_FORCE)


def force_index_plans_at(connection: Connection) -> datetime:
    """Makes the planner use indexes for the rest of the transaction; returns the time by the database's clock."""
    now: datetime = connection.execute(_FORCE_AND_ASK_THE_TIME).scalar_one()
    return now
