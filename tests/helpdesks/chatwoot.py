"""A fake Chatwoot: application API v1, as far as answers use it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.helpdesks.fake import FIRST_TAG, TICKET, Call, Comment, FakeDesk, number_in_rails

_PAGE = 20
_FILTER_PAGE = 25
_DEFINITION = re.compile(r"^\[[^\[\]]+\]: \S+$", re.MULTILINE)
_TYPES = {"incoming": 0, "outgoing": 1}


@dataclass
class Conversation:
    """A conversation with its messages, oldest first."""

    labels: list[str] = field(default_factory=lambda: [FIRST_TAG])
    messages: list[dict[str, Any]] = field(default_factory=list)

    def add(self, content: str, *, kind: str, private: bool) -> dict[str, Any]:
        """Adds a message and returns it."""
        one = {
            "id": len(self.messages) + 1,
            "content": content,
            "message_type": _TYPES[kind],
            "private": private,
            "content_attributes": {},
        }
        self.messages.append(one)
        return one


class FakeChatwoot(FakeDesk):
    """A Chatwoot with one account, the seventh."""

    kind = "chatwoot"
    actions = ("write", "read", "tag")
    account = 7
    # Whether its visitors are who they say they are.
    is_verified = True
    # A channel in which no visitor names an address as his own.
    channel = "Channel::Whatsapp"
    root = "/api/v1"

    def __init__(self) -> None:
        super().__init__()
        self.conversations = {ticket: Conversation() for ticket in self.forms}

    def add_ticket(self, ticket: int) -> None:
        self.conversations[ticket] = Conversation()

    def table(self, url: str) -> dict[str, Any]:
        return {**super().table(url), "account": self.account}

    def routes(self) -> Sequence[Route]:
        conversation = f"/accounts/{self.account}/conversations/{{ticket}}"
        messages, labels = f"{conversation}/messages", f"{conversation}/labels"
        return [
            self.route("GET", "/profile", "me", self._me),
            self.route("GET", conversation, "show", self._with_conversation(self._show)),
            self.route("POST", f"/accounts/{self.account}/conversations/filter", "list", self._filter),
            self.route("GET", messages, "look", self._with_conversation(self._list)),
            self.route("POST", messages, "write", self._with_conversation(self._create)),
            self.route("GET", labels, "read", self._with_conversation(self._labels)),
            self.route("POST", labels, "tag", self._with_conversation(self._set_labels)),
        ]

    def unauthorized(self, call: Call) -> Response | None:
        if call.headers.get("api_access_token") == self.token:
            return None
        return JSONResponse({"error": "Invalid Access Token"}, 401)

    def comments(self, ticket: str) -> Sequence[Comment]:
        return [
            # As Markdown has it, in which the definition of a link is not shown.
            Comment(_DEFINITION.sub("", content), not one["private"], mark="".join(_DEFINITION.findall(content)))
            for one in self.conversations[int(ticket)].messages
            if (content := one["content"])
        ]

    def tags(self, ticket: str) -> Sequence[str]:
        return self.conversations[int(ticket)].labels

    def others_write(self, count: int, ticket: str = TICKET) -> None:
        for _ in range(count):
            self.conversations[int(ticket)].add("Any news?", kind="incoming", private=False)

    def _me(self, _: Call) -> Response:
        accounts = [{"id": self.account, "role": "agent"}]
        return JSONResponse({"id": 2, "email": self.user, "accounts": accounts})

    def _with_conversation(self, handler: Callable[[Conversation, Call], Response]) -> Callable[[Call], Response]:
        def found(call: Call) -> Response:
            conversation = self.conversations.get(number_in_rails(call.ticket) or 0)
            if conversation is None:
                return JSONResponse({"error": "Resource could not be found"}, 404)
            return handler(conversation, call)

        return found

    def _show(self, _: Conversation, call: Call) -> Response:
        return JSONResponse(self._shown(number_in_rails(call.ticket) or 0))

    def _shown(self, ticket: int) -> dict[str, Any]:
        form = self.forms[ticket]
        sender = {"id": 7, "email": form.requester, "identifier": form.requester}
        return {
            "id": ticket,
            "meta": {"sender": sender, "channel": self.channel, "hmac_verified": self.is_verified},
            "custom_attributes": self.values_of(ticket),
            "additional_attributes": {"conversation_language": form.language},
            "labels": self.conversations[ticket].labels,
            "status": "open",
            "last_activity_at": int(form.changed_at.timestamp()),
        }

    def _filter(self, call: Call) -> Response:
        present, active = call.json["payload"]
        assert (present["filter_operator"], active["filter_operator"]) == ("is_present", "is_greater_than")
        after = datetime.fromisoformat(active["values"][0]).replace(tzinfo=UTC)
        having = [one for one in self.changed(after)[::-1] if present["attribute_key"] in self.values_of(one)]
        first = (int(call.query.get("page", 1)) - 1) * _FILTER_PAGE
        payload = [self._shown(one) for one in having[first : first + _FILTER_PAGE]]
        return JSONResponse({"meta": {"all_count": len(having)}, "payload": payload})

    def _list(self, conversation: Conversation, call: Call) -> Response:
        before = int(call.query.get("before", len(conversation.messages) + 1))
        older = [one for one in conversation.messages if one["id"] < before]
        return JSONResponse({"meta": {"labels": conversation.labels}, "payload": older[-_PAGE:]})

    def _create(self, conversation: Conversation, call: Call) -> Response:
        message = call.json
        kind = message.get("message_type", "outgoing")
        if kind not in _TYPES:
            return JSONResponse({"error": f"'{kind}' is not a valid message_type"}, 422)
        # 200, and not 201.
        return JSONResponse(conversation.add(message["content"], kind=kind, private=message.get("private", False)))

    def _labels(self, conversation: Conversation, _: Call) -> Response:
        return JSONResponse({"payload": conversation.labels})

    def _set_labels(self, conversation: Conversation, call: Call) -> Response:
        # All of them: what is not in the list is gone.
        conversation.labels = call.json["labels"]
        return self._labels(conversation, call)
