"""`POST /webhooks/{desk}` over real HTTP: who is answered what, and what is kept by then."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import httpx2
import pytest

from orders.messages import MAX_MESSAGE_BYTES
from tasks.running.wakeups import WakeUp
from tests.builders import EMAIL, an_address, an_order, load, order, request, rows, settle
from tests.deliveries import BOT, DESKS, PROOF, TABLES, TIMED, a_delivery, a_payload, a_secret, environment, sign
from tests.serving import answer_of, connected, head_of, send
from web import webhooks

EACH = pytest.mark.parametrize("desk", DESKS)
# Whose payload may bring an id of its own.
KEYED = pytest.mark.parametrize("desk", ["zendesk", "freshdesk", "gorgias", "shop"])


def taken() -> list[tuple[str, str]]:
    return [(row.source, row.external_id) for row in rows("SELECT source, external_id FROM change_request ORDER BY id")]


def dead() -> list[tuple[str, str, bytes]]:
    letters = rows("SELECT origin, reason, raw FROM dead_letter ORDER BY id")
    return [(letter.origin, letter.reason, bytes(letter.raw)) for letter in letters]


def refused(answer: httpx2.Response, status: int) -> str:
    """Returns the words of a refusal, after which nothing is kept."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json().keys() == {"error"}
    assert (taken(), dead()) == ([], [])
    return str(answer.json()["error"])


# What is taken


@EACH
def test_a_signed_request_is_committed_when_202_is_answered(
    http: httpx2.Client, woken: list[WakeUp], desk: str
) -> None:
    answer = send(http, a_delivery(desk))
    assert answer.status_code == 202
    reported = answer.json()
    assert reported == {"source": TABLES[desk]["source"], "id": reported["id"], "state": "received"}
    assert taken() == [(reported["source"], reported["id"])]
    shown = request(reported)
    assert (shown["order"], shown["kind"], shown["ticket"], shown["state"]) == ("1001", "cancel", "88121", "received")
    assert woken == [WakeUp.APPLY_CHANGES]


@EACH
def test_a_repeat_is_answered_200_and_rings_for_nobody(http: httpx2.Client, woken: list[WakeUp], desk: str) -> None:
    delivery = a_delivery(desk)
    first, again = send(http, delivery), send(http, delivery)
    undecided: dict[str, Any] = {"outcome": None, "reasons": [], "advice": None, "decided_at": None}
    assert (again.status_code, again.json()) == (200, {**first.json(), **undecided})
    assert len(taken()) == 1
    assert len(woken) == 1


@EACH
def test_a_repeat_after_the_decision_carries_the_decision(http: httpx2.Client, desk: str) -> None:
    load(an_order())
    delivery = a_delivery(desk)
    key = send(http, delivery).json()
    settle()
    again = send(http, delivery)
    assert again.status_code == 200
    reported = again.json()
    assert (reported["state"], reported["outcome"], reported["reasons"]) == ("decided", "applied", ["order_cancelled"])
    shown = request(key)
    assert (reported["advice"], reported["decided_at"]) == (shown["advice"], shown["decided_at"])


def test_a_later_word_on_a_ticket_neither_asks_again_nor_undoes_what_another_ticket_asked_since(
    http: httpx2.Client,
) -> None:
    load(an_order())

    def comes(ticket: str, line1: str, written_at: str) -> httpx2.Response:
        wanted = {"shipping": an_address(line1=line1)}
        form = a_payload("gorgias", ticket=ticket, kind="change_address", addresses=wanted)
        # As a template has it that tells when the customer wrote last.
        answer = send(http, sign("gorgias", json.dumps({**form, "time": written_at}).encode()))
        settle()
        return answer

    first = comes("1", "Hofstraße 1", "2026-11-23T09:00:00")
    second = comes("2", "Hofstraße 2", "2026-11-23T09:30:00")
    thanks = comes("1", "Hofstraße 1", "2026-11-23T10:00:00")
    assert [answer.status_code for answer in (first, second, thanks)] == [202, 202, 200]
    assert thanks.json()["id"] == first.json()["id"]
    assert order()["shipping"]["line1"] == "Hofstraße 2"
    assert len(rows("SELECT FROM notification")) == 2


