"""Webhooks while the database or the broker is away: answered within the desk's time-out, nothing is lost silently."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from threading import Event, Semaphore
from typing import Any

import httpx2
import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import Connection, create_engine, event, make_url, text

import tasks.running.wakeups
from configuration.settings import settings
from database import transactions
from desks.desk import Desk, Webhook
from desks.registry import Helpdesks
from tasks.running.wakeups import WakeUp
from tasks.webhooks import Receipt, receive
from tests.builders import rows
from tests.deliveries import DESKS, Delivery, a_delivery, sign
from tests.openapi import check_response
from tests.race.gates import observing
from tests.readiness import READY, everybody_gets_on, services
from tests.serving import send, serving
from web import webhooks
from web.database import _SECONDS
from workers.embedded import Services

TOKEN = "a-token-to-read-with"
# The most impatient desk waits five seconds.
PATIENCE = 5.0
AGAIN = "what was sent may have been taken; send it again, a repeat does no harm"


def taken() -> int:
    return len(rows("SELECT id FROM change_request"))


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERMAND_API_TOKEN", TOKEN)


# A database that is away


@contextmanager
def renamed(system: Services) -> Iterator[None]:
    """Ends all connections to the test's database and takes it away, for the block."""
    url = make_url(system.database_url)
    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name"),
            {"name": url.database},
        )
        connection.execute(text(f'ALTER DATABASE "{url.database}" RENAME TO "{url.database}_away"'))
    try:
        yield
    finally:
        with server.connect() as connection:
            connection.execute(text(f'ALTER DATABASE "{url.database}_away" RENAME TO "{url.database}"'))
        server.dispose()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def nobody_listening(system: Services) -> Iterator[None]:
    """Points this process at a port where no database is, for the block."""
    os.environ["COUNTERMAND_DATABASE_URL"] = f"postgresql+psycopg://127.0.0.1:{_free_port()}/countermand"
    _start_anew()
    try:
        yield
    finally:
        os.environ["COUNTERMAND_DATABASE_URL"] = system.database_url
        _start_anew()


def _start_anew() -> None:
    transactions.engine().dispose()
    settings.cache_clear()
    transactions.engine.cache_clear()


Away = Callable[[Services], AbstractContextManager[None]]


@pytest.mark.parametrize("away", [renamed, nobody_listening])
def test_without_a_database_each_desk_is_told_to_come_back_and_is_taken_then(
    http: httpx2.Client, system: Services, away: Away
) -> None:
    deliveries = [a_delivery(desk) for desk in DESKS]
    assert send(http, deliveries[0]).status_code == 202
    with away(system):
        for delivery in deliveries:
            answer = send(http, delivery)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json() == {"error": f"the database is away: {AGAIN}"}
    assert [send(http, delivery).status_code for delivery in deliveries] == [200, 202, 202, 202, 202, 202]
    assert taken() == len(DESKS)


def test_without_a_database_the_dead_letters_have_to_come_again_too(http: httpx2.Client, system: Services) -> None:
    nonsense = sign("zendesk", b"{")
    with renamed(system):
        assert send(http, nonsense).status_code == 503
    assert send(http, nonsense).json()["state"] == "dead_letter"
    assert len(rows("SELECT id FROM dead_letter")) == 1


def test_without_a_database_strangers_are_still_refused(http: httpx2.Client, system: Services) -> None:
    with nobody_listening(system):
        assert send(http, sign("zendesk", b"{}", secret="wrong")).status_code == 401
        assert http.get("/requests/a/b").status_code == 401


def test_without_a_database_a_decision_cannot_be_read_and_health_says_why(
    http: httpx2.Client, system: Services
) -> None:
    authorized = {"Authorization": f"Bearer {TOKEN}"}
    assert services(http.get("/readyz")) == READY
    with renamed(system):
        answer = http.get("/requests/zendesk%3Aacme/1", headers=authorized)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert (http.get("/healthz").status_code, http.get("/healthz").json()) == (200, {"ok": True})
        ready = http.get("/readyz")
        assert (ready.status_code, services(ready)) == (503, {"ok": False, "database": False, "broker": True})
    assert http.get("/readyz").status_code == 200


def test_a_connection_that_ends_in_the_middle_of_taking_is_an_outage(http: httpx2.Client) -> None:
    ended = []

    def end(connection: Connection, _: Any, statement: str, *rest: Any) -> None:
        if "INSERT INTO change_request" in statement:
            ended.append(connection.connection.dbapi_connection.info.backend_pid)  # type: ignore[union-attr]
            with observing() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": ended[-1]})

    event.listen(transactions.engine(), "before_cursor_execute", end)
    assert send(http, a_delivery("zendesk")).status_code == 503
    event.remove(transactions.engine(), "before_cursor_execute", end)
    assert (len(ended), taken()) == (1, 0)
    assert send(http, a_delivery("zendesk")).status_code == 202


# A database that hangs


@contextmanager
def number_held(number: str) -> Iterator[None]:
    """Holds the lock by which requests for an order are accepted one after the other."""
    with observing() as rival:
        held = {"space": 0x434D, "number": number}
        rival.execute(text("SELECT pg_advisory_lock(:space, hashtext(:number))"), held)
        yield
        rival.execute(text("SELECT pg_advisory_unlock(:space, hashtext(:number))"), held)


def test_a_desk_is_answered_before_it_loses_patience() -> None:
    assert _SECONDS < PATIENCE


