"""`GET /requests/{source}/{id}`, `/healthz`, `/readyz`: who may read, and what is shown."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from configuration.settings import settings
from database.transactions import in_transaction
from desks.registry import Helpdesks
from orders.reading import show_request
from orders.views import to_json
from tests.builders import EMAIL, a_request, an_order, deliver, load, settle
from tests.readiness import READY, services
from tests.serving import answer_of, connected, serving

TOKEN, PREVIOUS = "a-token-to-read-with", "a-token-of-yesterday"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(autouse=True)
def _tokens(system: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COUNTERMAND_API_TOKEN", TOKEN)
    monkeypatch.setenv("COUNTERMAND_API_TOKEN_PREVIOUS", PREVIOUS)
    settings.cache_clear()
    yield
    settings.cache_clear()


def path_of(source: str, request_id: str) -> str:
    return f"/requests/{quote(source, safe='')}/{quote(request_id, safe='')}"


def ask(http: httpx2.Client, path: str, **headers: str) -> tuple[int, Any]:
    """Sends a path as it is, which a client of good manners may not do."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**AUTHORIZED, **headers, "Host": "countermand"}.items())
    with connected(http.base_url) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
        status, body = answer_of(connection)
    return status, json.loads(body)


# What is shown


def test_a_request_is_shown_as_the_command_shows_it(http: httpx2.Client) -> None:
    load(an_order())
    event = a_request()
    deliver(event)
    for _ in ("received", "decided"):
        shown = http.get(path_of(event["source"], event["id"]), headers=AUTHORIZED)
        assert shown.status_code == 200
        found = in_transaction(show_request, event["source"], event["id"])
        assert found is not None
        assert shown.json() == to_json(found)
        settle()
    decided = http.get(path_of(event["source"], event["id"]), headers=AUTHORIZED).json()
    assert (decided["outcome"], decided["notification"]["visibility"]) == ("applied", "public")


_IDS = [
    "a/b",
    "100%",
    "%2F",
    "a%2Fb",
    "é ü €",
    "😀",
    "a?b=c&d",
    "#1",
    "a+b",
    "..",
    ".",
    "~",
    "\\",
    "'; --",
    "a\u2028b",
    "a:b",
]


def test_source_and_id_may_hold_any_character_that_a_message_may(http: httpx2.Client) -> None:
    for number, one in enumerate(_IDS):
        for source, request_id in ((one, f"id-{number}"), (f"source-{number}", one), (one, one)):
            deliver(a_request(source=source, id=request_id))
            status, shown = ask(http, path_of(source, request_id))
            assert (status, shown.get("source"), shown.get("id")) == (200, source, request_id)


def test_a_longest_key_is_found(http: httpx2.Client) -> None:
    deliver(a_request(source="€" * 255, id="😀" * 255))
    assert ask(http, path_of("€" * 255, "😀" * 255))[0] == 200


def test_a_slash_of_the_path_is_none_of_an_id(http: httpx2.Client) -> None:
    deliver(a_request(source="a", id="b/c"), a_request(source="a/b", id="c"))
    assert ask(http, "/requests/a/b/c")[0] == 404
    assert ask(http, "/requests/a/b%2Fc")[1]["id"] == "b/c"
    assert ask(http, "/requests/a%2Fb/c")[1]["id"] == "c"


_NOWHERE = [
    "/requests/zendesk:acme/unknown",
    "/requests/zendesk:acme/%00",
    "/requests/%00/x",
    "/requests/zendesk:acme/a%00b",
    "/requests/zendesk:acme/%FF",
    "/requests/%C3/x",
    "/requests/%ED%A0%80/x",
    "/requests/zendesk:acme/%",
    "/requests/zendesk:acme/%zz",
    "/requests/zendesk:acme/x%0A",
    "/requests/zendesk:acme/%0Ax",
    "/requests/zendesk:acme",
    "/requests/zendesk:acme/",
    "/requests//",
    "/requests//x",
    "/requests/",
    "/requests",
    "/requests/a/b/c",
    "/requests/a/b/",
    "/requests/../requests/a/b",
    "/requests/" + "a" * 20_000 + "/" + "b" * 20_000,
    "//requests/a/b",
    "/Requests/a/b",
]


def test_what_is_not_known_is_answered_404(http: httpx2.Client) -> None:
    for path in _NOWHERE:
        status, reported = ask(http, path)
        assert (path, status, reported.keys()) == (path, 404, {"error"})


def test_a_query_makes_no_difference(http: httpx2.Client) -> None:
    event = a_request(id="1")
    deliver(event)
    for query in ("?", "?id=2", "?a/b/c", "?%00", "?token=" + TOKEN):
        assert ask(http, f"/requests/zendesk:acme/1{query}")[0] == 200


