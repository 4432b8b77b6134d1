"""Queues of RabbitMQ that others have declared: used where that is possible, otherwise reported in one line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from configuration.outages import UnusableQueue
from tasks.running.queues import QUEUE_OF
from tests.builders import a_request, an_order, encoded, load, rows
from tests.processes import await_that
from tests.rabbitmq import declare, delete, needs_rabbitmqctl, permit, rabbitmqctl, running, virtual_host
from workers.broker import CHANGE_QUEUE, DEAD_LETTER_QUEUE, QUEUE, QueueBroker, connection_to, declare_queues
from workers.embedded import Services
from workers.intake import Stop, run
from workers.intake_queue import QueueSource

pytestmark = needs_rabbitmqctl

WAKE_UP = sorted(set(QUEUE_OF.values()))


@pytest.fixture
def url(system: Services) -> Iterator[str]:
    """A virtual host where whoever says nothing gets a quorum queue."""
    with virtual_host("--default-queue-type", "quorum") as made:
        yield made


def lines(log: Path, event: str) -> list[str]:
    """Returns what the log says why, in each line of an event."""
    reported = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line.get("error", "") for line in reported if line["event"] == event]


def of_queues(url: str, what: str) -> dict[str, Any]:
    name = urlsplit(url).path[1:]
    listed = json.loads(rabbitmqctl("list_queues", "-p", name, "--formatter", "json", "name", what))
    return {queue["name"]: queue[what] for queue in listed}


def types(url: str) -> dict[str, str]:
    return of_queues(url, "type")


def listeners(url: str) -> dict[str, int]:
    return of_queues(url, "consumers")


def is_decided() -> bool:
    return [row.state for row in rows("SELECT state FROM change_request")] == ["decided"]


def take_one(url: str) -> None:
    """Lets an intake take a request and leave its decision to the worker."""
    load(an_order())
    rows_before = rows("SELECT count(*) AS n FROM change_request")[0].n
    QueueBroker(url).publish([encoded(a_request())])

    class Taken(Stop):
        def is_set(self) -> bool:
            return bool(rows("SELECT count(*) AS n FROM change_request")[0].n > rows_before)

    source = QueueSource(url)
    run(source, Taken())
    source.start_over()


@pytest.mark.parametrize("beforehand", [None, "quorum", "classic"])
def test_workers_work_whatever_the_virtual_host_makes_of_queues_and_whatever_is_there_before(
    url: str, beforehand: str | None, tmp_path: Path
) -> None:
    if beforehand:
        for name in WAKE_UP:
            declare(url, name, **{"x-queue-type": beforehand})
    log, beat = tmp_path / "worker.log", tmp_path / "beat.log"
    with running("worker", url, log), running("beat", url, beat):
        take_one(url)
        await_that(is_decided, "the worker decides")
        await_that(lambda: rows("SELECT 1 FROM effect WHERE state = 'done'") != [], "the worker restocks")
        found = types(url)
    # No reply, event or control queue of Celery's, which a virtual host may refuse. A queue that beat sends to or
    # another process listens to is declared when that happens.
    assert {"changes", "effects", QUEUE, DEAD_LETTER_QUEUE.name} <= set(found)
    assert set(found) <= {*WAKE_UP, QUEUE, DEAD_LETTER_QUEUE.name}
    assert {kind for name, kind in found.items() if name in WAKE_UP} == {beforehand or "classic"}
    assert log.read_text().count("Connected to") == 1
    assert "Traceback" not in log.read_text() + beat.read_text()
    assert lines(beat, "beat could not send a wake-up, it will send another") == []


def test_a_queue_that_no_worker_can_listen_to_is_reported_in_a_line_until_it_is_away(url: str, tmp_path: Path) -> None:
    declare(url, "changes", **{"x-queue-type": "stream"})
    log = tmp_path / "worker.log"
    cannot = "cannot listen to the broker's queues, it is tried again"
    with running("worker", url, log):
        await_that(lambda: lines(log, cannot) != [], "the worker says that it cannot listen")
        assert lines(log, cannot) == [
            "RabbitMQ's queue changes has x-queue-type stream, expected classic: it carries nothing but wake-up "
            "messages, so delete it with `rabbitmqctl delete_queue changes`, and it is declared again"
        ]
        delete(url, "changes")
        await_that(lambda: " ready." in log.read_text(), "the worker listens")
    assert len(lines(log, cannot)) == len(lines(log, "listens again")) == 1
    assert "Traceback" not in log.read_text()


def test_a_right_that_is_missing_is_reported_in_a_line_until_it_is_given(url: str, tmp_path: Path) -> None:
    name = urlsplit(url).path[1:]
    permit(name, read="^countermand.*$")
    log = tmp_path / "worker.log"
    cannot = "cannot listen to the broker's queues, it is tried again"
    with running("worker", url, log):
        await_that(lambda: lines(log, cannot) != [], "the worker says that it cannot listen")
        [why] = lines(log, cannot)
        assert why.startswith("the broker refuses it: ")
        assert "ACCESS_REFUSED" in why
        permit(name)
        await_that(lambda: " ready." in log.read_text(), "the worker listens")
    assert "Traceback" not in log.read_text()


def test_a_queue_that_somebody_else_keeps_for_himself_is_reported_and_waited_for(url: str, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    declare(url, "changes", **{"x-queue-type": "classic"})
    with connection_to(url) as other, running("worker", url, log):
        other.default_channel.basic_consume("changes", exclusive=True)
        cannot = "cannot listen to the broker's queues, it is tried again"
        await_that(lambda: lines(log, cannot) != [], "the worker says that it cannot listen")
        # It tries again, more and more slowly.
        await_that(lambda: log.read_text().count("Connected to") >= 3, "the worker tries again")
        assert len(lines(log, cannot)) == 1
        assert "in exclusive use" in lines(log, cannot)[0]
        other.release()
        await_that(lambda: " ready." in log.read_text(), "the worker listens")
    assert "Traceback" not in log.read_text()
    assert log.stat().st_size < 10_000


def test_a_queue_that_is_deleted_under_a_worker_is_made_anew(url: str, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with running("worker", url, log), running("beat", url, tmp_path / "beat.log"):
        take_one(url)
        # It is at work: in the first tenth of a second Celery passes over that a queue is deleted.
        await_that(lambda: rows("SELECT 1 FROM effect WHERE state = 'done'") != [], "the worker restocks")
        delete(url, "changes")
        await_that(lambda: log.read_text().count("Connected to") == 2, "the worker connects again")
        await_that(lambda: listeners(url).get("changes") == 1, "it listens to the new queue")
    assert "Traceback" not in log.read_text()
    assert "In Celery 5.1" not in log.read_text()


HARMLESS = {"x-delivery-limit": 7, "x-max-length": 9, "x-queue-leader-locator": "client-local", "x-message-ttl": 60000}


def test_a_queue_of_change_requests_with_further_limits_is_worked_with(url: str) -> None:
    with connection_to(url) as connection:
        declare_queues(connection)
    delete(url, QUEUE)
    declare(url, QUEUE, **{**CHANGE_QUEUE.queue_arguments, **HARMLESS})
    delete(url, DEAD_LETTER_QUEUE.name)
    declare(url, DEAD_LETTER_QUEUE.name, **{"x-queue-type": "classic"})
    take_one(url)
    assert QueueBroker(url).backlog() == 0


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        (
            QUEUE,
            {
                "x-queue-type": "classic",
                "x-dead-letter-exchange": "countermand.dead-letters",
                "x-overflow": "reject-publish",
            },
            "x-queue-type classic, expected quorum",
        ),
        (QUEUE, {"x-queue-type": "quorum"}, "x-dead-letter-exchange not set, expected countermand.dead-letters"),
        (
            QUEUE,
            {**CHANGE_QUEUE.queue_arguments, "x-overflow": "drop-head", "x-max-length": 5},
            "x-overflow drop-head, expected reject-publish",
        ),
        (DEAD_LETTER_QUEUE.name, {"x-queue-type": "stream"}, "x-queue-type stream, expected quorum"),
    ],
)
def test_a_queue_that_could_lose_messages_is_reported_in_a_line_until_it_is_away(
    url: str, name: str, arguments: dict[str, object], why: str
) -> None:
    declare(url, name, **arguments)
    expected = f"RabbitMQ's queue {name} has {why}: move its messages away and delete it (see docs/messages.md)"
    with pytest.raises(UnusableQueue) as reported:
        QueueBroker(url).backlog()
    assert str(reported.value) == expected

    class Mended(Stop):
        """Lets the intake fail three times, then mends the queue; stops it when it has come to itself."""

        pauses = 0

        def wait(self, seconds: float) -> None:
            self.pauses += 1
            if self.pauses == 3:
                delete(url, name)

        def is_set(self) -> bool:
            return self.pauses >= 3 and source._connection is not None

    source = QueueSource(url)
    with capture_logs() as logs:
        run(source, Mended())
    source.start_over()
    assert [log["error"] for log in logs if "error" in log] == [expected]
