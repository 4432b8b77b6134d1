"""What `/readyz` says, in a test that runs no other processes."""

from typing import Any

import httpx2
from sqlalchemy import Connection

from database.transactions import in_transaction
from orders import progress
from tasks.running.progress import EXPECTED

READY = {"ok": True, "database": True, "broker": True}


def everybody_gets_on() -> None:
    """Notes a step of every process, as if each ran."""

    def note(connection: Connection) -> None:
        for name in EXPECTED:
            progress.note(connection, name)

    in_transaction(note)


def services(answer: httpx2.Response) -> dict[str, Any]:
    """Returns what an answer of `/readyz` says of the services, and in all."""
    return {name: reported for name, reported in answer.json().items() if name in READY}