# Who may read


_REFUSED = [
    "",
    "Bearer",
    "Bearer ",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    f"Bearer {TOKEN.upper()}",
    f"Bearer{TOKEN}",
    f"Basic {TOKEN}",
    TOKEN,
    f"Bearer {TOKEN},{TOKEN}",
    f"Bearer Bearer {TOKEN}",
    f"Bearer é{TOKEN}",
    f"Bearer {TOKEN}\u00a0{TOKEN}",
    "Bearer None",
    "Bearer " + "x" * 30_000,
]


def test_without_the_token_nobody_learns_whether_there_is_such_a_request(http: httpx2.Client) -> None:
    load(an_order())
    event = a_request(id="known")
    deliver(event)
    settle()
    reported = set()
    for authorization in _REFUSED:
        for one in ("known", "unknown", "a/b/c", "%00"):
            status, answer = ask(http, f"/requests/zendesk:acme/{one}", Authorization=authorization)
            assert (authorization, status) == (authorization, 401)
            reported.add(answer["error"])
    without = http.get("/requests/zendesk:acme/known")
    assert (without.status_code, without.headers["www-authenticate"]) == (401, "Bearer")
    assert reported | {without.json()["error"]} == {"expected header Authorization: Bearer and the API token"}


def test_the_current_and_the_previous_token_are_taken(http: httpx2.Client) -> None:
    deliver(a_request(id="1"))
    for authorization in (f"Bearer {TOKEN}", f"Bearer {PREVIOUS}", f"bearer {TOKEN}", f"BEARER  {TOKEN} "):
        assert ask(http, "/requests/zendesk:acme/1", Authorization=authorization)[0] == 200


def test_a_token_that_is_not_set_lets_nobody_read(http: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(a_request(id="1"))
    for current, previous in ((None, None), ("", "")):
        for name, value in (("COUNTERMAND_API_TOKEN", current), ("COUNTERMAND_API_TOKEN_PREVIOUS", previous)):
            monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
        settings.cache_clear()
        for authorization in ("Bearer ", "Bearer", f"Bearer {TOKEN}", "Bearer None"):
            status, reported = ask(http, "/requests/zendesk:acme/1", Authorization=authorization)
            assert (status, "COUNTERMAND_API_TOKEN is not set" in reported["error"]) == (401, True)
        assert http.get("/requests/zendesk:acme/1").headers["www-authenticate"] == "Bearer"


def test_a_previous_token_alone_is_taken_too(http: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(a_request(id="1"))
    monkeypatch.delenv("COUNTERMAND_API_TOKEN")
    settings.cache_clear()
    assert ask(http, "/requests/zendesk:acme/1", Authorization=f"Bearer {PREVIOUS}")[0] == 200
    assert ask(http, "/requests/zendesk:acme/1")[0] == 401


def test_an_answer_holds_no_secret_and_no_address_of_a_customer(http: httpx2.Client) -> None:
    event = a_request(id="1")
    deliver(event)
    status, shown = ask(http, "/requests/zendesk:acme/1")
    assert status == 200
    assert not any(one in json.dumps(shown) for one in (TOKEN, PREVIOUS, EMAIL))


def test_reading_is_all_that_can_be_done_there(http: httpx2.Client) -> None:
    deliver(a_request(id="1"))
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = http.request(method, "/requests/zendesk:acme/1", headers=AUTHORIZED)
        assert (answer.status_code, sorted(answer.headers["allow"].split(", "))) == (405, ["GET", "HEAD"])
        assert answer.json().keys() == {"error"}


def test_a_head_is_answered_as_a_get_without_its_body(http: httpx2.Client) -> None:
    deliver(a_request(id="1"))
    head, get = (http.request(method, "/requests/zendesk:acme/1", headers=AUTHORIZED) for method in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    assert http.head("/requests/zendesk:acme/1").status_code == 401


def test_what_breaks_is_reported_without_details_and_the_log_has_them(
    six_desks: Helpdesks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise LookupError(EMAIL)

    monkeypatch.setattr("web.requests.show_request", fail)
    # It is logged after it is answered: at the latest when the server has ended.
    with serving(six_desks) as url:
        answer = httpx2.get(f"{url}/requests/zendesk:acme/1", headers=AUTHORIZED)
    assert (answer.status_code, answer.json().keys()) == (500, {"error"})
    assert EMAIL not in answer.text
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


# Whether it lives


def test_health_is_told_to_everybody(http: httpx2.Client) -> None:
    for path, reported in (("/healthz", {"ok": True}), ("/readyz", READY)):
        answer = http.get(path)
        assert (answer.status_code, services(answer)) == (200, reported)
        assert http.head(path).status_code == 200
        assert http.post(path).status_code == 405
