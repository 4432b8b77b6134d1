"""A Valkey that is full, and wake-ups that nobody consumes: publishers wait or get an error, and messages stay."""

import os
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from structlog.testing import capture_logs

import tasks.intake
import tasks.running.wakeups
import workers.beat
import workers.broker
from tasks.running.wakeups import WakeUp, wake
from tests.builders import a_request, encoded, rows
from tests.commands import Countermand, error_line
from workers.beat import Scheduler
from workers.broker import STREAM, StreamBroker
from workers.embedded import Services
from workers.intake import step
from workers.intake_stream import StreamSource

pytestmark = [
    pytest.mark.usefixtures("system"),
    pytest.mark.skipif(
        "COUNTERMAND_TEST_REDIS_URL" in os.environ, reason="the broker is somebody else's, and not ours to fill"
    ),
]

_ROOM = 2 * 1024 * 1024
_LESS_THAN_IT_NEEDS = 64 * 1024
_QUEUE = WakeUp.RESTOCK


@pytest.fixture
def client(system: Services) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(system.broker_url) as client:
        yield client


@pytest.fixture
def limit(client: redis.Redis) -> Iterator[int]:
    """Leaves the broker room for two megabytes, and gives back what it had."""
    before = str(client.config_get("maxmemory")["maxmemory"])
    limit = client.info("memory")["used_memory"] + _ROOM
    client.config_set("maxmemory", limit)
    yield limit
    client.config_set("maxmemory", before)


def long_requests(count: int) -> list[bytes]:
    return [encoded(a_request(id=str(place), note="Jane " * 4000)) for place in range(count)]


def test_a_publisher_that_is_faster_than_the_intake_waits_for_room_and_nothing_is_lost(
    system: Services, client: redis.Redis, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, used = StreamSource(system.broker_url), []

    def take_one_batch(_: float) -> None:
        used.append(client.info("memory")["used_memory"])
        step(source)

    monkeypatch.setattr(tasks.intake, "wake", lambda _: None)
    monkeypatch.setattr(workers.broker, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=take_one_batch))
    bodies = long_requests(400)
    assert StreamBroker(system.broker_url).publish(bodies) == 400
    while step(source):
        pass
    # It was full again and again, never by more than one publishing.
    assert len(used) > 3
    assert max(used) < limit + _ROOM
    assert [row.external_id for row in rows("SELECT external_id FROM change_request ORDER BY id")] == [
        str(place) for place in range(400)
    ]
    assert client.xlen(STREAM) == 0


def test_where_no_room_comes_the_command_says_so_in_one_line_and_can_be_given_again(
    countermand: Countermand, client: redis.Redis, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.broker, "_PATIENCE_SECONDS", -1.0)
    bodies = long_requests(200)
    line = error_line(countermand("requests", "submit", "-", stdin=b"\n".join(bodies)), 3)
    assert line.startswith("the broker is full (command not allowed when used memory > 'maxmemory'")
    assert line.endswith("submitted before: submit the same file again, what is there already counts once")
    assert "Jane" not in line
    there = int(line.partition("maxmemory; ")[2].split()[0])
    assert client.xlen(STREAM) == there > 0
    client.config_set("maxmemory", 0)
    assert countermand("requests", "submit", "-", "--json", stdin=b"\n".join(bodies)).json["submitted"] == 200


@pytest.fixture
def app(system: Services) -> Iterator[Celery]:
    """An app of this test's own, which sends wake-ups through our queues."""
    with Celery("test", broker=system.broker_url, set_as_current=False) as app:
        app.conf.task_routes = {_QUEUE: {"queue": "effects"}}
        app.conf.broker_transport_options = {"global_keyprefix": "test:"}
        yield app


def test_a_ring_that_finds_the_broker_full_is_reported_and_harms_nobody(
    app: Celery, client: redis.Redis, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.running.wakeups, "current_app", app)
    client.config_set("maxmemory", _LESS_THAN_IT_NEEDS)
    with capture_logs() as logged:
        wake(_QUEUE)
    [only] = logged
    assert only["error"].startswith("the broker is full (command not allowed")


def beat(app: Celery) -> Any:
    """Returns what beat does at each of its moments for one wake-up."""
    scheduler = Scheduler(app, lazy=True)
    entry = scheduler.Entry(name="sweep", task=_QUEUE, schedule=timedelta(seconds=2), app=app)
    return lambda: scheduler.apply_entry(entry, scheduler.producer)


def test_beat_tells_a_full_broker_in_one_line_and_that_it_rings_again(
    app: Celery, client: redis.Redis, limit: int
) -> None:
    ring_by_beat = beat(app)
    with capture_logs() as logged:
        client.config_set("maxmemory", _LESS_THAN_IT_NEEDS)
        for _ in range(5):
            ring_by_beat()
        client.config_set("maxmemory", limit)
        ring_by_beat()
    assert [entry["event"] for entry in logged] == [
        "beat could not send a wake-up, it will send another",
        "beat sends wake-ups again",
    ]
    assert client.llen("test:effects") == 1


def test_wake_ups_that_nobody_consumes_do_not_pile_up(
    app: Celery, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.beat, "MOST_WAKEUPS", 10)
    ring_by_beat, lengths = beat(app), []
    with capture_logs() as logged:
        for _ in range(25):
            ring_by_beat()
            lengths.append(client.llen("test:effects"))
    assert lengths == [*range(1, 11), 0] * 2 + [1, 2, 3]
    assert [(entry["queue"], entry["discarded"]) for entry in logged] == [("effects", 11)] * 2
