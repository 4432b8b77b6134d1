"""A fake Gorgias: REST API, as far as answers use it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.helpdesks.fake import FIRST_TAG, TICKET, Call, Comment, FakeDesk, basic, number

# Gorgias says these with every answer: on a good one they do not mean "wait".
_BUDGET = {"Retry-after": "5", "X-Gorgias-Account-Api-Call-Limit": "10/40"}
# What the reference says of `external_id`.
LONGEST_EXTERNAL_ID = 255


class FakeGorgias(FakeDesk):
    """A Gorgias account with one user and one e-mail integration."""

    kind = "gorgias"
    actions = ("read", "write", "tag")
    fields: ClassVar[Mapping[str, str]] = {"order": "71", "kind": "72", "note": "73"}
    root = "/api"
    reply_from = "help@acme.example"
    # Whether a note that is said not to be public is none.
    keeps_notes = True
    # By which its customers write.
    channel = "email"

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []
        self._tags = {ticket: [FIRST_TAG] for ticket in self.forms}

    def add_ticket(self, ticket: int) -> None:
        self._tags[ticket] = [FIRST_TAG]

    def table(self, url: str) -> dict[str, Any]:
        return {**super().table(url), "user": self.user, "reply_from": self.reply_from}

    def routes(self) -> Sequence[Route]:
        return [
            self.route("GET", "/account", "me", self._account),
            self.route("GET", "/messages", "look", self._list),
            self.route("GET", "/tickets", "list", self._changed),
            self.route("GET", "/tickets/{ticket}", "read", self._show),
            self.route("GET", "/tickets/{ticket}/custom-fields", "fields", self._fields),
            self.route("POST", "/tickets/{ticket}/messages", "write", self._create),
            self.route("POST", "/tickets/{ticket}/tags", "tag", self._add_tags),
        ]

    def unauthorized(self, call: Call) -> Response | None:
        if call.headers.get("authorization") == basic(self.user, self.token):
            return None
        return _error(401, "Invalid credentials")

    def comments(self, ticket: str) -> Sequence[Comment]:
        return [
            Comment(one["body_text"], one["public"], _receiver(one), one.get("external_id") or "")
            for one in self.messages
            if one["ticket_id"] == int(ticket)
        ]

    def tags(self, ticket: str) -> Sequence[str]:
        return self._tags[int(ticket)]

    def others_write(self, count: int, ticket: str = TICKET) -> None:
        for _ in range(count):
            self._keep(int(ticket), {"channel": "email", "body_text": "Any news?", "external_id": None})

    def _account(self, _: Call) -> Response:
        return JSONResponse({"domain": "acme", "created_datetime": "2026-01-07T09:00:00"}, headers=_BUDGET)

    def _show(self, call: Call) -> Response:
        ticket = number(call.ticket) or 0
        return JSONResponse(self._shown(ticket), headers=_BUDGET) if ticket in self.forms else _error(404, "Not found")

    def _shown(self, ticket: int) -> dict[str, Any]:
        form = self.forms[ticket]
        return {
            "id": ticket,
            "status": "open",
            "channel": self.channel,
            "via": self.channel,
            "customer": {"id": ticket + 5000, "email": form.requester, "name": "Jane Doe"},
            "language": form.language,
            # Without a zone: it is UTC.
            "updated_datetime": f"{form.changed_at:%Y-%m-%dT%H:%M:%S.%f}",
        }

    def _fields(self, call: Call) -> Response:
        ticket = number(call.ticket) or 0
        if ticket not in self.forms:
            return _error(404, "Ticket not found")
        values = self.values_of(ticket).items()
        listed = [{"id": 9, "field": {"id": int(name), "label": "A field"}, "value": value} for name, value in values]
        return JSONResponse(listed, headers=_BUDGET)

    def _changed(self, call: Call) -> Response:
        size = int(call.query.get("limit", 30))
        if not 1 <= size <= 100 or call.query["order_by"] != "updated_datetime:desc":
            return _error(400, "Invalid query parameters")
        first = int(call.query.get("cursor", 0))
        found = self.changed(datetime(2000, 1, 1, tzinfo=UTC))[::-1]
        more = str(first + size) if len(found) > first + size else None
        listed = [self._shown(one) for one in found[first : first + size]]
        return JSONResponse({"data": listed, "meta": {"next_cursor": more, "prev_cursor": None}}, headers=_BUDGET)

    def _list(self, call: Call) -> Response:
        ticket, size = number(call.query["ticket_id"]), int(call.query.get("limit", 30))
        if ticket is None or not 1 <= size <= 100:
            return _error(400, "Invalid query parameters")
        found = [one for one in self.messages if one["ticket_id"] == ticket]
        if call.query.get("order_by", "created_datetime:desc") == "created_datetime:desc":
            found = found[::-1]
        meta = {"next_cursor": "more" if len(found) > size else None, "prev_cursor": None}
        listed = {"data": found[:size], "meta": meta, "object": "list", "uri": "/api/messages"}
        return JSONResponse(listed, headers=_BUDGET)

    def _create(self, call: Call) -> Response:
        ticket, message = number(call.ticket), call.json
        if ticket not in self._tags:
            return _error(404, "Ticket not found")
        if reported := self._mistake(message):
            return _error(400, reported)
        return JSONResponse(self._keep(ticket, message), 201, _BUDGET)

    def _mistake(self, message: dict[str, Any]) -> str | None:
        if missing := {"channel", "via", "from_agent", "sender"} - message.keys():
            return f"{min(missing)} is required"
        if message["from_agent"] is not True or message["sender"] != {"email": self.user}:
            return "an outgoing message is sent by a user"
        if len(message.get("external_id") or "") > LONGEST_EXTERNAL_ID:
            return "external_id is too long"
        routed = {"receiver", "source"} & message.keys()
        if message["channel"] == "internal-note":
            return "a note has no receiver" if routed else None
        return None if len(routed) == 2 else "an outgoing message has a receiver and a source"

    def _keep(self, ticket: int, message: dict[str, Any]) -> dict[str, Any]:
        kept = {"id": len(self.messages) + 1, "ticket_id": ticket, **message}
        # So the schema has it: whoever wants a note that nobody else reads says so.
        kept["public"] = message.get("public", True) or not self.keeps_notes
        # It is sent later, and only from an address that the account has.
        failed = kept.get("source", {"from": {"address": self.reply_from}})["from"]["address"] != self.reply_from
        kept["failed_datetime"] = "2026-11-23T09:00:00" if failed else None
        self.messages.append(kept)
        return kept

    def _add_tags(self, call: Call) -> Response:
        tags = self._tags.get(number(call.ticket) or 0)
        if tags is None:
            return _error(404, "Ticket not found")
        tags += [name for name in call.json["names"] if name not in tags]
        return Response(status_code=201, headers=_BUDGET)


def _receiver(message: dict[str, Any]) -> str | None:
    if message["failed_datetime"] or "source" not in message:
        return None
    return str(message["source"]["to"][0]["address"])


def _error(status: int, reported: str) -> Response:
    return JSONResponse({"error": {"msg": reported}}, status, _BUDGET)
