"""Damaged deliveries by the thousand: whatever a client sends, it is answered as documented, and nothing is lost.

COUNTERMAND_FUZZ_TRIES and COUNTERMAND_FUZZ_SEED say how many and which; a failure prints the seed and the number of
its try, and the same seed does the same again.
"""

import asyncio
import json
import os
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from random import Random
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
from structlog.testing import capture_logs

from configuration.settings import settings
from desks.registry import Helpdesks
from orders.messages import MAX_MESSAGE_BYTES
from tests.builders import a_request, an_address, deliver, rows
from tests.deliveries import BOT, DESKS, PROOF, TABLES, UNSIGNED, Delivery, a_payload, a_secret, sign
from tests.mutations import Header, Mutations
from tests.serving import connected, head_of
from web import webhooks
from web.app import make_app

TRIES = int(os.environ.get("COUNTERMAND_FUZZ_TRIES") or 3000)
SEED = int(os.environ.get("COUNTERMAND_FUZZ_SEED") or 20261123)
TOKEN = "a-token-to-read-with"

# What docs/desks.md says of webhooks; the rest is of HTTP.
WEBHOOK_STATUSES = {200, 202, 401, 404, 405, 409, 413}
REQUEST_STATUSES = {200, 401, 404, 405}


def seeded(what: str) -> Random:
    """Returns the generator of one test's damage."""
    return Random(f"{SEED} {what}")  # noqa: S311  # it is to be foreseen


@pytest.fixture(autouse=True)
def _logged() -> Iterator[None]:
    """Nothing that is logged is an error: whatever a client sends is expected."""
    with capture_logs() as logged:
        yield
    assert [one for one in logged if one["log_level"] in ("error", "critical")] == []


@dataclass(frozen=True)
class Try:
    """One request as a server hands it to the application."""

    method: str
    path: str
    query: str
    headers: list[Header]
    chunks: list[bytes]
    # True if nobody can have signed it: then it must be refused as such.
    forged: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


@dataclass(frozen=True)
class Answer:
    """What the application answered."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


async def ask(app: Any, one: Try) -> Answer:
    """Hands a request to the application as uvicorn does."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "root_path": "",
        "method": one.method,
        "path": unquote(one.path),
        "raw_path": one.path.encode("ascii"),
        "query_string": one.query.encode("ascii"),
        "headers": one.headers,
    }
    sent: list[dict[str, Any]] = []
    messages = _messages(one)

    async def receive() -> dict[str, Any]:
        return await anext(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *rest = sent
    assert rest, "the answer has no body"
    assert not rest[-1].get("more_body"), "the answer has no end"
    return Answer(start["status"], dict(start["headers"]), b"".join(part.get("body", b"") for part in rest))


async def _messages(one: Try) -> AsyncIterator[dict[str, Any]]:
    for place, chunk in enumerate(one.chunks, start=1):
        yield {"type": "http.request", "body": chunk, "more_body": place < len(one.chunks)}
    while True:
        yield {"type": "http.disconnect"}


@contextmanager
def notified(what: str, number: int, one: object) -> Iterator[None]:
    """Adds to a failure how it is had again."""
    try:
        yield
    except BaseException as error:
        shown = repr(one)[:3000]
        error.add_note(f"{what}, try {number} of COUNTERMAND_FUZZ_SEED={SEED} COUNTERMAND_FUZZ_TRIES={TRIES}: {shown}")
        raise


# Webhooks


@dataclass
class Deliveries:
    """Valid deliveries of one desk and what becomes of them."""

    desk: str
    random: Random
    mutations: Mutations = field(init=False)
    sent: deque[Try] = field(default_factory=lambda: deque(maxlen=30))

    def __post_init__(self) -> None:
        self.mutations = Mutations(self.random)

    def next(self) -> Try:
        """Returns one more, damaged or not, or one that was sent before."""
        if len(self.sent) > 10 and self.random.random() < 0.1:
            return self.random.choice(self.sent)
        self.sent.append(self._another())
        return self.sent[-1]

    def _another(self) -> Try:
        random, mutations = self.random, self.mutations
        value, other = self._payload(), self._payload()
        if damaged := random.random() < 0.6:
            value = mutations.value(value)
        body = mutations.written(value)
        if random.random() < (0.3 if damaged else 0.6):
            body = mutations.body(body, mutations.written(other))
        delivery = sign(self.desk, body, secret=a_secret(self.desk, random.choice(("current", "current", "previous"))))
        forged = False
        if random.random() < 0.15:
            delivery, forged = self._forged(delivery)
        return self._as_sent(delivery, forged=forged)

    def _payload(self) -> dict[str, Any]:
        random = self.random
        kind = random.choice(("cancel", "change_address", "change_items", "change_payment", "partial_cancel"))
        asked: dict[str, Any] = {
            "kind": kind,
            "order": str(random.randrange(1000)),
            "ticket": str(random.randrange(50)),
        }
        if kind == "change_address":
            asked["addresses"] = {random.choice(("shipping", "billing")): an_address(phone=str(random.random()))}
        if kind == "partial_cancel" and self.desk not in ("zammad", "chatwoot"):
            asked["lines"] = [{"sku": "RED-1", "quantity": random.randrange(1, 3)}]
        if random.random() < 0.3 or self.desk == "shop":
            asked["id"] = str(random.randrange(200))
        return a_payload(self.desk, author=random.choice((None, BOT, "jane@example.com")), **asked)

    def _forged(self, delivery: Delivery) -> tuple[Delivery, bool]:
        other = self.mutations.body(delivery.body, b"{}")
        if self.desk in UNSIGNED or other == delivery.body:
            wrong = Delivery(self.desk, {**delivery.headers, PROOF[self.desk]: a_secret(self.desk, "other")}, other)
            return wrong, True
        return Delivery(self.desk, delivery.headers, other), True

    def _as_sent(self, delivery: Delivery, *, forged: bool) -> Try:
        random, mutations = self.random, self.mutations
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in delivery.headers.items()]
        if random.random() < 0.15:
            headers = mutations.headers(headers)
        if random.random() < 0.5:
            headers.append((b"content-length", b"%d" % len(delivery.body)))
        return Try(
            mutations.method() if random.random() < 0.02 else "POST",
            mutations.path(delivery.path) if random.random() < 0.03 else delivery.path,
            mutations.query() if random.random() < 0.1 else "",
            headers,
            mutations.chunks(delivery.body),
            forged,
        )


