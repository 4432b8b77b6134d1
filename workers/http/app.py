"""The web application: its routes, and how what goes wrong is told."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from desks.registry import Helpdesks
from orders.messages import MAX_MESSAGE_BYTES
from workers.http import health, requests, webhooks


def make_app(desks: Helpdesks) -> Starlette:
    """Returns the application for these desks."""
    app = Starlette(
        routes=[
            Route("/webhooks/{desk}", webhooks.receive_webhook, methods=["POST"], max_body_size=MAX_MESSAGE_BYTES),
            Route("/requests/{key:path}", requests.read_request, methods=["GET"]),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
        ],
        exception_handlers={HTTPException: _told},
    )
    app.state.desks = desks
    return app


async def _told(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # told to the type checker
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)
