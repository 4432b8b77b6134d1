"""The web application: its routes, and how what goes wrong is told."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TypeAlias

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from desks.registry import Helpdesks
from workers.http import health, requests, webhooks
from workers.http.database import RETRY_AFTER

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

# Of requests that need the database: each may hold a body of 256 KiB.
_MAX_AT_ONCE = 200


def make_app(desks: Helpdesks) -> Starlette:
    """Returns the application for these desks."""
    places = anyio.Semaphore(_MAX_AT_ONCE)
    app = Starlette(
        routes=[
            Route("/webhooks/{desk}", _bounded(webhooks.receive_webhook, places), methods=["POST"]),
            Route("/requests/{key:path}", _bounded(requests.read_request, places), methods=["GET"]),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
        ],
        exception_handlers={HTTPException: _told, Exception: _broken},
    )
    # A path with a slash too many is no path of ours; a desk would not follow a redirect.
    app.router.redirect_slashes = False
    app.state.desks = desks
    return app


def _bounded(endpoint: Endpoint, places: anyio.Semaphore) -> Endpoint:
    """Answers 503 where no place is free: who would wait for one loses patience, and holds a body meanwhile."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            places.acquire_nowait()
        except anyio.WouldBlock:
            raise HTTPException(
                503, "too many requests at once; nothing was taken, try again", headers=RETRY_AFTER
            ) from None
        try:
            return await endpoint(request)
        finally:
            places.release()

    return answer


async def _told(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # told to the type checker
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


async def _broken(_: Request, __: Exception) -> JSONResponse:
    # Starlette raises it again when this is sent, and uvicorn logs it.
    return JSONResponse({"error": "a fault of ours; sending it again does no harm"}, 500)