@dataclass
class Kept:
    """What the answers say is kept, to be compared with what is."""

    requests: set[tuple[str, str]] = field(default_factory=set)
    repeated: set[tuple[str, str]] = field(default_factory=set)
    # By their hashes: bodies of a long run would fill the memory.
    unusable: set[bytes] = field(default_factory=set)
    conflicts: int = 0

    def note(self, one: Try, answer: Answer) -> None:
        """Takes an answer at its word."""
        notified = json.loads(answer.body) if one.method != "HEAD" else {}
        match answer.status:
            case 202:
                assert notified.keys() == {"source", "id", "state"}
                key = notified["source"], notified["id"]
                assert key not in self.requests, "taken twice"
                self.requests.add(key)
            case 200 if notified.get("state") == "dead_letter":
                self.unusable.add(sha256(one.body).digest())
            case 200 if notified.get("state") != "ignored" and "source" in notified:
                self.repeated.add((notified["source"], notified["id"]))
            case 409:
                self.conflicts += 1

    def check(self, source: str) -> None:
        """Compares with the database."""
        taken = {(row.source, row.external_id) for row in rows("SELECT source, external_id FROM change_request")}
        assert self.requests == taken
        assert self.repeated <= taken
        assert {kept_source for kept_source, _ in taken} <= {source}
        letters = rows("SELECT sha256(raw) AS hash, reason FROM dead_letter")
        unusable = [bytes(row.hash) for row in letters if row.reason != "conflicting_duplicate"]
        assert self.unusable == set(unusable)
        assert len(unusable) == len(self.unusable), "kept twice"
        assert (self.conflicts > 0) == any(row.reason == "conflicting_duplicate" for row in letters)


