"""That a process gets on is noted, wherever it runs, and what does not is named."""

import pytest
from sqlalchemy import Engine

from celeryconfig import task_routes
from database.transactions import in_transaction, reading
from orders import progress as noted
from tasks.running import progress
from tasks.running.wakeups import WakeUp
from tests.builders import rows
from workers.app import app


@pytest.fixture(autouse=True)
def _anew(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_noted", {})
    app.finalize()
    app.loader.import_default_modules()


def names() -> set[str]:
    return {row.name for row in rows("SELECT name FROM progress")}


def test_every_queue_of_the_wake_ups_is_expected_to_get_on() -> None:
    assert {route["queue"] for route in task_routes.values()} | {"beat", "intake"} == set(progress.EXPECTED)


def test_a_wake_up_that_is_answered_notes_its_queue() -> None:
    app.tasks[WakeUp.HEARTBEAT].apply(routing_key="export")
    app.tasks[WakeUp.RESTOCK].apply(routing_key="effects")
    assert names() == {"export", "effects"}


def test_what_comes_from_another_queue_notes_nothing() -> None:
    app.tasks[WakeUp.HEARTBEAT].apply(routing_key="somebody's")
    app.tasks[WakeUp.HEARTBEAT].apply()
    assert names() == set()


def test_it_is_noted_once_in_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    progress.note("intake")
    [first] = rows("SELECT at FROM progress")
    progress.note("intake")
    assert rows("SELECT at FROM progress") == [first]
    now[0] += 10
    progress.note("intake")
    assert rows("SELECT at FROM progress")[0].at > first.at


def test_what_has_done_no_step_for_a_minute_or_never_is_stalled() -> None:
    for name in progress.EXPECTED[1:]:
        progress.note(name)
    rows("UPDATE progress SET at = at - interval '61 seconds' WHERE name = 'answers' RETURNING at")
    assert progress.stalled(reading(noted.ages)) == ["beat", "answers"]


def test_a_clock_that_was_set_back_stalls_nobody() -> None:
    in_transaction(lambda connection: noted.note(connection, "beat"))
    rows("UPDATE progress SET at = at + interval '1 hour' RETURNING at")
    assert reading(noted.ages) == {"beat": 0.0}