@EACH
def test_of_twenty_identical_deliveries_at_once_one_is_new(http: httpx2.Client, desk: str) -> None:
    delivery, together = a_delivery(desk), Barrier(20, timeout=30)

    def one() -> int:
        together.wait()
        return send(http, delivery).status_code

    with ThreadPoolExecutor(20) as threads:
        answers = [threads.submit(one) for _ in range(20)]
        assert sorted(answer.result(timeout=60) for answer in answers) == [200] * 19 + [202]
    assert len(taken()) == 1
    assert dead() == []


def test_of_twenty_requests_at_once_with_one_key_one_is_taken_and_the_others_are_dead_letters(
    http: httpx2.Client,
) -> None:
    together = Barrier(20, timeout=30)

    def one(number: int) -> int:
        delivery = a_delivery("shop", note=f"Note {number}")
        together.wait()
        return send(http, delivery).status_code

    with ThreadPoolExecutor(20) as threads:
        answers = [threads.submit(one, number) for number in range(20)]
        assert sorted(answer.result(timeout=60) for answer in answers) == [202] + [409] * 19
    assert len(taken()) == 1
    assert [reason for _, reason, _ in dead()] == ["conflicting_duplicate"] * 19


@EACH
def test_while_a_secret_is_changed_both_are_taken(http: httpx2.Client, desk: str) -> None:
    delivery = a_delivery(desk)
    assert send(http, sign(desk, delivery.body, secret=a_secret(desk, "previous"))).status_code == 202
    assert send(http, delivery).status_code == 200


_HEADERS = [
    {"content_type": "text/plain"},
    {"content_type": "multipart/form-data"},
    {"content_type": "application/x-www-form-urlencoded; charset=utf-7"},
    {"content_type": "é"},
    {"content_encoding": "gzip", "accept": "text/html", "expect": "100-continue"},
    {"upgrade": "websocket", "connection": "upgrade"},
]


@EACH
def test_the_body_is_what_counts_whatever_its_headers_say_of_it(http: httpx2.Client, desk: str) -> None:
    for number, headers in enumerate(_HEADERS):
        delivery = a_delivery(desk, order=f"{number}", id=f"{number}").with_headers(**headers)
        raw = {name.encode(): value.encode("latin-1") for name, value in delivery.headers.items()}
        answer = http.post(delivery.path, content=delivery.body, headers=raw)
        assert (headers, answer.status_code) == (headers, 202)


def test_what_a_chatwoot_visitor_asks_goes_to_a_colleague_and_tells_him_nothing_though_his_identifier_is_verified(
    http: httpx2.Client,
) -> None:
    load(an_order())
    payload = a_payload("chatwoot", requester=EMAIL)
    payload |= {"channel": "Channel::WebWidget"}
    payload["meta"]["hmac_verified"] = True
    payload["meta"]["sender"]["identifier"] = "42"
    key = send(http, sign("chatwoot", json.dumps(payload).encode())).json()
    settle()
    shown = request(key)
    assert (shown["outcome"], shown["reasons"]) == ("escalated", ["requester_is_not_the_customer"])
    assert shown["notification"]["visibility"] == "internal"
    assert order()["status"] == "validated"


def test_what_asks_for_nothing_is_answered_200_and_not_kept(http: httpx2.Client) -> None:
    for delivery in (
        a_delivery("zammad", order="", kind=""),
        a_delivery("chatwoot", order="", kind=""),
        a_delivery("zendesk", author=BOT),
    ):
        answer = send(http, delivery)
        assert (answer.status_code, answer.json()["state"]) == (200, "ignored")
        assert answer.json()["why"]
    assert (taken(), dead()) == ([], [])


# What is refused


_NO_DESKS = ["helpscout", "ZENDESK", "zendesk%20", "%00", "%C3%A9", "%FF", "%2e%2e", "zendesk%0A"]


def test_a_desk_that_is_not_configured_is_answered_404(http: httpx2.Client) -> None:
    for name in _NO_DESKS:
        assert refused(http.post(f"/webhooks/{name}", content=b"{}"), 404) == "no desk of this name is configured"


def test_any_other_path_is_answered_404(http: httpx2.Client) -> None:
    for path in (
        "/",
        "/webhooks",
        "/webhooks/",
        "/webhooks/zendesk/",
        "/webhooks/zendesk%2F",
        "/webhooks/a/b",
        "/docs/",
    ):
        refused(http.post(path, content=b"{}"), 404)