def check(one: Try, answer: Answer, statuses: set[int]) -> None:
    assert answer.status in statuses, answer
    assert answer.headers[b"content-type"] == b"application/json", answer
    assert one.method == "HEAD" or isinstance(json.loads(answer.body), dict), answer
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize("desk", DESKS)
@pytest.mark.usefixtures("woken")
def test_whatever_a_desk_sends_is_answered_as_documented_and_kept_as_answered(six_desks: Helpdesks, desk: str) -> None:
    app, kept, counted = make_app(six_desks), Kept(), Counter[int]()
    deliveries = Deliveries(desk, seeded(desk))

    async def all_tries() -> None:
        for number in range(TRIES // (len(DESKS) + 1)):
            one = deliveries.next()
            with notified(desk, number, one):
                answer = await ask(app, one)
                check(one, answer, WEBHOOK_STATUSES)
                is_to_the_desk = one.method == "POST" and one.path == f"/webhooks/{desk}"
                if one.forged and is_to_the_desk and len(one.body) <= MAX_MESSAGE_BYTES:
                    assert answer.status == 401
                kept.note(one, answer)
            counted[answer.status] += 1

    asyncio.run(all_tries())
    kept.check(TABLES[desk]["source"])
    # A fuzz that is only refused would find nothing.
    assert counted.keys() >= {202, 401}, counted
    assert kept.unusable


# Reading


def test_whatever_is_asked_of_requests_is_answered_as_documented(
    six_desks: Helpdesks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERMAND_API_TOKEN", TOKEN)
    # No other process runs here.
    monkeypatch.setattr("tasks.running.progress.stalled", lambda _: [])
    settings.cache_clear()
    random, counted = seeded("requests"), Counter[int]()
    app, mutations = make_app(six_desks), Mutations(random)
    deliver(a_request(source="zendesk:acme", id="1"), a_request(source="a/b", id="100% é"))

    def next_try() -> Try:
        path = random.choice(("/requests/zendesk:acme/1", "/requests/a%2Fb/100%25%20%C3%A9", "/requests/x/unknown"))
        authorization = [(b"authorization", f"Bearer {TOKEN}".encode())]
        return Try(
            mutations.method() if random.random() < 0.1 else "GET",
            mutations.path(path) if random.random() < 0.5 else path,
            mutations.query() if random.random() < 0.3 else "",
            mutations.headers(authorization) if random.random() < 0.3 else authorization,
            [random.randbytes(random.choice((0, 0, 100)))],
        )

    async def all_tries() -> None:
        for number in range(TRIES // (len(DESKS) + 1)):
            one = next_try()
            with notified("requests", number, one):
                answer = await ask(app, one)
                check(one, answer, REQUEST_STATUSES)
                if (b"authorization", f"Bearer {TOKEN}".encode()) not in one.headers and answer.status == 200:
                    assert one.path in ("/healthz", "/readyz")
            counted[answer.status] += 1

    asyncio.run(all_tries())
    assert counted.keys() == REQUEST_STATUSES, counted


# On the wire


def _has_an_end(raw: bytes) -> bool:
    # Of a head that is too long the server resets the connection, with its answer on the way.
    head = raw[: 60 * 1024]
    return b"\n\r\n" in head or b"\n\n" in head


def _exchange(url: httpx2.URL, raw: bytes) -> bytes:
    """Sends bytes and returns what comes back until the server has no more to say."""
    answered = bytearray()
    with connected(url) as connection, suppress(ConnectionError, TimeoutError):
        connection.sendall(raw)
        # Of half a head nothing need come back, and after an answer the connection may stay open.
        connection.settimeout(20 if _has_an_end(raw) else 0.2)
        while chunk := connection.recv(65536):
            answered += chunk
            connection.settimeout(0.2)
    return bytes(answered)


def test_whatever_comes_over_the_wire_is_refused_by_the_server_or_answered_as_documented(
    http: httpx2.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhooks, "_BODY_SECONDS", 0.1)
    random = seeded("wire")
    mutations = Mutations(random)
    tries = []
    for number in range(TRIES // 10):
        desk = DESKS[number % len(DESKS)]
        delivery = sign(desk, json.dumps(a_payload(desk, order=str(number), id=str(number))).encode())
        length = {"Content_Length": str(len(delivery.body)), "Connection": random.choice(("close", "keep-alive"))}
        tries.append(mutations.wire(head_of(delivery, **length) + delivery.body))
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(partial(_exchange, http.base_url), tries))
    taken = 0
    for number, (raw, answered) in enumerate(zip(tries, answers, strict=True)):
        with notified("wire", number, (raw, answered)):
            # A head that has an end is answered.
            assert answered.startswith(b"HTTP/1.1 ") or not _has_an_end(raw)
            statuses = {int(line.split()[1]) for line in answered.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")}
            assert statuses <= WEBHOOK_STATUSES | {400, 408}
            taken += 202 in statuses
    assert taken > 0
    assert len(rows("SELECT id FROM change_request")) >= taken
    assert http.get("/healthz").status_code == 200
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
