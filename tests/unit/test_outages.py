"""How an outage is logged: a line at once, one a minute, one at its end; and never with what was sent."""

from collections.abc import Iterator, MutableMapping
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

import configuration.outages
from configuration.outages import Outage, describe_broker_fault


class Clock:
    """Stands still unless it is set forward."""

    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(configuration.outages, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as entries:
        yield entries


def test_an_outage_is_reported_at_once_and_then_once_a_minute(
    clock: Clock, logged: list[MutableMapping[str, Any]]
) -> None:
    outage = Outage("cannot", over="can again", what="it")
    for _ in range(120):
        outage.note(OSError(), "the disk is full")
        clock.seconds += 1
    assert logged == [{"event": "cannot", "error": "the disk is full", "what": "it", "log_level": "warning"}] * 2


def test_another_kind_of_failure_is_reported_at_once(clock: Clock, logged: list[MutableMapping[str, Any]]) -> None:
    outage = Outage("cannot", over="can again")
    for _ in range(3):
        outage.note(ConnectionError(), "it is away")
        outage.note(PermissionError(), "it may not")
    assert [entry["error"] for entry in logged] == ["it is away", "it may not"]


def test_the_end_of_an_outage_is_reported_once_and_only_after_its_beginning(
    clock: Clock, logged: list[MutableMapping[str, Any]]
) -> None:
    outage = Outage("cannot", over="can again")
    outage.end()
    outage.note(OSError(), "the disk is full")
    outage.end()
    outage.end()
    assert [entry["event"] for entry in logged] == ["cannot", "can again"]


def test_what_comes_and_goes_many_times_a_minute_is_reported_once(
    clock: Clock, logged: list[MutableMapping[str, Any]]
) -> None:
    outage = Outage("cannot", over="can again")
    for _ in range(50):
        outage.note(OSError(), "the disk is full")
        outage.end()
        clock.seconds += 1
    assert [entry["event"] for entry in logged] == ["cannot", "can again"]


_SENT = 'Command # 1 (XADD countermand:change-requests * event {"data": "Jane Doe"...) of pipeline caused error: '


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (
            redis.exceptions.OutOfMemoryError(_SENT + "command not allowed when used memory > 'maxmemory'."),
            "the broker is full (command not allowed when used memory > 'maxmemory'): "
            "the intake makes room as it takes requests, or raise its maxmemory",
        ),
        (
            redis.ResponseError(_SENT + "MISCONF Errors writing to the AOF file: No space left on device"),
            "the broker cannot write to its disk (MISCONF Errors writing to the AOF file: No space left on device): "
            "free some of it",
        ),
        (
            redis.ReadOnlyError(_SENT + "You can't write against a read only replica."),
            "the broker takes no writes (You can't write against a read only replica): name its primary server",
        ),
        (redis.ConnectionError("Error 111\nand more"), "the broker cannot be reached: Error 111"),
        (TimeoutError(), "the broker cannot be reached: TimeoutError"),
    ],
)
def test_what_a_broker_refuses_is_reported_in_one_line_without_what_was_sent(error: Exception, reported: str) -> None:
    assert describe_broker_fault(error) == reported
