"""Answers of the HTTP side on a real database are as openapi.json describes them, field by field."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from pydantic import TypeAdapter
from sqlalchemy import text
from starlette.testclient import TestClient

from configuration.settings import settings
from database.transactions import in_transaction
from desks.registry import Helpdesks, kinds
from orders.views import RequestShown
from tests.builders import EMAIL, a_request, an_address, an_order, decide_all, deliver, encoded, load, settle
from tests.openapi import check_response
from tests.readiness import everybody_gets_on
from web.app import make_app
from workers.embedded import Services

SECRET = "a secret of sixteen"
ASKED = {"ticket": "88121", "order": "1001", "kind": "cancel", "requester": EMAIL, "note": "Ordered twice", "id": "1"}


@pytest.fixture
def http(system: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The application with one desk, asked by somebody who knows the API token."""
    monkeypatch.setenv("COUNTERMAND_API_TOKEN", "sesame")
    settings.cache_clear()
    kind = kinds()["freshdesk"]
    config = kind.config_type.model_validate({"source": "freshdesk:acme", "webhook_secret": "SECRET"})
    desk = kind("acme", config, {"SECRET": SECRET})
    headers = {"Authorization": "Bearer sesame", "X-Countermand-Secret": SECRET}
    everybody_gets_on()
    with TestClient(make_app(Helpdesks({"acme": desk})), headers=headers) as client:
        yield client
    settings.cache_clear()


def read(http: TestClient, event: dict[str, Any]) -> dict[str, Any]:
    response = http.get(f"/requests/{quote(event['source'], safe='')}/{quote(event['id'], safe='')}")
    assert response.status_code == 200
    check_response(response)
    TypeAdapter(RequestShown).validate_json(response.content, extra="forbid")
    shown: dict[str, Any] = response.json()
    return shown


def posted(http: TestClient, body: dict[str, Any]) -> httpx2.Response:
    response = http.post("/webhooks/acme", content=encoded(body))
    check_response(response)
    return response


def test_a_request_is_shown_as_described_from_its_arrival_to_its_last_effect(http: TestClient) -> None:
    load(an_order())
    event = a_request(source="a desk/of slashes", id="7/8 ü")
    deliver(event)
    received = read(http, event)
    assert (received["state"], received["outcome"], received["effects"]) == ("received", None, [])
    decide_all()
    decided = read(http, event)
    assert (decided["state"], decided["outcome"], decided["notification"]) == ("decided", "applied", None)
    settle()
    reported = read(http, event)
    assert [one["state"] for one in reported["effects"]] == ["done", "done"]
    assert reported["notification"]["state"] == "sent"


@pytest.mark.parametrize(
    "changes",
    [
        {"note": None},
        {"requester": "stranger@example.com"},
        {"kind": "partial_cancel"},
        {"kind": "change_items", "ticket": None},
        {"kind": "change_address", "addresses": {"shipping": an_address(), "billing": an_address(city="Bonn")}},
        {"kind": "change_address", "addresses": {"shipping": an_address(line1="Hofstraße 6"), "billing": {}}},
    ],
    ids=str,
)
def test_a_request_of_any_outcome_is_shown_as_described(http: TestClient, changes: dict[str, Any]) -> None:
    load(an_order())
    event = a_request(**changes)
    deliver(event)
    settle()
    assert read(http, event)["state"] == "decided"


def test_a_parked_request_is_shown_as_described(http: TestClient) -> None:
    event = a_request()
    deliver(event)
    park = (
        "UPDATE change_request SET state = 'parked', parked_at = now(), reasons = '{unknown_order}', error = 'no order'"
    )
    in_transaction(lambda connection: connection.execute(text(park)))
    shown = read(http, event)
    assert (shown["state"], shown["reasons"], shown["error"]) == ("parked", ["unknown_order"], "no order")


def test_a_webhook_is_answered_as_described_whatever_becomes_of_it(http: TestClient) -> None:
    load(an_order())
    assert posted(http, ASKED).status_code == 202
    assert posted(http, ASKED).json()["state"] == "received"
    settle()
    assert posted(http, ASKED).json()["outcome"] == "applied"
    assert posted(http, {**ASKED, "comment": "[countermand:acme/1]", "author": "bot@acme.example"}).status_code == 200
    assert posted(http, {**ASKED, "note": "Ordered thrice"}).status_code == 409
    assert posted(http, {**ASKED, "kind": "refund"}).json()["state"] == "dead_letter"


def test_whether_the_process_is_well_is_answered_as_described(http: TestClient) -> None:
    for path in ("/healthz", "/readyz"):
        response = http.get(path)
        assert response.status_code == 200
        check_response(response)
