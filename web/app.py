"""The web application: its routes, and its answers to errors."""

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from desks.registry import Helpdesks
from web import health, requests, webhooks
from web.room import Bodies, shared

# Of requests that need the database, once they are known to come from a desk or to bear the API token: each may hold a
# body of 256 KiB.
_MAX_AT_ONCE = 200


def make_app(desks: Helpdesks) -> Starlette:
    """Returns the application for these desks."""
    app = Starlette(
        routes=[
            Route("/webhooks/{desk}", webhooks.receive_webhook, methods=["POST"]),
            Route("/requests/{key:path}", requests.read_request, methods=["GET"]),
            Route("/healthz", health.healthz),
            Route("/readyz", shared(health.readyz, at_first=health.not_ready())),
        ],
        exception_handlers={HTTPException: _refused, Exception: _broken},
    )
    # A path with a slash too many is no path of ours; a desk would not follow a redirect.
    app.router.redirect_slashes = False
    app.state.desks = desks
    app.state.bodies = Bodies()
    app.state.places = anyio.Semaphore(_MAX_AT_ONCE)
    return app


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # for the type checker
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


async def _broken(_: Request, __: Exception) -> JSONResponse:
    # Starlette raises it again when this is sent, and uvicorn logs it.
    return JSONResponse({"error": "a fault of ours; sending it again does no harm"}, 500)
