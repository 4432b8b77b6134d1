"""A fake Zammad: REST API v1, as far as answers use it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.helpdesks.fake import FIRST_TAG, TICKET, Call, Comment, FakeDesk, number_in_rails, plain


class FakeZammad(FakeDesk):
    """A Zammad; `is_agent` and `may_tag` say whether our token's account has ticket.agent and admin.tag."""

    kind = "zammad"
    actions = ("write", "tag")
    root = "/api/v1"

    def __init__(self) -> None:
        super().__init__()
        self.is_agent, self.may_tag = True, False
        # Its one group's address, and whether agents may look at groups.
        self.address, self.shows_groups = True, True
        self.articles: dict[int, list[dict[str, Any]]] = {ticket: [] for ticket in self.forms}
        self._tags = {ticket: [FIRST_TAG] for ticket in self.articles}

    def add_ticket(self, ticket: int) -> None:
        self.articles[ticket], self._tags[ticket] = [], [FIRST_TAG]

    def routes(self) -> Sequence[Route]:
        return [
            self.route("GET", "/users/me", "me", self._me),
            self.route("GET", "/tickets/search", "list", self._search),
            self.route("GET", "/tickets/{ticket}", "read", self._show),
            self.route("GET", "/users/{user}", "user", self._user),
            self.route("GET", "/groups/{group}", "group", self._group),
            self.route("GET", "/ticket_articles/by_ticket/{ticket}", "look", self._list),
            self.route("POST", "/ticket_articles", "write", self._create),
            self.route("POST", "/tags/add", "tag", self._add_tag),
        ]

    def unauthorized(self, call: Call) -> Response | None:
        if call.headers.get("authorization") == f"Token token={self.token}":
            return None
        return _error(401, "Can't find User for Token")

    def comments(self, ticket: str) -> Sequence[Comment]:
        return [Comment(plain(one["body"]), not one["internal"], one["to"]) for one in self.articles[int(ticket)]]

    def tags(self, ticket: str) -> Sequence[str]:
        return self._tags[int(ticket)]

    def others_write(self, count: int, ticket: str = TICKET) -> None:
        for _ in range(count):
            self._keep(int(ticket), {"type": "email", "body": "Any news?"}, sender="Customer", internal=False)

    def _me(self, _: Call) -> Response:
        return JSONResponse({"id": 3, "login": self.user, "email": self.user})

    def _show(self, call: Call) -> Response:
        ticket = number_in_rails(call.ticket) or 0
        return JSONResponse(self._shown(ticket)) if ticket in self.forms else _unknown(call.ticket)

    def _shown(self, ticket: int) -> dict[str, Any]:
        form = self.forms[ticket]
        # Every attribute that the admin has made is there.
        values = {f"countermand_{name}": "" for name in ("order", "kind", "note")} | self.values_of(ticket)
        updated_at = f"{form.changed_at:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        return {
            "id": ticket,
            "number": "66001",
            "customer_id": ticket + 5000,
            "group_id": 1,
            "updated_at": updated_at,
            **values,
        }

    def _group(self, _: Call) -> Response:
        if not self.shows_groups:
            return _error(403, "Not authorized")
        return JSONResponse({"id": 1, "name": "Users", "email_address_id": 1 if self.address else None})

    def _user(self, call: Call) -> Response:
        ticket = (number_in_rails(call.path["user"]) or 0) - 5000
        if ticket not in self.forms:
            return _error(404, "Couldn't find User")
        form = self.forms[ticket]
        preferences = {"locale": form.language} if form.language else {}
        return JSONResponse({"id": ticket + 5000, "email": form.requester, "preferences": preferences})

    def _search(self, call: Call) -> Response:
        page, size = int(call.query.get("page", 1)), min(int(call.query.get("limit", 50)), 200)
        condition = "condition[ticket.updated_at]"
        assert call.query[f"{condition}[operator]"] == "after (absolute)"
        assert (call.query["sort_by"], call.query["order_by"], call.query["expand"]) == ("updated_at", "asc", "true")
        after = datetime.fromisoformat(call.query[f"{condition}[value]"])
        found = [one for one in self.changed(after) if self.forms[one].changed_at > after]
        return JSONResponse([self._shown(one) for one in found[(page - 1) * size : page * size]])

    def _list(self, call: Call) -> Response:
        articles = self.articles.get(number_in_rails(call.ticket) or 0)
        if articles is None:
            return _unknown(call.ticket)
        return JSONResponse([one for one in articles if self.is_agent or not one["internal"]])

    def _create(self, call: Call) -> Response:
        article = call.json
        ticket = number_in_rails(article["ticket_id"]) or 0
        if ticket not in self.articles:
            return _unknown(article["ticket_id"])
        if not article.get("body"):
            return _error(422, 'Need at least article: { body: "some text" }')
        if self.is_agent and article.get("type") == "email" and not self.address:
            return _error(500, "No email address found for group 'Users' (1)")
        if self.is_agent:
            kept = self._keep(ticket, article, sender="Agent", internal=article.get("internal", False))
        else:
            # Without a word: who is no agent writes as a customer does.
            reported = {"body": article["body"], "type": "note"}
            kept = self._keep(ticket, reported, sender="Customer", internal=False)
        return JSONResponse(kept, 201)

    def _keep(self, ticket: int, article: dict[str, Any], *, sender: str, internal: bool) -> dict[str, Any]:
        kept = {
            "id": len(self.articles[ticket]) + 1,
            "ticket_id": ticket,
            "type": article.get("type", "note"),
            "to": article.get("to"),
            "content_type": article.get("content_type", "text/plain"),
            "body": article["body"],
            "sender": sender,
            "internal": internal,
        }
        self.articles[ticket].append(kept)
        return kept

    def _add_tag(self, call: Call) -> Response:
        if not (self.is_agent or self.may_tag):
            return _error(403, "Not authorized")
        tags = self._tags.get(number_in_rails(call.json["o_id"]) or 0)
        if call.json["object"] != "Ticket" or tags is None:
            return _unknown(call.json["o_id"])
        if call.json["item"] not in tags:
            tags.append(call.json["item"])
        return JSONResponse(content=True, status_code=201)


def _unknown(ticket: Any) -> Response:
    return _error(404, f"Couldn't find Ticket with 'id'={ticket}")


def _error(status: int, reported: str) -> Response:
    return JSONResponse({"error": reported, "error_human": reported}, status)
