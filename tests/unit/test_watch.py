"""`countermand up` says which process does not get on, and why."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

import workers.watch
from configuration.settings import settings
from workers.errors import Unreachable
from workers.log_files import Followed
from workers.supervisor import SUPERVISORD, Supervisor, programs
from workers.watch import Watch

AGES = {"beat": 0.0, "intake": 0.0, "changes": 0.0, "effects": 0.0, "answers": 0.0, "export": 0.0}
READY = {"ok": True, "database": True, "broker": True, "progress": AGES, "stalled": []}


class Ended:
    """The end of a supervisord: it comes as often as the test asks, and nobody waits."""

    def __init__(self, ends: int = 0) -> None:
        self.left = ends

    def wait(self, _: float) -> bool:
        self.left -= 1
        return self.left >= 0


class FakeSupervisor:
    def __init__(self, ends: int = 0) -> None:
        self.ended = Ended(ends)
        self.started = 0

    def start(self) -> None:
        self.started += 1


@contextmanager
def answering(answer: Callable[[], dict[str, Any]]) -> Iterator[int]:
    """Answers `/readyz` for the block; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # so the library calls it
            reported = json.dumps(answer()).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(reported)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clock that goes on by ten seconds with each look."""
    now = iter(range(0, 100_000, 10))
    monkeypatch.setattr(workers.watch, "monotonic", lambda: float(next(now)))
    settings.cache_clear()
    yield
    settings.cache_clear()


WatchOf = Callable[..., Watch]


@pytest.fixture
def watch_of(tmp_path: Path, clock: None) -> Iterator[WatchOf]:
    """Makes a watch that asks at a port."""
    logs = {name: Followed(tmp_path / f"{name}.log", name) for name in (*programs(), SUPERVISORD)}
    (tmp_path / "worker.log").write_text("ModuleNotFoundError: no module\n")
    logs["worker"].read()

    def make(port: int, supervisor: FakeSupervisor | None = None) -> Watch:
        return Watch("0.0.0.0", port, cast(Supervisor, supervisor or FakeSupervisor()), logs)  # noqa: S104

    yield make
    for log in logs.values():
        log.close()


def test_it_is_ready_when_every_process_has_reported_since(watch_of: WatchOf) -> None:
    answers = iter([{**READY, "progress": {**AGES, "export": None}}, {**READY, "progress": {**AGES, "export": 3e3}}])
    asked = []

    def answer() -> dict[str, Any]:
        asked.append(next(answers, READY))
        return asked[-1]

    with answering(answer) as port:
        watch_of(port).await_all()
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("answer", "reported"),
    [
        (
            {**READY, "progress": {**AGES, "changes": None, "effects": None}},
            "worker has not reported, it last said: ModuleNotFoundError: no module",
        ),
        ({**READY, "broker": False, "progress": {**AGES, "changes": None}}, "the broker does not answer"),
        (
            {**READY, "progress": dict.fromkeys(AGES)},
            "beat has not reported, it last said: nothing; intake has not reported, it last said: nothing",
        ),
    ],
)
def test_what_is_not_ready_in_time_is_reported_in_one_line(
    watch_of: WatchOf, answer: dict[str, Any], reported: str
) -> None:
    with answering(lambda: answer) as port, pytest.raises(Unreachable) as raised:
        watch_of(port).await_all()
    assert raised.value.format_message() == f"not ready after 60 seconds: {reported}"
    assert raised.value.exit_code == 3


def test_http_that_does_not_answer_is_what_is_reported(watch_of: WatchOf) -> None:
    with answering(lambda: READY) as port:
        pass
    with pytest.raises(Unreachable, match=r"http does not answer \(.*refused\), it last said: nothing"):
        watch_of(port).await_all()


def stalled(watch: Watch, looks: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for _ in range(looks):
        found = watch._stalled()
    return found


def test_who_does_not_get_on_is_reported_with_what_it_last_said(watch_of: WatchOf) -> None:
    with answering(lambda: {**READY, "ok": False, "stalled": ["changes", "export"]}) as port:
        found = stalled(watch_of(port), 8)
    assert found.keys() == {"worker", "exporter"}
    assert found["worker"].endswith("it last said: ModuleNotFoundError: no module")


def test_where_beat_does_not_ring_nobody_else_is_blamed_for_what_it_would_ring_for(watch_of: WatchOf) -> None:
    with answering(lambda: {**READY, "stalled": ["beat", "changes", "effects", "answers", "export"]}) as port:
        assert stalled(watch_of(port), 8).keys() == {"beat"}


def test_after_an_outage_each_has_a_minute_to_get_on_again(watch_of: WatchOf) -> None:
    answers = iter([{**READY, "broker": False, "stalled": ["changes"]}])
    with answering(lambda: next(answers, {**READY, "stalled": ["changes"]})) as port:
        watch = watch_of(port)
        assert [watch._stalled().keys() for _ in range(9)] == [set()] * 8 + [{"worker"}]


def test_a_supervisord_that_ends_is_started_again_and_reported(watch_of: WatchOf) -> None:
    answers = iter([{**READY, "progress": {**AGES, "beat": None}}] * 2)
    supervisor = FakeSupervisor(ends=1)
    with capture_logs() as logged, answering(lambda: next(answers, READY)) as port:
        watch_of(port, supervisor).await_all()
    assert supervisor.started == 1
    assert [line["event"] for line in logged] == ["supervisord ended by itself, it is started again"]
