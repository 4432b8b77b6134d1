"""A fake receiver of answers that are signed as Standard Webhooks 1.0.0 says."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.helpdesks.fake import TICKET, Call, Comment, FakeDesk

_TOLERANCE_SECONDS = 300


class FakeStandard(FakeDesk):
    """A receiver that knows a repeat by its `webhook-id`; it has no tickets, it is told of them."""

    kind = "standard"
    actions = ("write",)
    root = ""
    token = f"whsec_{base64.b64encode(b'a key of thirty-two bytes, right').decode()}"
    wrong_token = f"whsec_{base64.b64encode(b'a key of thirty-two bytes, wrong').decode()}"
    webhook_secret = f"whsec_{base64.b64encode(b'the key that requests are signed').decode()}"

    def __init__(self) -> None:
        super().__init__()
        self.received: dict[str, dict[str, Any]] = {}

    def table(self, url: str) -> dict[str, Any]:
        return {**super().table(url), "url": f"{url}/answers"}

    def routes(self) -> Sequence[Route]:
        return [self.route("POST", "/answers", "write", self._receive)]

    def unauthorized(self, call: Call) -> Response | None:
        delivery, signed_at = call.headers.get("webhook-id", ""), call.headers.get("webhook-timestamp", "0")
        key = base64.b64decode(self.token.removeprefix("whsec_"))
        signed = f"{delivery}.{signed_at}.".encode() + call.body
        signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        is_signed = f"v1,{signature}" in call.headers.get("webhook-signature", "").split(" ")
        if is_signed and abs(time.time() - int(signed_at)) <= _TOLERANCE_SECONDS:
            return None
        return JSONResponse({"error": "the signature does not fit"}, 401)

    def add_ticket(self, ticket: int) -> None:
        """Does nothing: it takes whatever it is told of."""

    def comments(self, ticket: str) -> Sequence[Comment]:
        return [
            Comment(f"{data['body']}\n\n{delivery}", data["visibility"] == "public")
            for delivery, data in self.received.items()
            if data["ticket"] == ticket
        ]

    def tags(self, ticket: str) -> Sequence[str]:
        return list(dict.fromkeys(data["tag"] for data in self.received.values() if data["ticket"] == ticket))

    def others_write(self, count: int, ticket: str = TICKET) -> None:
        """Does nothing: nobody else writes here."""

    def _receive(self, call: Call) -> Response:
        delivery, message = call.headers["webhook-id"], json.loads(call.body)
        if "." in delivery:
            # A full stop parts the id from what is signed behind it.
            return JSONResponse({"error": "webhook-id must not contain a full stop"}, 400)
        if message["type"] != "order.change.answered" or "timestamp" not in message:
            return JSONResponse({"error": "unknown event"}, 422)
        self.received.setdefault(delivery, message["data"])
        return Response(status_code=202)