@pytest.mark.parametrize("desk", DESKS)
def test_a_database_that_hangs_is_reported_in_time_and_what_it_took_afterwards_is_there_once(
    http: httpx2.Client, monkeypatch: pytest.MonkeyPatch, desk: str
) -> None:
    monkeypatch.setattr("web.database._SECONDS", 0.3)
    delivery = a_delivery(desk)
    with number_held("1001"):
        began = time.monotonic()
        answer = send(http, delivery)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json() == {"error": f"the database is too slow: {AGAIN}"}
        assert time.monotonic() - began < PATIENCE
    # What was given up on is taken as soon as the lock is free, before the repeat or after it.
    monkeypatch.undo()
    assert send(http, delivery).status_code in (200, 202)
    assert send(http, delivery).status_code == 200
    assert taken() == 1


def test_more_deliveries_than_there_are_connections_are_all_reported_in_time(
    http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.database._SECONDS", 1.0)
    deliveries = [a_delivery("shop", id=str(number)) for number in range(30)]
    with ThreadPoolExecutor(30) as threads:
        with number_held("1001"):
            began = time.monotonic()
            answers = list(threads.map(lambda one: send(http, one), deliveries))
            assert [answer.status_code for answer in answers] == [503] * 30
            assert time.monotonic() - began < PATIENCE
        again = list(threads.map(lambda one: _until_taken(http, one), deliveries))
    assert set(again) <= {200, 202}
    assert taken() == 30


def test_more_requests_than_are_answered_at_once_are_told_to_come_back_and_health_is_told_all_the_same(
    six_desks: Helpdesks, woken: list[WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, gate = Semaphore(0), Event()

    def receive_slowly(desk: Desk, webhook: Webhook) -> Receipt:
        entered.release()
        assert gate.wait(30)
        return receive(desk, webhook)

    settings.cache_clear()
    monkeypatch.setattr("web.app._MAX_AT_ONCE", 2)
    monkeypatch.setattr("web.database._SECONDS", 30.0)
    monkeypatch.setattr("web.webhooks.receive", receive_slowly)
    everybody_gets_on()
    with (
        serving(six_desks) as url,
        httpx2.Client(base_url=url, timeout=30) as http,
        ThreadPoolExecutor(2) as threads,
    ):
        try:
            first = [threads.submit(send, http, a_delivery("shop", id=one)) for one in "12"]
            assert [entered.acquire(timeout=30) for _ in first] == [True, True]
            for full in (
                send(http, a_delivery("shop", id="3")),
                http.get("/requests/shop/1", headers={"Authorization": f"Bearer {TOKEN}"}),
            ):
                assert (full.status_code, full.headers["retry-after"]) == (503, "5")
                assert "too many requests" in full.json()["error"]
                check_response(full)
            assert [http.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
        finally:
            gate.set()
        assert [one.result(30).status_code for one in first] == [202, 202]
        assert send(http, a_delivery("shop", id="3")).status_code == 202
    assert taken() == 3


def _until_taken(http: httpx2.Client, delivery: Delivery) -> int:
    """Sends as a desk does that is asked to come back."""
    for _ in range(20):
        if (answer := send(http, delivery)).status_code != 503:
            return answer.status_code
    raise AssertionError("still 503")


def test_a_database_that_hangs_for_one_order_is_none_for_another(http: httpx2.Client) -> None:
    with number_held("1001"):
        assert send(http, a_delivery("shop", order="1002")).status_code == 202


# A broker that is away


@contextmanager
def waking_at(monkeypatch: pytest.MonkeyPatch, url: str) -> Iterator[None]:
    """Lets the webhooks send wake-ups to a broker by Celery."""
    with Celery("test", broker=url, set_as_current=False) as app, monkeypatch.context() as patched:
        patched.setattr(tasks.running.wakeups, "current_app", app)
        patched.setattr(webhooks, "wake", tasks.running.wakeups.wake)
        yield


def test_without_a_broker_a_delivery_is_taken_as_fast_as_ever(
    http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with waking_at(monkeypatch, f"redis://127.0.0.1:{_free_port()}/0"):
        began = time.monotonic()
        assert [send(http, a_delivery(desk)).status_code for desk in DESKS] == [202] * len(DESKS)
        assert time.monotonic() - began < PATIENCE


def test_a_broker_that_never_answers_holds_up_no_answer(http: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    with closing(silent), waking_at(monkeypatch, f"redis://127.0.0.1:{silent.getsockname()[1]}/0"):
        began = time.monotonic()
        deliveries = [a_delivery("shop", id=str(number)) for number in range(60)]
        assert {send(http, delivery).status_code for delivery in deliveries} == {202}
        assert http.get("/healthz").status_code == 200
        assert time.monotonic() - began < PATIENCE


def test_without_a_broker_readyz_says_so(
    http: httpx2.Client, monkeypatch: pytest.MonkeyPatch, six_desks: Helpdesks
) -> None:
    monkeypatch.setenv("COUNTERMAND_BROKER_URL", f"redis://127.0.0.1:{_free_port()}/0")
    settings.cache_clear()
    ready = http.get("/readyz")
    assert (ready.status_code, services(ready)) == (503, {"ok": False, "database": True, "broker": False})
    assert http.get("/healthz").status_code == 200


# The process


@contextmanager
def http_process(port: int) -> Iterator[str]:
    """The HTTP process as `countermand up` starts it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "web"],
        env={**os.environ, "COUNTERMAND_HTTP_PORT": str(port)},
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        while b"http ready" not in (line := process.stderr.readline()):
            assert line, "the HTTP process ended"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_the_http_process_rings_where_the_workers_listen(six_desks: Helpdesks, system: Services) -> None:
    with http_process(_free_port()) as url, Redis.from_url(system.broker_url) as broker:
        transport = httpx2.HTTPTransport(retries=5)
        with httpx2.Client(base_url=url, transport=transport, timeout=30) as client:
            assert send(client, a_delivery("zendesk")).status_code == 202
            # Kombu's queue of the wake-ups, by its prefix.
            assert broker.blpop(["countermand:celery:changes"], timeout=10) is not None
