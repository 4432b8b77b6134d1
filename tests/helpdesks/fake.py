"""What the fake desks have in common: calls that are written down, faults for the next ones, comments and tags."""

import base64
import html
import json
import re
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any, ClassVar, TypeAlias
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.helpdesks.faults import Fault

# The ticket that `tests.builders.a_request` names.
TICKET = "88121"
# One more that is there, for whatever goes astray.
NEIGHBOUR = "1"
FIRST_TAG = "vip"


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it came; `action` is me, read, look, write or tag, `ticket` the decoded part of the path."""

    action: str
    ticket: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    path: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        """What was sent."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Comment:
    """What stands on a ticket, as its reader sees it; `to` is whom the desk was told to send it to."""

    text: str
    is_public: bool
    to: str | None = None
    # Our mark, where no reader sees it.
    mark: str = ""


@dataclass
class FormOnTicket:
    """What is filled in on a ticket, by our names, and what its desk knows of the ticket beside it."""

    asked: dict[str, str] = field(default_factory=dict)
    requester: str | None = "jane@example.com"
    language: str | None = "de"
    changed_at: datetime = datetime(2026, 11, 23, 9, tzinfo=UTC)

    @property
    def moment(self) -> str:
        """The last change, as most APIs write it."""
        return f"{self.changed_at:%Y-%m-%dT%H:%M:%SZ}"

    def change(self) -> None:
        """Something has changed, a second later than the last time."""
        self.changed_at += timedelta(seconds=1)


Handler: TypeAlias = Callable[[Call], Response]


class FakeDesk(ABC):
    """A desk that behaves as its API is described, with the tickets 88121 and 1."""

    kind: ClassVar[str]
    # The actions that it is asked for when an answer is written.
    actions: ClassVar[Sequence[str]]
    # How the paths of its API begin.
    root: ClassVar[str]

    # The account of the agent that the token is of.
    user = "agent@acme.example"
    token = "right-token"
    wrong_token = "wrong-token"
    webhook_secret = "webhook-secret"
    # The desk's names of our fields.
    fields: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        self.calls: list[Call] = []
        # Of every request, known to the API or not, with the method, as they stood on the wire.
        self.paths: list[str] = []
        # By the numbers of the tickets.
        self.forms = {int(name): FormOnTicket() for name in (TICKET, NEIGHBOUR)}
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._lock = RLock()
        self._app = Starlette(routes=list(self.routes()))
        self._app.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request by its path as it stood on the wire: `..%2F1` is one segment."""
        path = scope["raw_path"].decode()
        self.paths.append(f"{scope['method']} {path}?{scope['query_string'].decode()}")
        await self._app({**scope, "path": path}, receive, send)

    @property
    def source(self) -> str:
        """The source of its requests."""
        return f"{self.kind}:acme"

    def table(self, url: str) -> dict[str, Any]:
        """Returns its table of the desks file."""
        table = {"source": self.source, "url": url, "webhook_secret": self._variable("WEBHOOK"), "token": self.variable}
        return {**table, "fields": dict(self.fields)} if self.fields else table

    @property
    def variable(self) -> str:
        """The variable that the token is looked for in."""
        return self._variable("TOKEN")

    @property
    def environment(self) -> dict[str, str]:
        """The secrets that its table names."""
        return {self._variable("WEBHOOK"): self.webhook_secret, self.variable: self.token}

    def _variable(self, of: str) -> str:
        return f"{self.kind.upper()}_{of}"

    def fill_in(self, ticket: str = TICKET, *, at: datetime | None = None, **asked: str) -> FormOnTicket:
        """Fills in the form of a ticket, which is made if it is not there; `at` is when."""
        if int(ticket) not in self.forms:
            self.forms[int(ticket)] = FormOnTicket()
            self.add_ticket(int(ticket))
        form = self.forms[int(ticket)]
        form.asked |= asked
        form.change()
        form.changed_at = at or form.changed_at
        return form

    @abstractmethod
    def add_ticket(self, ticket: int) -> None:
        """Makes a ticket that can be answered."""

    def values_of(self, ticket: int) -> dict[str, str]:
        """Returns what is filled in on a ticket by the desk's names; what was never filled in is not among them."""
        asked = self.forms[ticket].asked
        return {self.fields.get(name, f"countermand_{name}"): value for name, value in asked.items()}

    def changed(self, since: datetime) -> list[int]:
        """Returns the tickets that have changed since a moment, the one that changed first first."""
        found = [ticket for ticket, form in self.forms.items() if form.changed_at >= since]
        return sorted(found, key=lambda ticket: (self.forms[ticket].changed_at, ticket))

    def next(self, action: str, *faults: Fault) -> None:
        """Lets the next calls of an action go wrong, one fault each."""
        self._faults[action].extend(faults)

    def count(self, action: str) -> int:
        """Returns how often an action was asked for."""
        return sum(call.action == action for call in self.calls)

    def ours(self, ticket: str = TICKET) -> list[Comment]:
        """Returns the answers of ours that stand on a ticket."""
        return [comment for comment in self.comments(ticket) if comment.mark or "[countermand:" in comment.text]

    def route(self, method: str, path: str, action: str, handler: Handler) -> Route:
        """Returns a route of the API; `{ticket}` in the path is the ticket."""

        async def endpoint(request: Request) -> Response:
            ticket = unquote(request.path_params.get("ticket", ""))
            body, path = await request.body(), request.path_params
            call = Call(action, ticket, request.query_params, request.headers, body, path)
            # In a thread, for a fault may wait, and others must be answered meanwhile.
            return await run_in_threadpool(self._answer, call, handler)

        return Route(self.root + path, endpoint, methods=[method])

    def _answer(self, call: Call, handler: Handler) -> Response:
        with self._lock:
            self.calls.append(call)
            faults = self._faults[call.action]
            fault = faults.popleft() if faults else None

        def act() -> Response:
            with self._lock:
                return self.unauthorized(call) or handler(call)

        return fault(act) if fault else act()

    @abstractmethod
    def routes(self) -> Sequence[Route]:
        """Returns the calls that it knows."""

    @abstractmethod
    def unauthorized(self, call: Call) -> Response | None:
        """Returns its refusal of a wrong key; None for the right one."""

    @abstractmethod
    def comments(self, ticket: str) -> Sequence[Comment]:
        """Returns what stands on a ticket, oldest first."""

    @abstractmethod
    def tags(self, ticket: str) -> Sequence[str]:
        """Returns the tags of a ticket."""

    @abstractmethod
    def others_write(self, count: int, ticket: str = TICKET) -> None:
        """Lets a customer write so many comments on a ticket."""


def basic(user: str, password: str) -> str:
    """Returns the value of Authorization for a name and a password."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def plain(markup: str) -> str:
    """Returns the text that a desk makes of HTML: comments and tags are lost, a paragraph is a line."""
    without_comments = re.sub(r"<!--.*?-->", "", markup, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", "", without_comments.replace("</p>", "\n"))).strip()


def number(ticket: Any) -> int | None:
    """Returns the number of a ticket as a strict API reads it."""
    text = str(ticket)
    return int(text) if text.isascii() and text.isdecimal() else None


def number_in_rails(ticket: Any) -> int | None:
    """Returns the number of a ticket as ActiveRecord casts it: what follows the digits is dropped."""
    digits = re.match(r"\s*([0-9]+)", str(ticket))
    return int(digits[1]) if digits else None
