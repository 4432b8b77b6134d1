"""openapi.json says what the HTTP side does: its routes, the headers it asks for, every status and its body."""

import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx2
import pytest
from pydantic import SecretStr, TypeAdapter
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.routing import Route

from configuration.settings import Settings
from desks.desk import Desk, Unauthorized, Webhook
from desks.registry import Helpdesks, kinds
from orders.messages import MAX_MESSAGE_BYTES, parse_change
from orders.views import RequestShown
from tasks.running.progress import EXPECTED
from tasks.webhooks import Receipt, Received
from tests.builders import encoded
from tests.openapi import OPENAPI, check_answer, check_response, operation
from tools.specs.desks import DESKS
from tools.specs.examples import ANSWERS
from tools.specs.files import ROOT
from web import health, models, requests, tokens, webhooks
from web.app import make_app

WEBHOOK, READ, HEALTH, READY = "POST /webhooks/{desk}", "GET /requests/{source}/{id}", "GET /healthz", "GET /readyz"
TOKEN = {"Authorization": "Bearer sesame"}


def a_desk(kind: str) -> Desk:
    table: dict[str, Any] = {"source": "zendesk:acme", "webhook_secret": "SECRET"}
    of_kind = kinds()[kind]
    return of_kind(kind, of_kind.config_type.model_validate(table), {"SECRET": "whsec_" + "c2VjcmV0" * 4})


def a_proven_desk() -> Desk:
    """A desk for which nothing need be proved; what proves a delivery is tested elsewhere."""

    class Proven(kinds()["freshdesk"]):  # type: ignore[misc]  # found by its name
        def verify(self, webhook: Webhook) -> None:
            """Believes everything."""

    desk = a_desk("freshdesk")
    desk.__class__ = Proven
    return desk


# Routes


def routes() -> set[str]:
    """The application's routes, with their parameters as openapi.json has them."""
    # A request's key is one parameter to the router, for either half may hold a slash.
    reported = {"/requests/{key:path}": "/requests/{source}/{id}"}
    return {
        f"{method} {reported.get(route.path, route.path)}"
        for route in make_app(Helpdesks()).routes
        if isinstance(route, Route) and route.methods
        # Starlette answers HEAD wherever it answers GET.
        for method in route.methods - {"HEAD"}
    }


def test_every_route_is_in_the_file_and_every_path_of_the_file_is_a_route() -> None:
    described = {f"{method.upper()} {path}" for path, item in OPENAPI["paths"].items() for method in item}
    assert described == routes() == {WEBHOOK, READ, HEALTH, READY}


def test_every_status_of_a_webhook_is_in_the_documents_and_no_other() -> None:
    document = (ROOT / "docs" / "desks.md").read_text(encoding="utf-8")
    table = document.partition("| answer | means |")[2].partition("\n\n")[0]
    answers = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    reported = {status for answer in answers for status in re.findall(r"\b\d{3}\b", answer)}
    # What the server answers before the application, and Starlette for any route, is no route's to describe.
    assert reported == {*operation("POST", "/webhooks/acme")["responses"], "400", "405"}


# Desks


