"""What anyone can do to the HTTP port without a secret, and that health and the desks get through all the same."""

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Semaphore

import anyio
import httpx2
import pytest
from structlog.testing import capture_logs

from configuration.settings import Settings, settings
from desks.registry import Helpdesks
from tasks.running.wakeups import WakeUp
from tests.builders import rows
from tests.chaos.servers import a_port
from tests.deliveries import a_delivery
from tests.processes import await_that
from tests.serving import answer_of, connected, head_of, send, serving
from web import health, tokens
from web.connections import MAX_CONNECTIONS, Protocol
from web.room import MAX_BODIES, Bodies

TOKEN = "a-token-to-read-with"
READ = "/requests/zendesk:acme/1"


@pytest.fixture(autouse=True)
def _token(system: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COUNTERMAND_API_TOKEN", TOKEN)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody before us says who a client is: this machine's address is a stranger's."""
    monkeypatch.setenv("COUNTERMAND_HTTP_TRUSTED_PROXIES", "none")
    settings.cache_clear()


@pytest.fixture
def port(six_desks: Helpdesks, tmp_path: Path) -> Iterator[int]:
    """The port of a real HTTP process."""
    number, log = a_port(), tmp_path / "http.log"
    env = {**os.environ, "COUNTERMAND_HTTP_PORT": str(number)}
    with (
        log.open("wb") as out,
        subprocess.Popen([sys.executable, "-m", "web"], env=env, stdout=out, stderr=out) as process,
    ):
        try:
            await_that(lambda: _answers(number), "HTTP listens")
            yield number
        finally:
            process.terminate()
            process.wait(30)
            sys.stdout.write(log.read_text())


def _answers(number: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", number), timeout=5).close()
    except ConnectionError:
        return False
    return True


@contextmanager
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_idle_connections_and_slow_bodies_keep_neither_health_nor_a_signed_delivery_away(port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    slow = head_of(a_delivery("zendesk"), Content_Length="100000") + b"{"
    with many_files(), ExitStack() as held, httpx2.Client(base_url=url, timeout=30) as http:
        for number in range(MAX_CONNECTIONS + 200):
            stranger = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            # A body that never ends, from each of more than may arrive at once; the others say nothing at all.
            if number % 3 == 0:
                stranger.sendall(slow)
        assert (MAX_CONNECTIONS + 200) / 3 > MAX_BODIES
        for one in range(5):
            # On a connection of its own, as if each came from elsewhere.
            assert httpx2.get(f"{url}/healthz", timeout=30).status_code == 200
            assert send(http, a_delivery("zendesk", id=str(one))).status_code == 202
    assert rows("SELECT count(*) AS n FROM change_request")[0].n == 5


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "head_seconds", 0.3)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost:",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nand so on",
    ],
    ids=["nothing", "half a head", "a body that goes on after its answer"],
)
def test_a_connection_without_a_whole_head_is_closed(http: httpx2.Client, impatient: None, sent: bytes) -> None:
    with connected(http.base_url) as connection:
        connection.sendall(sent)
        ended = b""
        try:
            while chunk := connection.recv(65536):
                ended += chunk
        except ConnectionError:
            pass
        assert ended.startswith(b"HTTP/1.1 200") if b"\r\n\r\n" in sent else ended == b""


def test_a_request_that_is_being_answered_is_not_closed_for_its_head(
    http: httpx2.Client, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer_late() -> bool:
        await anyio.sleep(1)
        return True

    monkeypatch.setattr(health, "_database_takes_writes", answer_late)
    assert http.get("/readyz").status_code == 200


def _is_open(connection: socket.socket) -> bool:
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        return answer_of(connection)[0] == 200
    except (ConnectionError, IndexError):
        return False


def test_one_address_has_so_many_connections_and_loses_the_one_that_has_waited_longest(
    http: httpx2.Client, no_proxy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "max_of_an_address", 3)
    port = http.base_url.port or 0
    with capture_logs() as logs, ExitStack() as stack:
        other = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30, ("127.0.0.2", 0)))
        mine = []
        for _ in range(4):
            mine.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)))
            # It is known there before the next one comes.
            if len(mine) < 4:
                assert _is_open(mine[-1])
        assert [_is_open(one) for one in (*mine[1:], other)] == [True] * 4
        assert not _is_open(mine[0])
    assert [log["error"] for log in logs] == [
        "127.0.0.1 has more than 3 connections; a proxy of yours belongs in COUNTERMAND_HTTP_TRUSTED_PROXIES"
    ]


def test_a_proxy_of_ours_has_as_many_connections_as_it_likes(
    http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "max_of_an_address", 3)
    port = http.base_url.port or 0
    with ExitStack() as stack:
        mine = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(6)]
        assert [_is_open(one) for one in mine] == [True] * 6


def test_bodies_of_one_address_make_room_for_one_another_and_not_for_those_of_others(
    six_desks: Helpdesks, woken: list[WakeUp], no_proxy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bodies.__init__, "__defaults__", (200, 2))
    slow = head_of(a_delivery("zendesk"), Content_Length="100000") + b"{"
    with serving(six_desks) as url, ExitStack() as stack:
        port = int(url.rpartition(":")[2])
        other = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30, ("127.0.0.2", 0)))
        mine = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(2)]
        for one in (other, *mine):
            one.sendall(slow)
        with httpx2.Client(base_url=url, timeout=30) as http:
            assert send(http, a_delivery("zendesk")).status_code == 202
        assert answer_of(mine[0])[0] == 408 or answer_of(mine[1])[0] == 408
        other.settimeout(0.2)
        with pytest.raises(TimeoutError):
            other.recv(1)