@EACH
def test_the_proof_is_asked_for_before_the_body_is_looked_at(http: httpx2.Client, desk: str) -> None:
    for body in (a_delivery(desk).body, b"", b"{", b"\xff" * 1000):
        assert "does not fit" in refused(send(http, sign(desk, body, secret=a_secret(desk, "other"))), 401)
        assert "is missing" in refused(http.post(f"/webhooks/{desk}", content=body), 401)
    # RFC 9110 asks for a challenge.
    challenge = http.post(f"/webhooks/{desk}").headers["www-authenticate"]
    assert challenge == f'Webhook realm="{desk}"'


@pytest.mark.parametrize("desk", TIMED)
def test_a_signature_of_another_time_is_answered_401(http: httpx2.Client, desk: str) -> None:
    for away in (timedelta(minutes=6), timedelta(minutes=-6)):
        delivery = sign(desk, a_delivery(desk).body, at=datetime.now(UTC) + away)
        assert "300 seconds away" in refused(send(http, delivery), 401)


@EACH
def test_a_header_that_is_sent_twice_proves_no_more_than_once(http: httpx2.Client, desk: str) -> None:
    delivery = a_delivery(desk)
    pairs = [*delivery.headers.items(), *((name, "x") for name in delivery.headers)]
    assert http.post(delivery.path, content=delivery.body, headers=pairs).status_code in (202, 401)
    wrong = [(name, "x") for name in delivery.headers]
    assert http.post(delivery.path, content=delivery.body, headers=wrong + wrong).status_code == 401


@EACH
def test_who_is_not_the_desk_learns_nothing_from_an_answer(http: httpx2.Client, desk: str) -> None:
    delivery = a_delivery(desk)
    assert send(http, delivery).status_code == 202
    secret = [
        *environment().values(),
        delivery.headers[PROOF[desk]],
        EMAIL,
        "1001",
        "88121",
        "Ordered twice",
        "applied",
    ]
    wrong = delivery.with_headers(**{PROOF[desk].replace("-", "_"): "wrong"})
    for answer in (
        send(http, wrong),
        send(http, replace(delivery, headers={})),
        send(http, replace(wrong, body=b"{")),
        send(http, replace(delivery, desk="unknown")),
        http.get(delivery.path, headers=dict(wrong.headers)),
        send(http, replace(wrong, body=bytes(MAX_MESSAGE_BYTES + 1))),
    ):
        assert answer.status_code in (401, 404, 405, 413)
        reported = f"{answer.headers} {answer.text}"
        assert [one for one in secret if one in reported] == []


_NO_REQUESTS = {
    b"": "not_json",
    b'{"ticket": "88121': "not_json",
    b"\xff\x00": "not_json",
    b"{}": "invalid_message",
    b'"cancel it"': "invalid_message",
    b'{"order": "1", "order": "2"}': "invalid_message",
}


@EACH
def test_a_signed_body_that_is_no_request_is_answered_200_and_kept_once_as_it_came(
    http: httpx2.Client, desk: str
) -> None:
    for body in _NO_REQUESTS:
        first, again = send(http, sign(desk, body)), send(http, sign(desk, body))
        # A desk that has 4xx too often sends nothing more, good forms included.
        assert (first.status_code, first.json().keys()) == (200, {"state", "error"})
        assert first.json()["state"] == "dead_letter"
        assert (again.status_code, again.json()) == (200, first.json())
    assert dead() == [(f"webhook:{desk}", reason, body) for body, reason in _NO_REQUESTS.items()]
    assert taken() == []


@EACH
def test_a_request_of_the_wrong_kind_is_answered_200_without_quoting_it(http: httpx2.Client, desk: str) -> None:
    answer = send(http, a_delivery(desk, kind="refund", note="Jane Doe", requester=EMAIL))
    assert (answer.status_code, answer.json()["state"]) == (200, "dead_letter")
    assert "kind" in answer.json()["error"]
    assert not any(value in answer.text for value in ("refund", "Jane", EMAIL))


