"""Which kinds of process get on: one row each, with the moment of its last step."""

from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects.postgresql import insert

from database.tables import progress


def note(connection: Connection, name: str) -> None:
    """Writes down that it has done a step now. A row that is lost in a crash is written again in seconds."""
    connection.execute(text("SET LOCAL synchronous_commit = off"))
    moment = {"at": func.clock_timestamp()}
    connection.execute(
        insert(progress)
        .values(name=name, **moment)
        .on_conflict_do_update(index_elements=[progress.c.name], set_=moment)
    )


def ages(connection: Connection) -> dict[str, float]:
    """Returns how many seconds ago each did its last step; what has never done one is not there."""
    age = func.extract("epoch", func.clock_timestamp() - progress.c.at)
    return {name: max(0.0, float(seconds)) for name, seconds in connection.execute(select(progress.c.name, age))}
