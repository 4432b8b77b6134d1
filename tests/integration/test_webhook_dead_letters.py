"""Dead letters of webhooks: what a desk sent is read by that desk's module anew, once its cause is mended."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from cli.dead_letters import requeue
from orders.messages import MAX_MESSAGE_BYTES
from tasks.webhooks import Received, receive
from tests.builders import an_order, deliver, load, request, rows, settle
from tests.deliveries import BOT, DESKS, Delivery, a_delivery, a_payload, configured, desks_file, environment, sign
from workers.broker import STREAM
from workers.embedded import Services
from workers.errors import UsageError


class Shop:
    """One installation, whose desks file a test mends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, broker_url: str) -> None:
        self._where = monkeypatch, folder
        self._broker_url = broker_url

    def receives(self, delivery: Delivery, **changes: Any) -> Received:
        """Takes a delivery as the web application does; `changes` are made to the desk's table."""
        with configured(*self._where, {delivery.desk: changes}) as desks:
            return receive(desks.desks[delivery.desk], delivery.webhook(datetime.now(UTC))).received

    def requeues(self, **changes: dict[str, Any]) -> list[dict[str, Any]]:
        """Requeues every dead letter by the command; returns what was published, taken by the inbox again."""
        letters = [row.id for row in rows("SELECT id FROM dead_letter WHERE state = 'new' ORDER BY id")]
        with configured(*self._where, changes):
            assert [requeue(letter, as_json=True) for letter in letters] == [0] * len(letters)
        with Redis.from_url(self._broker_url) as broker:
            entries: Any = broker.xrange(STREAM)
            broker.delete(STREAM)
        published = [fields[b"event"] for _, fields in entries]
        deliver(*published)
        return [json.loads(event) for event in published]


@pytest.fixture
def shop(system: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """An installation with the test's own database and broker."""
    return Shop(monkeypatch, tmp_path, system.broker_url)


def letters() -> list[tuple[str, str, str]]:
    return [(row.origin, row.reason, row.state) for row in rows("SELECT * FROM dead_letter ORDER BY id")]


@pytest.mark.parametrize("desk", ["zammad", "chatwoot"])
def test_a_delivery_that_its_desk_can_read_now_is_decided_in_the_end(shop: Shop, desk: str) -> None:
    load(an_order())
    delivery = a_delivery(desk)
    assert shop.receives(delivery, fields={"order": "bestellung"}) is Received.UNUSABLE
    assert letters() == [(f"webhook:{desk}", "invalid_message", "new")]
    [event] = shop.requeues()
    settle()
    assert request(event)["reasons"] == ["order_cancelled"]
    assert letters() == [(f"webhook:{desk}", "invalid_message", "requeued")]
    # The desk tries again, or the trigger fires a second time.
    assert shop.receives(delivery) is Received.REPEATED


def test_a_request_of_a_dead_letter_was_asked_when_it_came(shop: Shop) -> None:
    payload = a_payload("chatwoot") | {"updated_at": None}
    shop.receives(sign("chatwoot", json.dumps(payload).encode()), fields={"order": "bestellung"})
    [row] = rows("SELECT at FROM dead_letter")
    [event] = shop.requeues()
    assert datetime.fromisoformat(event["time"]) == row.at


@pytest.mark.parametrize("desk", DESKS)
def test_what_its_desk_still_cannot_read_stays_where_it_is(
    shop: Shop, desk: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for body in (b"{", b"{}", json.dumps(a_payload(desk, kind="refund")).encode()):
        assert shop.receives(sign(desk, body)) is Received.UNUSABLE
    for row in rows("SELECT id FROM dead_letter"):
        with configured(monkeypatch, tmp_path), pytest.raises(UsageError, match="still holds no change request"):
            requeue(row.id)
    assert {state for _, _, state in letters()} == {"new"}


def test_what_asks_for_nothing_by_now_stays_where_it_is(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shop.receives(a_delivery("zendesk", author=BOT, kind="refund"), user="someone@acme.example")
    [row] = rows("SELECT id FROM dead_letter")
    with configured(monkeypatch, tmp_path), pytest.raises(UsageError, match="an answer of our own"):
        requeue(row.id)


def test_a_letter_of_a_desk_that_is_gone_names_the_desk(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shop.receives(sign("zammad", b"{}"))
    rows("UPDATE dead_letter SET origin = 'webhook:old-zammad' RETURNING id")
    [row] = rows("SELECT id FROM dead_letter")
    reported = f"dead letter {row.id} came by the webhook of desk old-zammad, which is not configured"
    with configured(monkeypatch, tmp_path), pytest.raises(UsageError, match=reported):
        requeue(row.id)


def test_a_letter_is_requeued_without_any_secret_and_whatever_is_wrong_with_other_desks(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shop.receives(a_delivery("zammad"), fields={"order": "bestellung"})
    [row] = rows("SELECT id FROM dead_letter")
    with configured(monkeypatch, tmp_path):
        for name in environment():
            monkeypatch.delenv(name)
        (tmp_path / "desks.toml").write_text(desks_file({"zendesk": {"source": "shop"}}))
        assert requeue(row.id, as_json=True) == 0
    assert letters() == [("webhook:zammad", "invalid_message", "requeued")]


def test_a_conflict_is_published_as_the_request_that_it_is(shop: Shop) -> None:
    shop.receives(a_delivery("zendesk", id="7"))
    assert shop.receives(a_delivery("zendesk", id="7", note="Something else")) is Received.CONFLICT
    [event] = shop.requeues()
    assert (event["id"], event["data"]["note"]) == ("7", "Something else")
    assert len(rows("SELECT id FROM change_request")) == 1


def test_a_letter_that_was_requeued_and_comes_again_is_new_again(shop: Shop) -> None:
    delivery = a_delivery("zammad")
    shop.receives(delivery, fields={"order": "bestellung"})
    shop.requeues()
    shop.receives(delivery, fields={"order": "bestellung"})
    assert letters() == [("webhook:zammad", "invalid_message", "new")]


def test_a_payload_that_grows_too_large_by_escaping_is_a_dead_letter_too(shop: Shop) -> None:
    body = json.dumps(a_payload("zendesk", note="X")).encode().replace(b"X", b"\x01" * (MAX_MESSAGE_BYTES // 2))
    assert shop.receives(sign("zendesk", body)) is Received.UNUSABLE
    assert letters() == [("webhook:zendesk", "too_large", "new")]
    assert [bytes(row.raw) for row in rows("SELECT raw FROM dead_letter")] == [body]


def test_the_same_bytes_at_two_desks_are_two_letters(shop: Shop) -> None:
    for desk in ("zendesk", "shop", "zendesk"):
        shop.receives(sign(desk, b"{}"))
    assert [origin for origin, _, _ in letters()] == ["webhook:zendesk", "webhook:shop"]
