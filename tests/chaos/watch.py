"""What the processes of a running `countermand up` hold at most: memory, connections, and what waits on the broker."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import psutil
from sqlalchemy import Connection, make_url, text

from tests.chaos.embedded import Embedded
from workers.broker import STREAM

_EVERY_SECONDS = 0.2
_CONNECTIONS = text(
    """
    SELECT application_name AS name, count(*) AS number FROM pg_stat_activity
    WHERE datname = :database AND backend_type = 'client backend' AND application_name <> 'tests' GROUP BY 1
    """
)
_QUEUES = ("changes", "effects", "answers", "tickets", "export")


@dataclass
class Peaks:
    """The most that was seen at any moment."""

    # Of the largest process of each program.
    megabytes: dict[str, float] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)
    entries: int = 0
    wakeups: int = 0
    broker_bytes: int = 0

    def note(self, peaks: dict[str, Any], name: str, value: float) -> None:
        """Keeps the larger one."""
        peaks[name] = max(value, peaks.get(name, 0))


@contextmanager
def watching(running: Embedded) -> Iterator[Peaks]:
    """Notes the peaks until the block is left."""
    peaks, over = Peaks(), Event()
    with running.server.connect() as connection, ThreadPoolExecutor(1) as threads:
        looking = threads.submit(_watch, running, connection, peaks, over)
        try:
            yield peaks
        finally:
            over.set()
        looking.result()


def _watch(running: Embedded, connection: Connection, peaks: Peaks, over: Event) -> None:
    database = {"database": make_url(running.database_url).database}
    # Once more at the end: what is there for long must be seen.
    is_last = False
    while not is_last:
        is_last = over.wait(_EVERY_SECONDS)
        _note_memory(running, peaks)
        for row in connection.execute(_CONNECTIONS, database):
            peaks.note(peaks.connections, row.name, row.number)
        broker: Any = running.broker
        peaks.entries = max(peaks.entries, broker.xlen(STREAM))
        peaks.wakeups = max(peaks.wakeups, sum(broker.llen(f"countermand:celery:{name}") for name in _QUEUES))
        peaks.broker_bytes = max(peaks.broker_bytes, broker.info("memory")["used_memory"])


def _note_memory(running: Embedded, peaks: Peaks) -> None:
    for name, process in running.processes():
        # It may have ended by now.
        with suppress(psutil.Error):
            memory = process.memory_full_info()
            # PostgreSQL's processes share most of their memory, and that does not grow.
            peaks.note(peaks.megabytes, name, (memory.uss if name == "PostgreSQL" else memory.rss) / 2**20)
