"""The settings of a database server that no session can change, and what its crash may cost with them."""

from sqlalchemy import Connection, text

# By name: what is expected, and what may happen otherwise. None of them breaks a promise while the server runs.
EXPECTED = {
    "fsync": ("on", "what was committed may be lost, or the whole database, when the machine crashes"),
    "full_page_writes": ("on", "the database may be damaged when the machine crashes"),
    "data_sync_retry": ("off", "what was committed may be lost when the disk fails"),
    "ignore_invalid_pages": ("off", "what was committed may be missing after a recovery"),
}


def server_warnings(connection: Connection) -> list[str]:
    """Returns a line for each setting of the server with which its crash may break a promise; only reads."""
    found = connection.execute(
        text("SELECT name, current_setting(name, true) FROM unnest(CAST(:names AS text[])) AS name"),
        {"names": list(EXPECTED)},
    )
    return [_told(name, value) for name, value in found if value not in (None, EXPECTED[name][0])]


def is_replica(connection: Connection) -> bool:
    """True on a server that follows another one and may lag behind it."""
    return bool(connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one())


def _told(name: str, value: str) -> str:
    expected, harm = EXPECTED[name]
    return f"{name} is {value} on the database's server: {harm}; set it to {expected}"
