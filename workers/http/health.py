"""Whether this process lives, and whether it could do its work."""

from collections.abc import Callable

import structlog
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from tasks.database import in_transaction
from tasks.settings import settings
from workers.broker import broker_at

_log = structlog.get_logger()


async def healthz(_: Request) -> JSONResponse:
    """Answers 200 for as long as this process lives."""
    return JSONResponse({"ok": True})


async def readyz(_: Request) -> JSONResponse:
    """Answers 200 when the database and the broker answer, else 503 with what does not."""
    checks: dict[str, Callable[[], object]] = {
        "database": lambda: in_transaction(lambda connection: connection.execute(text("SELECT 1")).scalar_one()),
        "broker": lambda: broker_at(settings().broker_url or "").backlog(),
    }
    answers = {name: await run_in_threadpool(_answers, name, check) for name, check in checks.items()}
    return JSONResponse({"ok": all(answers.values()), **answers}, status_code=200 if all(answers.values()) else 503)


def _answers(name: str, check: Callable[[], object]) -> bool:
    try:
        check()
    except Exception as error:  # noqa: BLE001  # whatever it is, the answer is: not ready
        _log.warning("not ready", service=name, error=type(error).__name__)
        return False
    return True
