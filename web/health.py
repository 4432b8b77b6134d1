"""Whether this process lives, whether it could do its work, and whether the other processes get on."""

import anyio
from anyio.to_thread import run_sync
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from configuration.outages import Outage, describe_broker_fault
from configuration.settings import settings
from database import session
from database.locks import check_writable
from database.transactions import in_transaction, reading
from orders.progress import ages
from tasks.running import progress
from web.database import in_database
from workers.broker import BROKER_OUTAGES, broker_at

# A readiness check does not wait for long.
_SECONDS = 4.0
_unheard = Outage("not ready, the broker does not answer", over="the broker answers")


async def healthz(_: Request) -> JSONResponse:
    """Answers 200 for as long as this process lives."""
    return JSONResponse({"ok": True})


async def readyz(_: Request) -> JSONResponse:
    """Answers 200 when the database takes writes, the broker answers and all get on, else 503 with what does not."""
    services = {"database": await _database_takes_writes(), "broker": await _broker_answers()}
    seen = await _ages() if services["database"] else {}
    stalled = progress.stalled(seen) if services["database"] else []
    ok = all(services.values()) and not stalled
    seconds = {name: round(seen[name], 1) if name in seen else None for name in progress.EXPECTED}
    return JSONResponse({"ok": ok, **services, "progress": seconds, "stalled": stalled}, 200 if ok else 503)


def not_ready() -> JSONResponse:
    """Returns the answer before anything is known."""
    return JSONResponse({"ok": False, "database": False, "broker": False}, status_code=503)


async def _database_takes_writes() -> bool:
    try:
        await in_database(_try_to_write)
    except HTTPException:
        return False
    return True


def _try_to_write() -> None:
    in_transaction(_check_usable)


def _check_usable(connection: Connection) -> None:
    # Settings may have changed since the session began.
    session.check(session.of(connection))
    check_writable(connection)


async def _ages() -> dict[str, float]:
    try:
        return await in_database(reading, ages)
    except HTTPException:
        return {}


async def _broker_answers() -> bool:
    try:
        with anyio.fail_after(_SECONDS):
            await run_sync(lambda: broker_at(settings().broker_url or "").backlog(), abandon_on_cancel=True)
    except BROKER_OUTAGES as error:
        _unheard.note(error, describe_broker_fault(error))
        return False
    _unheard.end()
    return True
