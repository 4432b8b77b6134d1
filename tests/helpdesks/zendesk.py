"""A fake Zendesk: Ticketing API v2, as far as answers use it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.helpdesks.fake import FIRST_TAG, TICKET, Call, Comment, FakeDesk, FormOnTicket, basic, number, plain

# Of one search, all pages together; whoever asks for more is refused.
_MOST_RESULTS = 1000


@dataclass
class Ticket:
    """A ticket; each update is a second later than the one before."""

    form: FormOnTicket

    status: str = "open"
    tags: list[str] = field(default_factory=lambda: [FIRST_TAG])
    comments: list[dict[str, Any]] = field(default_factory=list)
    # What each comment was written with, as the ticket's history has it.
    audits: list[dict[str, Any]] = field(default_factory=list)

    @property
    def updated_at(self) -> str:
        """The moment of the last update."""
        return self.form.moment

    def comment(self, markup: str, *, public: bool, metadata: dict[str, Any] | None = None) -> None:
        """Adds a comment; what Zendesk keeps of its HTML stands in a `div`."""
        self.comments.append(
            {
                "id": len(self.comments) + 1,
                "type": "Comment",
                "html_body": f'<div class="zd-comment" dir="auto">{markup}</div>',
                "plain_body": f"{plain(markup)}&nbsp;",
                "public": public,
            }
        )
        audited = {"custom": metadata or {}, "system": {"client": "python"}}
        self.audits.append({"id": len(self.audits) + 1, "metadata": audited, "events": [{"type": "Comment"}]})
        self.form.change()


class FakeZendesk(FakeDesk):
    """A Zendesk account whose one agent is us."""

    kind = "zendesk"
    actions = ("read", "write", "tag")
    fields: ClassVar[Mapping[str, str]] = {
        "order": "36000000001",
        "kind": "36000000002",
        "note": "36000000003",
        "shipping_name": "36000000004",
        "shipping_line1": "36000000005",
        "shipping_postal_code": "36000000006",
        "shipping_city": "36000000007",
        "shipping_country": "36000000008",
    }
    root = "/api/v2"

    def __init__(self) -> None:
        super().__init__()
        self.tickets = {ticket: Ticket(form) for ticket, form in self.forms.items()}

    def table(self, url: str) -> dict[str, Any]:
        return {**super().table(url), "user": self.user}

    def add_ticket(self, ticket: int) -> None:
        self.tickets[ticket] = Ticket(self.forms[ticket])

    def routes(self) -> Sequence[Route]:
        return [
            self.route("GET", "/users/me.json", "me", self._me),
            self.route("GET", "/tickets/{ticket}.json", "read", self._show),
            self.route("GET", "/search.json", "list", self._search),
            self.route("GET", "/tickets/{ticket}/audits.json", "look", self._audits),
            self.route("GET", "/tickets/{ticket}/comments.json", "comments", self._list),
            self.route("PUT", "/tickets/{ticket}.json", "write", self._update),
            self.route("PUT", "/tickets/{ticket}/tags.json", "tag", self._add_tags),
        ]

    def unauthorized(self, call: Call) -> Response | None:
        if call.headers.get("authorization") == basic(f"{self.user}/token", self.token):
            return None
        return JSONResponse({"error": "Couldn't authenticate you"}, 401)

    def comments(self, ticket: str) -> Sequence[Comment]:
        found = self.tickets[int(ticket)]
        return [
            Comment(plain(one["html_body"]), one["public"], mark=audit["metadata"]["custom"].get("countermand", ""))
            for one, audit in zip(found.comments, found.audits, strict=True)
        ]

    def tags(self, ticket: str) -> Sequence[str]:
        return self.tickets[int(ticket)].tags

    def others_write(self, count: int, ticket: str = TICKET) -> None:
        for _ in range(count):
            self.tickets[int(ticket)].comment("<p>Any news?</p>", public=True)

    def _found(self, call: Call) -> Ticket | Response:
        name = number(call.ticket)
        if name is None:
            reported = {"title": "Invalid attribute", "message": "You passed an invalid value for the id attribute."}
            return JSONResponse({"error": reported}, 400)
        missing = JSONResponse({"error": "RecordNotFound", "description": "Not found"}, 404)
        return self.tickets.get(name) or missing

    def _me(self, _: Call) -> Response:
        return JSONResponse({"user": {"id": 35436, "email": self.user, "role": "agent"}})

    def _show(self, call: Call) -> Response:
        ticket = self._found(call)
        if isinstance(ticket, Response):
            return ticket
        shown = self._shown(int(call.ticket))
        users = {"users": [self._user(int(call.ticket))]} if call.query.get("include") == "users" else {}
        return JSONResponse({"ticket": shown, **users})

    def _user(self, ticket: int) -> dict[str, Any]:
        form = self.forms[ticket]
        return {"id": ticket + 5000, "role": "end-user", "email": form.requester, "locale": form.language}

    def _shown(self, ticket: int) -> dict[str, Any]:
        # Every field of the account is there, null where nothing was filled in.
        values = dict.fromkeys(self.fields.values()) | self.values_of(ticket)
        return {
            "id": ticket,
            "status": self.tickets[ticket].status,
            "tags": self.tickets[ticket].tags,
            "requester_id": ticket + 5000,
            "updated_at": self.tickets[ticket].updated_at,
            "custom_fields": [{"id": int(name), "value": value} for name, value in values.items()],
        }

    def _search(self, call: Call) -> Response:
        page, size = int(call.query.get("page", 1)), min(int(call.query.get("per_page", 100)), 100)
        if page * size > _MOST_RESULTS:
            return JSONResponse({"error": "Invalid search: Requested response size was greater than limits"}, 422)
        asked = re.fullmatch(r"type:ticket updated>=(\S+)", call.query["query"])
        assert asked is not None
        assert (call.query["sort_by"], call.query["sort_order"]) == ("updated_at", "asc")
        found = self.changed(datetime.fromisoformat(asked[1]))
        results = [{**self._shown(one), "result_type": "ticket"} for one in found[(page - 1) * size : page * size]]
        return JSONResponse({"results": results, "facets": None, "next_page": None, "count": len(found)})

    def _list(self, call: Call) -> Response:
        ticket = self._found(call)
        if isinstance(ticket, Response):
            return ticket
        size, page = min(int(call.query.get("per_page", 100)), 100), int(call.query.get("page", 1))
        sequence = ticket.comments[::-1] if call.query.get("sort_order") == "desc" else ticket.comments
        found = sequence[(page - 1) * size : page * size]
        return JSONResponse({"comments": found, "next_page": None, "previous_page": None, "count": len(sequence)})

    def _audits(self, call: Call) -> Response:
        ticket = self._found(call)
        if isinstance(ticket, Response):
            return ticket
        size, page = min(int(call.query.get("per_page", 100)), 100), int(call.query.get("page", 1))
        found = ticket.audits[(page - 1) * size : page * size]
        more = f"https://acme.zendesk.com/?page={page + 1}" if len(ticket.audits) > page * size else None
        return JSONResponse({"audits": found, "next_page": more, "previous_page": None, "count": len(ticket.audits)})

    def _update(self, call: Call) -> Response:
        ticket = self._found(call)
        if isinstance(ticket, Response):
            return ticket
        # What is not nested under `ticket` changes nothing, and is no error.
        update = call.json.get("ticket", {})
        if refused := _refused(ticket, update):
            return refused
        if comment := update.get("comment"):
            markup, metadata = comment.get("html_body") or comment["body"], update.get("metadata")
            ticket.comment(markup, public=comment.get("public", True), metadata=metadata)
        return JSONResponse({"ticket": self._shown(int(call.ticket))} | {"audit": {"id": 1, "events": []}})

    def _add_tags(self, call: Call) -> Response:
        ticket = self._found(call)
        if isinstance(ticket, Response):
            return ticket
        if refused := _refused(ticket, call.json):
            return refused
        ticket.tags += [tag.lower() for tag in call.json["tags"] if tag.lower() not in ticket.tags]
        ticket.form.change()
        return JSONResponse({"tags": ticket.tags})


def _refused(ticket: Ticket, update: dict[str, Any]) -> Response | None:
    if ticket.status == "closed":
        details = {"status": [{"description": "Status: closed prevents ticket update"}]}
        invalid = {"error": "RecordInvalid", "description": "Record validation errors", "details": details}
        return JSONResponse(invalid, 422)
    if update.get("safe_update") and update.get("updated_stamp") != ticket.updated_at:
        reported = "Safe Update prevented the update due to outdated ticket data"
        return JSONResponse({"error": "UpdateConflict", "description": reported}, 409)
    return None
