"""The HTTP process: whether this process lives, and whether it could do its work. `python -m workers.http`."""

from collections.abc import Callable

import structlog
import uvicorn
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tasks.database import in_transaction
from tasks.settings import settings
from workers.broker import broker_at
from workers.discovery import find_services
from workers.errors import CommandError
from workers.logs import configure_logs

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


app = Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])


def main() -> None:
    """Serves until it is stopped, on COUNTERMAND_HTTP_HOST and COUNTERMAND_HTTP_PORT."""
    configure_logs()
    find_services()
    host, port = settings().http_host, settings().http_port
    _log.info("http ready", host=host, port=port)
    uvicorn.run(app, host=host, port=port, log_config=None, access_log=False)


if __name__ == "__main__":
    try:
        main()
    except CommandError as error:
        raise SystemExit(f"http: {error}") from error