@pytest.mark.parametrize(
    "change",
    [
        lambda head, body: head.replace(b"\r\nHost", b"\r\nTransfer-Encoding: chunked\r\nHost") + b"0\r\n\r\n",
        lambda head, body: head.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n") + body,
        lambda head, body: head.replace(b"\r\nHost", b"\nHost") + body,
        lambda head, body: head.removesuffix(b"\r\n\r\n") + b"\n\n" + body,
        lambda head, body: head.removesuffix(b"\r\n") + b"\n" + body,
        lambda head, body: head.replace(b"Host: ", b"Host:\r\n ") + body,
        lambda head, body: head.replace(b"\r\nHost", b"\r\nX-One: 1\r\n\t2\r\nHost") + body,
    ],
    ids=[
        "two lengths",
        "LF after the request",
        "LF in the head",
        "LF LF",
        "LF at the end",
        "folded",
        "folded by a tab",
    ],
)
def test_what_two_programs_may_read_in_two_ways_is_refused(http: httpx2.Client, change: object) -> None:
    delivery = a_delivery("zendesk")
    head = head_of(delivery, Content_Length=str(len(delivery.body)))
    with connected(http.base_url) as connection:
        connection.sendall(change(head, delivery.body))  # type: ignore[operator]
        assert answer_of(connection)[0] == 400
        assert connection.recv(1) == b""
    assert rows("SELECT 1 FROM change_request UNION ALL SELECT 1 FROM dead_letter") == []


def test_a_delivery_that_is_written_as_it_should_be_is_taken_in_pieces_too(http: httpx2.Client) -> None:
    delivery = a_delivery("zendesk")
    raw = head_of(delivery, Content_Length=str(len(delivery.body))) + delivery.body
    with connected(http.base_url) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(0, len(raw), 7):
            connection.sendall(raw[place : place + 7])
        assert answer_of(connection)[0] == 202


def test_a_forged_delivery_takes_no_place_of_a_genuine_one(
    six_desks: Helpdesks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.app._MAX_AT_ONCE", 0)
    with serving(six_desks) as url, httpx2.Client(base_url=url, timeout=30) as http:
        forged = replace(a_delivery("zendesk"), body=b"{}")
        assert send(http, forged).status_code == 401
        assert http.get(READ).status_code == 401
        assert send(http, a_delivery("zendesk")).status_code == 503


def test_all_who_ask_whether_we_are_ready_at_once_share_an_answer(
    http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, gate, came = Semaphore(0), Event(), list[None]()

    async def ask() -> bool:
        came.append(None)
        asked.release()
        await anyio.to_thread.run_sync(gate.wait)
        return True

    monkeypatch.setattr(health, "_database_takes_writes", ask)
    with ThreadPoolExecutor(10) as threads:
        first = threads.submit(http.get, "/readyz")
        assert asked.acquire(timeout=30)
        others = [threads.submit(http.get, "/readyz") for _ in range(9)]
        assert httpx2.get(http.base_url.join("/healthz")).status_code == 200
        gate.set()
        assert [one.result(30).status_code for one in (first, *others)] == [200] * 10
    # The first, one for those who came meanwhile, and perhaps one for who came after that had begun.
    assert len(came) <= 3


def test_a_wrong_token_is_answered_late_and_reported_of_once_a_minute_without_it(
    http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("web.tokens.sleep", sleep)
    monkeypatch.setattr(tokens, "_refusals", tokens._Refusals())
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    with capture_logs() as logs:
        for number in range(5):
            given = {"Authorization": f"Bearer wrong-{number}", **forwarded}
            assert http.get(READ, headers=given).status_code == 401
        assert http.get(READ, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 404
        assert http.get(READ).status_code == 401
    assert slept == [1.0] * 5
    [line] = [log for log in logs if log["event"] == "wrong API tokens were refused"]
    assert (line["times"], line["last_from"]) == (1, "203.0.113.9")
    assert "wrong-" not in str(logs)


def test_who_is_no_proxy_of_ours_does_not_say_who_he_is(
    no_proxy: None, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_SLOWED_SECONDS", 0.0)
    monkeypatch.setattr(tokens, "_refusals", tokens._Refusals())
    with capture_logs() as logs:
        given = {"Authorization": "Bearer wrong", "X-Forwarded-For": "203.0.113.9"}
        assert http.get(READ, headers=given).status_code == 401
    assert [log["last_from"] for log in logs if "last_from" in log] == ["127.0.0.1"]


def test_an_address_with_many_wrong_tokens_at_once_is_not_listened_to_and_others_are(
    http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, slowed = Event(), Semaphore(0)

    async def sleep(_: float) -> None:
        slowed.release()
        await anyio.to_thread.run_sync(gate.wait)

    monkeypatch.setattr("web.tokens.sleep", sleep)

    def ask(token: str, address: str) -> int:
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}
        return httpx2.get(http.base_url.join(READ), headers=headers, timeout=30).status_code

    with ThreadPoolExecutor(10) as threads:
        wrong = [threads.submit(ask, "wrong", "203.0.113.9") for _ in range(10)]
        assert all(slowed.acquire(timeout=30) for _ in wrong)
        assert ask(TOKEN, "203.0.113.9") == 429
        assert ask(TOKEN, "203.0.113.10") == 404
        gate.set()
        assert [one.result(30) for one in wrong] == [401] * 10
    assert not tokens._slowed


@pytest.mark.parametrize("wrong", ["*", "proxy.example", "10.0.0.1/8", "127.0.0.1,,::1"])
def test_a_list_of_proxies_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="nor none"):
        Settings(http_trusted_proxies=wrong)
