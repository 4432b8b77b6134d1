"""`POST /webhooks/{desk}`: what a helpdesk sends."""

from datetime import UTC, datetime
from typing import Any

import structlog
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from desks.desk import Unauthorized, Webhook
from desks.registry import Helpdesks
from orders.messages import MAX_MESSAGE_BYTES
from tasks.running.wakeups import WakeUp, wake
from tasks.webhooks import Receipt, Received, receive
from web.database import in_database
from web.room import Bodies, a_place

_log = structlog.get_logger()

# A body of at most 256 KiB that takes longer is not a desk's.
_BODY_SECONDS = 10.0


async def receive_webhook(request: Request) -> JSONResponse:
    """Answers 202 once the request is kept, 200 for what is known or is kept as a dead letter; else 4xx or 503."""
    desks: Helpdesks = request.app.state.desks
    name = request.path_params["desk"]
    desk = desks.desks.get(name)
    if desk is None:
        raise HTTPException(404, "no desk of this name is configured")
    webhook = Webhook(dict(request.headers), await _body(request), datetime.now(UTC))
    try:
        # First here: what is not the desk's takes no place of what is.
        desk.verify(webhook)
        with a_place(request):
            receipt = await in_database(receive, desk, webhook)
    except Unauthorized as refused:
        _log.warning("webhook refused", desk=name, why=str(refused))
        # RFC 9110 asks for a challenge, and knows no scheme for signatures over a body.
        raise HTTPException(401, str(refused), {"WWW-Authenticate": f'Webhook realm="{name}"'}) from None
    return _answer(receipt)


async def _body(request: Request) -> bytes:
    raw = bytearray()
    bodies: Bodies = request.app.state.bodies
    address = request.client.host if request.client else ""
    _check_size(int(request.headers.get("content-length", 0)))
    try:
        with bodies.arriving(address, _BODY_SECONDS):
            async for chunk in request.stream():
                raw += chunk
                _check_size(len(raw))
    except (TimeoutError, ClientDisconnect):
        raise HTTPException(408, "the body did not arrive in time") from None
    return bytes(raw)


def _check_size(size: int) -> None:
    if size > MAX_MESSAGE_BYTES:
        raise HTTPException(413, f"the body has more than {MAX_MESSAGE_BYTES:,} bytes")


def _answer(receipt: Receipt) -> JSONResponse:
    match receipt.received:
        case Received.NEW:
            # After the answer: the broker may be slow, and beat sends a wake-up in seconds anyway.
            return JSONResponse(receipt.request, 202, background=BackgroundTask(wake, WakeUp.APPLY_CHANGES))
        case Received.NOTED:
            return JSONResponse(receipt.request, 202, background=BackgroundTask(wake, WakeUp.READ_TICKETS))
        case Received.REPEATED:
            return JSONResponse(_decision(receipt.request or {}))
        case Received.IGNORED:
            return JSONResponse({"state": "ignored", "why": receipt.reason})
        case Received.CONFLICT:
            raise HTTPException(409, receipt.reason)
        case Received.UNUSABLE:
            # No fault of the way here: after a few 4xx a desk would send nothing more, good forms included.
            answer = {"state": "dead_letter", "error": receipt.reason}
            return JSONResponse(answer, background=BackgroundTask(wake, WakeUp.ANSWER))


def _decision(request: Any) -> dict[str, Any]:
    shown = ("source", "id", "state", "outcome", "reasons", "advice", "decided_at")
    return {name: request[name] for name in shown}