@KEYED
def test_the_same_key_with_other_data_is_answered_409_and_the_first_stays(http: httpx2.Client, desk: str) -> None:
    first, other = a_delivery(desk, id="7"), a_delivery(desk, id="7", note="Something else")
    assert send(http, first).status_code == 202
    answer = send(http, other)
    assert answer.status_code == 409
    assert "7" in answer.json()["error"]
    assert "Something else" not in answer.text
    assert send(http, first).status_code == 200
    assert taken() == [(TABLES[desk]["source"], "7")]
    [(origin, reason, raw)] = dead()
    assert (origin, reason) == (f"webhook:{desk}", "conflicting_duplicate")
    assert json.loads(raw)["data"]["note"] == "Something else"


@KEYED
def test_a_conflict_that_is_delivered_again_is_one_dead_letter(http: httpx2.Client, desk: str) -> None:
    assert send(http, a_delivery(desk, id="7")).status_code == 202
    other = a_delivery(desk, id="7", note="Something else")
    assert [send(http, other).status_code for _ in range(3)] == [409] * 3
    assert len(dead()) == 1


def test_any_other_method_is_answered_405(http: httpx2.Client) -> None:
    delivery = a_delivery("zendesk")
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"):
        answer = http.request(method, delivery.path, content=delivery.body, headers=dict(delivery.headers))
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert method == "HEAD" or answer.json().keys() == {"error"}
    assert taken() == []


# Sizes and speeds


def _of_size(desk: str, size: int) -> bytes:
    body = json.dumps(a_payload(desk)).encode()
    return body[:-1] + b" " * (size - len(body)) + body[-1:]


@EACH
def test_a_body_of_256_kib_is_taken_and_one_byte_more_is_not_also_in_chunks(http: httpx2.Client, desk: str) -> None:
    for size, status in ((MAX_MESSAGE_BYTES + 1, 413), (MAX_MESSAGE_BYTES, 202)):
        delivery = sign(desk, _of_size(desk, size))
        chunks = (delivery.body[place : place + 5000] for place in range(0, size, 5000))
        assert http.post(delivery.path, content=chunks, headers=dict(delivery.headers)).status_code == status
        assert send(http, delivery).status_code == (413 if status == 413 else 200)
        assert len(taken()) == (status == 202)


def test_a_size_that_is_too_large_is_refused_before_the_body_is_sent(http: httpx2.Client) -> None:
    for size in ("262145", "9" * 20):
        with connected(http.base_url) as connection:
            connection.sendall(head_of(a_delivery("shop"), Content_Length=size))
            status, body = answer_of(connection)
        assert (status, json.loads(body).keys()) == (413, {"error"})


def test_a_body_without_an_end_is_refused_when_it_is_too_large(http: httpx2.Client) -> None:
    chunk = b"%x\r\n%s\r\n" % (65536, b" " * 65536)
    with connected(http.base_url) as connection:
        connection.sendall(head_of(a_delivery("shop"), Transfer_Encoding="chunked") + 5 * chunk)
        status, body = answer_of(connection)
    assert (status, json.loads(body).keys()) == (413, {"error"})


def test_a_body_that_takes_too_long_is_answered_408(http: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_BODY_SECONDS", 0.2)
    delivery = a_delivery("zendesk")
    with connected(http.base_url) as connection:
        connection.sendall(head_of(delivery, Content_Length="100") + delivery.body[:10])
        status, body = answer_of(connection)
    assert (status, json.loads(body).keys()) == (408, {"error"})
    assert (taken(), dead()) == ([], [])


def test_who_hangs_up_in_the_middle_of_a_body_leaves_nothing_behind(
    http: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    delivery = a_delivery("zendesk")
    for sent in (head_of(delivery, Content_Length="100") + delivery.body[:10], head_of(delivery, Content_Length="9")):
        with connected(http.base_url) as connection:
            connection.sendall(sent)
    assert send(http, delivery).status_code == 202
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_delivery_after_another_on_one_connection_is_another(http: httpx2.Client) -> None:
    one, other = a_delivery("shop", id="1"), a_delivery("zendesk")
    both = [head_of(each, Content_Length=str(len(each.body))) + each.body for each in (one, other)]
    with connected(http.base_url) as connection:
        for sent in both:
            connection.sendall(sent)
            assert answer_of(connection)[0] == 202
    assert len(taken()) == 2


def test_each_delivery_is_held_apart_from_a_replay_at_another_desk(http: httpx2.Client) -> None:
    for desk in DESKS:
        for other in DESKS:
            delivery = a_delivery(desk)
            if desk != other:
                moved = replace(delivery, desk=other)
                assert send(http, moved).status_code == 401