class _Asked(dict[str, str]):
    """Headers that note which of them are asked for, and let no signature fit."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __missing__(self, name: str) -> str:
        self.names.append(name)
        return ""


def test_every_kind_of_desk_is_described() -> None:
    assert DESKS.keys() == kinds().keys()


@pytest.mark.parametrize("kind", DESKS)
def test_the_security_schemes_of_a_desk_are_the_headers_that_it_asks_for(kind: str) -> None:
    asked = _Asked()
    with pytest.raises(Unauthorized):
        a_desk(kind).verify(Webhook(asked, b"{}", datetime.now(UTC)))
    schemes = OPENAPI["components"]["securitySchemes"]
    assert {schemes[scheme]["name"].lower() for scheme in DESKS[kind].headers} == set(asked.names)
    assert {scheme: [] for scheme in DESKS[kind].headers} in operation("POST", "/webhooks/acme")["security"]


@pytest.mark.parametrize("kind", DESKS)
def test_an_example_of_a_webhook_is_read_by_its_desk_as_a_change_request(kind: str) -> None:
    content = operation("POST", "/webhooks/acme")["requestBody"]["content"]["application/json"]
    body = encoded(content["examples"][kind]["value"])
    message = parse_change(a_desk(kind).read(Webhook({}, body, datetime.now(UTC))))
    assert (message.data.order, message.data.requester) == ("536365", "jane@example.com")


# Answers: each row provokes one


def _send(**more: Any) -> Callable[[Starlette], httpx2.Response]:
    return lambda app: _ask(app, "POST", "/webhooks/acme", **{"content": b"{}", **more})


def _stream(pieces: Callable[[], AsyncIterator[bytes]]) -> Callable[[Starlette], httpx2.Response]:
    return lambda app: _ask(app, "POST", "/webhooks/acme", content=pieces())


def _read(path: str = "/requests/zendesk%3Aacme/88121-1", **headers: str) -> Callable[[Starlette], httpx2.Response]:
    return lambda app: _ask(app, "GET", path, headers=headers or TOKEN)


def _ask(app: Any, method: str, path: str, **how: Any) -> httpx2.Response:
    async def ask() -> httpx2.Response:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://countermand") as client:
            return await client.request(method, path, **how)

    return anyio.run(ask)


async def _in_pieces() -> AsyncIterator[bytes]:
    for _ in range(MAX_MESSAGE_BYTES // 1024 + 1):
        yield b" " * 1024


async def _never_ending() -> AsyncIterator[bytes]:
    yield b"{"
    await anyio.sleep_forever()


def _receipt(received: Received, request: Any = None, reason: str | None = None) -> Callable[..., Receipt]:
    return lambda *_: Receipt(received, request, reason)


def _raise(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


async def _yes() -> bool:
    return True


async def _no() -> bool:
    return False


async def _all_get_on() -> dict[str, float]:
    return dict.fromkeys(EXPECTED, 1.0)


async def _nobody_gets_on() -> dict[str, float]:
    return {"beat": 61.0}


_SERVICES = {"_database_takes_writes": _yes, "_broker_answers": _yes}


AWAY = OperationalError("SELECT 1", None, Exception("the server closed the connection"))
FAULT = RuntimeError("a fault of ours")
NOTHING: dict[str, Any] = {}
_A_REQUEST = TypeAdapter(RequestShown).validate_json(encoded(ANSWERS["RequestShown"]))

# Operation and status, what makes the application answer so, and how it is asked.
PROVOKED: list[tuple[str, int, dict[str, Any], Callable[[Starlette], httpx2.Response]]] = [
    (WEBHOOK, 200, {"receive": _receipt(Received.REPEATED, ANSWERS["RequestShown"])}, _send()),
    (WEBHOOK, 200, {"receive": _receipt(Received.IGNORED, reason="an event that is none of ours")}, _send()),
    (WEBHOOK, 202, {"receive": _receipt(Received.NEW, ANSWERS["Accepted"])}, _send()),
    (WEBHOOK, 401, {"receive": _raise(Unauthorized("header X is missing"))}, _send()),
    (WEBHOOK, 404, NOTHING, lambda app: _ask(app, "POST", "/webhooks/another", content=b"{}")),
    (WEBHOOK, 408, {"_BODY_SECONDS": 0.01}, _stream(_never_ending)),
    (WEBHOOK, 409, {"receive": _receipt(Received.CONFLICT, reason="known with other data")}, _send()),
    (WEBHOOK, 413, NOTHING, _send(content=b" " * (MAX_MESSAGE_BYTES + 1))),
    (WEBHOOK, 413, NOTHING, _stream(_in_pieces)),
    (WEBHOOK, 200, {"receive": _receipt(Received.UNUSABLE, reason="the body is not JSON")}, _send()),
    (WEBHOOK, 500, {"receive": _raise(FAULT)}, _send()),
    (WEBHOOK, 503, {"receive": _raise(AWAY)}, _send()),
    (READ, 200, {"reading": lambda *_: _A_REQUEST}, _read()),
    (READ, 401, NOTHING, _read(Authorization="Bearer another")),
    (READ, 401, {"settings": Settings}, _read()),
    (READ, 404, {"reading": lambda *_: None}, _read()),
    (READ, 404, NOTHING, _read("/requests/zendesk%3Aacme/%FF")),
    (READ, 429, {"_MOST_OF_AN_ADDRESS": 0}, _read()),
    (READ, 500, {"reading": _raise(FAULT)}, _read()),
    (READ, 503, {"reading": _raise(AWAY)}, _read()),
    (HEALTH, 200, NOTHING, lambda app: _ask(app, "GET", "/healthz")),
    (READY, 200, {**_SERVICES, "_ages": _all_get_on}, lambda app: _ask(app, "GET", "/readyz")),
    (READY, 503, {**_SERVICES, "_ages": _nobody_gets_on}, lambda app: _ask(app, "GET", "/readyz")),
    (READY, 503, {**_SERVICES, "_database_takes_writes": _no}, lambda app: _ask(app, "GET", "/readyz")),
]
MODULES = {WEBHOOK: webhooks, READ: requests, HEALTH: health, READY: health}


@pytest.mark.parametrize(("asked", "status", "changed", "ask"), PROVOKED, ids=lambda one: one if one else "")
def test_an_answer_is_as_the_file_describes_it(
    asked: str,
    status: int,
    changed: dict[str, Any],
    ask: Callable[[Starlette], httpx2.Response],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "settings", lambda: Settings(api_token=SecretStr("sesame")))
    monkeypatch.setattr(tokens, "_SLOWED_SECONDS", 0.0)
    monkeypatch.setattr(webhooks, "wake", lambda _: None)
    for name, value in changed.items():
        monkeypatch.setattr(next(one for one in (MODULES[asked], tokens) if hasattr(one, name)), name, value)
    response = ask(make_app(Helpdesks({"acme": a_proven_desk()})))
    assert response.status_code == status
    check_response(response)


@pytest.mark.parametrize("asked", MODULES)
def test_every_status_that_is_described_was_provoked_and_no_other(asked: str) -> None:
    provoked = {str(status) for one, status, _, _ in PROVOKED if one == asked}
    assert provoked == operation(*asked.split()).get("responses", {}).keys()


def test_every_status_that_stands_in_the_code_is_described() -> None:
    written = {
        status
        for module in ("webhooks", "requests", "database", "health", "room", "tokens")
        for status in re.findall(
            r"(?:HTTPException|JSONResponse)\([^)]*?\b([2-5]\d\d)\b",
            (ROOT / "web" / f"{module}.py").read_text(),
        )
    }
    described = {status for asked in MODULES for status in operation(*asked.split())["responses"]}
    assert {"202", "401", "409", "503"} <= written <= described


def test_the_time_to_wait_is_reported_when_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "receive", _raise(AWAY))
    response = _send()(make_app(Helpdesks({"acme": a_proven_desk()})))
    assert int(response.headers["Retry-After"]) > 0
    assert "Retry-After" in operation("POST", "/webhooks/acme")["responses"]["503"]["headers"]


def test_the_check_would_tell_a_field_or_a_status_that_nobody_has_described() -> None:
    check_answer("GET", "/readyz", 200, ANSWERS["Ready"])
    with pytest.raises(Exception, match="'colour' was unexpected"):
        check_answer("GET", "/readyz", 200, {**ANSWERS["Ready"], "colour": "red"})
    with pytest.raises(Exception, match="is a required property"):
        check_answer("GET", "/requests/a/b", 200, ANSWERS["Accepted"])
    with pytest.raises(AssertionError, match="answers 418"):
        check_answer("GET", "/readyz", 418, {})


@pytest.mark.parametrize("name", ANSWERS)
def test_an_example_of_an_answer_is_one_by_its_model(name: str) -> None:
    model = RequestShown if name == RequestShown.__name__ else getattr(models, name)
    TypeAdapter(model).validate_json(encoded(ANSWERS[name]), extra="forbid")
