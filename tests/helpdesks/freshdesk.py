"""A fake Freshdesk: API v2, as far as answers use it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.helpdesks.fake import FIRST_TAG, TICKET, Call, Comment, FakeDesk, basic, number, plain

# Of any list.
_LAST_PAGE = 300


@dataclass
class Ticket:
    """A ticket with its conversations, oldest first."""

    tags: list[str] = field(default_factory=lambda: [FIRST_TAG])
    conversations: list[dict[str, Any]] = field(default_factory=list)

    def add(self, markup: str, *, private: bool, incoming: bool = False) -> dict[str, Any]:
        """Adds a conversation and returns it."""
        one = {
            "id": len(self.conversations) + 1,
            "body": f"<div>{markup}</div>",
            "body_text": plain(markup),
            "private": private,
            "incoming": incoming,
        }
        self.conversations.append(one)
        return one


class FakeFreshdesk(FakeDesk):
    """A Freshdesk account."""

    kind = "freshdesk"
    actions = ("write", "read", "tag")
    fields: ClassVar[Mapping[str, str]] = {"order": "cf_order", "kind": "cf_order_change", "note": "cf_order_note"}
    root = "/api/v2"

    def __init__(self) -> None:
        super().__init__()
        self.tickets = {ticket: Ticket() for ticket in self.forms}

    def add_ticket(self, ticket: int) -> None:
        self.tickets[ticket] = Ticket()

    def routes(self) -> Sequence[Route]:
        return [
            self.route("GET", "/agents/me", "me", self._me),
            self.route("GET", "/tickets/{ticket}", "read", self._with_ticket(self._show)),
            self.route("GET", "/tickets", "list", self._changed),
            self.route("GET", "/contacts/{contact}", "contact", self._contact),
            self.route("GET", "/tickets/{ticket}/conversations", "look", self._with_ticket(self._list)),
            self.route("POST", "/tickets/{ticket}/reply", "write", self._with_ticket(self._reply)),
            self.route("POST", "/tickets/{ticket}/notes", "write", self._with_ticket(self._note)),
            self.route("PUT", "/tickets/{ticket}", "tag", self._with_ticket(self._update)),
        ]

    def unauthorized(self, call: Call) -> Response | None:
        if call.headers.get("authorization") == basic(self.token, "X"):
            return None
        reported = {"code": "invalid_credentials", "message": "You have to be logged in to perform this action."}
        return JSONResponse(reported, 401)

    def comments(self, ticket: str) -> Sequence[Comment]:
        return [Comment(one["body_text"], not one["private"]) for one in self.tickets[int(ticket)].conversations]

    def tags(self, ticket: str) -> Sequence[str]:
        return self.tickets[int(ticket)].tags

    def others_write(self, count: int, ticket: str = TICKET) -> None:
        for _ in range(count):
            self.tickets[int(ticket)].add("<p>Any news?</p>", private=False, incoming=True)

    def _with_ticket(self, handler: Callable[[Ticket, Call], Response]) -> Callable[[Call], Response]:
        def found(call: Call) -> Response:
            ticket = self.tickets.get(number(call.ticket) or 0)
            return Response(status_code=404) if ticket is None else handler(ticket, call)

        return found

    def _me(self, _: Call) -> Response:
        return JSONResponse({"id": 432, "ticket_scope": 1, "contact": {"active": True, "email": self.user}})

    def _show(self, ticket: Ticket, call: Call) -> Response:
        shown = self._shown(int(call.ticket))
        if call.query.get("include") == "requester":
            email = self.forms[int(call.ticket)].requester
            requester = {"id": shown["requester_id"], "name": "Jane Doe", "email": email, "mobile": None, "phone": None}
            return JSONResponse({**shown, "requester": requester})
        return JSONResponse(shown)

    def _shown(self, ticket: int) -> dict[str, Any]:
        return {
            "id": ticket,
            "status": 2,
            "tags": self.tickets[ticket].tags,
            "requester_id": ticket + 5000,
            "updated_at": self.forms[ticket].moment,
            "custom_fields": dict.fromkeys(self.fields.values()) | self.values_of(ticket),
        }

    def _changed(self, call: Call) -> Response:
        page, size = int(call.query.get("page", 1)), int(call.query.get("per_page", 30))
        if not (1 <= size <= 100 and 1 <= page <= _LAST_PAGE):
            return _invalid("page", "It should be a Positive Integer less than or equal to 300")
        assert (call.query["order_by"], call.query["order_type"]) == ("updated_at", "asc")
        found = self.changed(datetime.fromisoformat(call.query["updated_since"]))
        return JSONResponse([self._shown(one) for one in found[(page - 1) * size : page * size]])

    def _contact(self, call: Call) -> Response:
        ticket = (number(call.path["contact"]) or 0) - 5000
        form = self.forms.get(ticket)
        if form is None:
            return Response(status_code=404)
        return JSONResponse({"id": ticket + 5000, "email": form.requester, "language": form.language})

    def _list(self, ticket: Ticket, call: Call) -> Response:
        page, size = int(call.query.get("page", 1)), int(call.query.get("per_page", 30))
        if not (1 <= size <= 100 and page >= 1):
            return _invalid("per_page", "It should be a Positive Integer less than or equal to 100")
        found = ticket.conversations[(page - 1) * size : page * size]
        more = {"Link": f'<{call.ticket}?page={page + 1}>; rel="next"'} if len(found) == size else {}
        return JSONResponse(found, headers=more)

    def _reply(self, ticket: Ticket, call: Call) -> Response:
        if unknown := call.json.keys() - {"body", "from_email", "user_id", "cc_emails", "bcc_emails"}:
            return _invalid(min(unknown), "Unexpected/invalid field in request")
        return JSONResponse(ticket.add(call.json["body"], private=False), 201)

    def _note(self, ticket: Ticket, call: Call) -> Response:
        if unknown := call.json.keys() - {"body", "incoming", "notify_emails", "private", "user_id"}:
            return _invalid(min(unknown), "Unexpected/invalid field in request")
        return JSONResponse(ticket.add(call.json["body"], private=call.json.get("private", True)), 201)

    def _update(self, ticket: Ticket, call: Call) -> Response:
        # All of them: what is not in the list is gone.
        ticket.tags = call.json["tags"]
        return self._show(ticket, call)


def _invalid(field_name: str, reported: str) -> Response:
    errors = [{"field": field_name, "message": reported, "code": "invalid_value"}]
    return JSONResponse({"description": "Validation failed", "errors": errors}, 400)
