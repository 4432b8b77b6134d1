"""Requests and effects that cannot be done, and those at which the process dies or hangs: they hold up nobody."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from celery.apps.worker import Worker
from sqlalchemy import Connection, Engine, text

import database.session
import database.transactions
import orders.inbox
import orders.reprocessing
import tasks.changes
import tasks.effects
import tasks.intake
import tasks.running.batches
import workers.intake
import workers.intake_stream
from configuration.settings import settings
from delivery.leases import MAX_ATTEMPTS
from orders.changes import AddressCheck, OpenOrder, decide_requests
from orders.messages import ChangeMessage, parse_change
from orders.stock import restock
from tasks.changes import CHANGES
from tasks.effects import NOTIFY, RESTOCK
from tasks.running import crash_guard
from tasks.running.batches import Job, drain, run_batch
from tasks.running.wakeups import WakeUp
from tests.builders import DECIDING, a_request, an_order, decide_all, deliver, encoded, load, request, rows, settle
from tests.processes import a_worker, sweep_until
from workers.app import app
from workers.broker import broker_at
from workers.embedded import Services
from workers.intake_stream import StreamSource

pytestmark = pytest.mark.usefixtures("system")

_ROOT = Path(__file__).parents[2]
_POISON = "poison"


def _holds_poison(open_order: OpenOrder[Any]) -> bool:
    return bool(open_order.row.number == _POISON)


def broken_by_poison(open_order: OpenOrder[Any], check: AddressCheck) -> Any:
    """Decides, and fails at the poison."""
    if _holds_poison(open_order):
        raise ZeroDivisionError("poison")
    return decide_requests(open_order, check)


def killed_by_poison(open_order: OpenOrder[Any], check: AddressCheck) -> Any:
    """Decides, and dies of the poison as of a segmentation fault or a lack of memory."""
    if _holds_poison(open_order):
        os.kill(os.getpid(), signal.SIGKILL)
    return decide_requests(open_order, check)


def hung_by_poison(open_order: OpenOrder[Any], check: AddressCheck) -> Any:
    """Decides, and waits at the poison for what never comes."""
    if _holds_poison(open_order):
        Event().wait()
    return decide_requests(open_order, check)


def killing_restock(connection: Connection, effect_ids: Sequence[int]) -> None:
    """Restocks, and dies of the poison."""
    about = "SELECT FROM effect JOIN change_request ON change_request.id = change_request_id WHERE order_number = %s"
    if connection.exec_driver_sql(f"{about} AND effect.id = ANY(%s)", (_POISON, list(effect_ids))).rowcount:
        os.kill(os.getpid(), signal.SIGKILL)
    restock(connection, effect_ids)


def poisoned_worker() -> None:
    """Runs a worker whose work dies of the poison."""
    tasks.changes.decide_requests = killed_by_poison  # type: ignore[attr-defined]
    tasks.effects.restock_effects = killing_restock  # type: ignore[attr-defined]
    app.finalize()
    Worker(app=app, queues="changes,effects", concurrency=1, pool="prefork", quiet=True).start()


def killed_intake() -> None:
    """Runs an intake that dies of the poison when it decides it."""
    _run_intake(killed_by_poison)


def intake_killed_by_reading() -> None:
    """Takes all that there is, and dies of the poison when it reads it."""

    def killed(raw: bytes) -> ChangeMessage:
        if _POISON.encode() in raw:
            os.kill(os.getpid(), signal.SIGKILL)
        return parse_change(raw)

    orders.inbox.parse_change = killed  # type: ignore[attr-defined]
    workers.intake_stream._GIVEN_UP_AFTER = 4
    app.finalize()
    source = StreamSource(settings().broker_url or "", "intake-1")
    while workers.intake.step(source):
        pass


def hanging_intake() -> None:
    """Runs an intake that hangs when it decides the poison, and is given up soon."""
    workers.intake._HANGS_AFTER_SECONDS = 5
    _run_intake(hung_by_poison)


def _run_intake(decide: Callable[[OpenOrder[Any], AddressCheck], Any]) -> None:
    tasks.changes.decide_requests = decide  # type: ignore[attr-defined, assignment]
    app.finalize()
    workers.intake.run(StreamSource(settings().broker_url or "", "intake-1"), workers.intake.Stop())


def hanging_worker() -> None:
    """Runs a worker whose work hangs at the poison."""
    tasks.changes.decide_requests = hung_by_poison  # type: ignore[attr-defined]
    app.finalize()
    Worker(app=app, queues="changes,effects", concurrency=2, pool="prefork", quiet=True).start()


def test_a_thousand_requests_pass_by_one_that_always_fails_at_its_first_try() -> None:
    others = [a_request(f"{number}", "change_items") for number in range(1000)]
    poison = a_request(_POISON, "change_items")
    load(an_order(_POISON), *(an_order(f"{number}") for number in range(1000)))
    deliver(*others[:500], poison, *others[500:])
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("tasks.changes.decide_requests", broken_by_poison)
        while run_batch(DECIDING):
            pass
        assert rows("SELECT state, attempts, count(*) FROM change_request GROUP BY 1, 2 ORDER BY 3") == [
            ("received", 1, 1),
            ("decided", 0, 1000),
        ]
        for tried in range(2, 6):
            rows("UPDATE change_request SET not_before = now() WHERE state = 'received' RETURNING id")
            assert run_batch(DECIDING) == 1
            assert rows("SELECT attempts FROM change_request WHERE order_number = 'poison'") == [(tried,)]
    assert (request(poison)["state"], request(poison)["reasons"]) == ("parked", ["failed_repeatedly"])
    assert request(poison)["error"] == "ZeroDivisionError: poison"


def test_a_request_that_kills_every_process_that_tries_it_is_parked_and_the_others_are_decided(tmp_path: Path) -> None:
    load(an_order(_POISON), *(an_order(f"{number}") for number in range(20)))
    others = [a_request(f"{number}", "change_items") for number in range(20)]
    poison = a_request(_POISON, "change_items")
    deliver(*others[:10], poison, *others[10:])
    # The last tries are enough to wait for.
    rows("UPDATE change_request SET attempts = 2 WHERE order_number = 'poison' RETURNING id")
    with a_worker(poisoned_worker, tmp_path / "worker.log"):
        sweep_until("SELECT count(*) = 0 FROM change_request WHERE state = 'received'", WakeUp.APPLY_CHANGES)
    assert {request(event)["outcome"] for event in others} == {"refused"}
    assert (request(poison)["state"], request(poison)["reasons"]) == ("parked", ["failed_repeatedly"])


def test_a_request_at_which_every_process_hangs_is_parked_and_the_others_are_decided(tmp_path: Path) -> None:
    load(an_order(_POISON), *(an_order(f"{number}") for number in range(20)))
    others = [a_request(f"{number}", "change_items") for number in range(20)]
    poison = a_request(_POISON, "change_items")
    deliver(*others[:10], poison, *others[10:])
    rows("UPDATE change_request SET attempts = 3 WHERE order_number = 'poison' RETURNING id")
    with a_worker(hanging_worker, tmp_path / "worker.log"):
        # Celery sends the limit with the wake-up.
        undecided = "SELECT count(*) = 0 FROM change_request WHERE state = 'received'"
        sweep_until(undecided, WakeUp.APPLY_CHANGES, time_limit=3)
    assert {request(event)["outcome"] for event in others} == {"refused"}
    parked = request(poison)
    assert (parked["state"], parked["reasons"]) == ("parked", ["failed_repeatedly"])
    assert parked["error"] == "the process that worked on it died, or hung and was killed"


@pytest.mark.parametrize(("intake", "died_of"), [(killed_intake, signal.SIGKILL), (hanging_intake, signal.SIGALRM)])
def test_an_intake_dies_once_of_a_request_and_leaves_its_decision_to_the_worker(
    system: Services, intake: Callable[[], None], died_of: signal.Signals
) -> None:
    load(an_order(_POISON), an_order())
    poison, other = a_request(_POISON, "change_items"), a_request(kind="change_items")
    broker_at(system.broker_url).publish([encoded(poison), encoded(other)])
    code = f"from {__name__} import {intake.__name__} as run; run()"
    assert subprocess.run([sys.executable, "-c", code], cwd=_ROOT, timeout=60, check=False).returncode == -died_of
    assert rows("SELECT id FROM change_request") == []
    again = StreamSource(system.broker_url, "intake-1")
    while workers.intake.step(again):
        pass
    assert broker_at(system.broker_url).backlog() == 0
    assert [request(event)["state"] for event in (poison, other)] == ["received", "received"]


def test_a_message_that_kills_every_intake_that_reads_it_is_put_aside_unread_and_the_others_are_taken(
    system: Services,
) -> None:
    load(an_order(), an_order(_POISON))
    poison, others = a_request(_POISON), [a_request(kind="change_items") for _ in range(3)]
    broker_at(system.broker_url).publish([encoded(one) for one in (others[0], poison, *others[1:])])
    code = f"from {__name__} import intake_killed_by_reading as run; run()"
    crash_guard = 0
    while subprocess.run([sys.executable, "-c", code], cwd=_ROOT, timeout=60, check=False).returncode:
        crash_guard += 1
    assert crash_guard == 4
    assert broker_at(system.broker_url).backlog() == 0
    assert [request(event)["state"] for event in others] == ["received"] * 3
    [letter] = rows("SELECT reason, raw, error FROM dead_letter")
    assert tuple(letter) == ("invalid_message", encoded(poison), "it was delivered 4 times without being taken")


def test_what_hangs_is_killed_before_postgresql_gives_its_order_to_the_next_process() -> None:
    [(idle,)] = rows("SELECT extract(epoch FROM current_setting('idle_in_transaction_session_timeout')::interval)")
    app.finalize()
    for wakeup in (WakeUp.APPLY_CHANGES, WakeUp.RESTOCK, WakeUp.NOTIFY, WakeUp.EFFECTS):
        assert app.tasks[wakeup].time_limit < idle


@pytest.mark.parametrize(
    ("job", "table", "lock"),
    [
        (CHANGES, "change_request", "SELECT FROM orders FOR NO KEY UPDATE"),
        (RESTOCK, "effect", "SELECT FROM effect FOR NO KEY UPDATE"),
        (NOTIFY, "effect", "SELECT FROM effect FOR NO KEY UPDATE"),
    ],
    ids=lambda given: given.name if isinstance(given, Job) else "",
)
def test_two_who_are_wary_and_keep_each_other_from_a_piece_use_up_none_of_its_tries(
    job: Job, table: str, lock: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other one counts its own try, and so has the row, whenever this one has counted and would begin.
    def run_while_the_other_counts(job: Job, among: Sequence[int] | None = None) -> int:
        with engine.begin() as other:
            other.execute(text(lock))
            return run_batch(job, among)

    load(an_order())
    deliver(event := a_request())
    if job is not CHANGES:
        decide_all()
    monkeypatch.setattr(crash_guard, "crashed_recently", lambda: True)
    with monkeypatch.context() as patches:
        patches.setattr(tasks.running.batches, "run_batch", run_while_the_other_counts)
        for _ in range(MAX_ATTEMPTS + 1):
            assert drain(job, seconds=60) is False
            # It has waited out the second in which others pass it by.
            rows(f"UPDATE {table} SET not_before = now() RETURNING id")
    assert {one.attempts for one in rows(f"SELECT attempts FROM {table}")} == {0}
    drain(job, seconds=60)
    settle()
    shown = request(event)
    assert (shown["outcome"], {effect["state"] for effect in shown["effects"]}) == ("applied", {"done"})


def test_a_restock_that_kills_every_process_that_tries_it_ends_dead_and_the_others_are_done(tmp_path: Path) -> None:
    numbers = [_POISON, *(f"{number}" for number in range(20))]
    load(*map(an_order, numbers))
    deliver(*map(a_request, numbers))
    while run_batch(DECIDING):
        pass
    rows("UPDATE effect SET attempts = 9 WHERE kind = 'restock' RETURNING id")
    with a_worker(poisoned_worker, tmp_path / "worker.log"):
        sweep_until("SELECT count(*) = 0 FROM effect WHERE kind = 'restock' AND state = 'pending'", WakeUp.RESTOCK)
    assert rows("SELECT state, count(*) FROM effect WHERE kind = 'restock' GROUP BY 1 ORDER BY 2") == [
        ("dead", 1),
        ("done", 20),
    ]
    assert rows("SELECT sum(quantity) FROM stock") == [(20 * 4,)]


def test_a_request_that_someone_holds_waits_alone_and_is_neither_counted_nor_parked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(database.session.SESSION, "lock_timeout", "100ms")
    numbers = ["1", "2", "3", "4", "5"]
    load(*map(an_order, numbers))
    deliver(*(a_request(number, id=number) for number in numbers))
    with database.transactions.engine().connect() as rival:
        rival.exec_driver_sql("SELECT FROM change_request WHERE external_id = '3' FOR UPDATE")
        assert not drain(DECIDING, seconds=30)
        decided = rows("SELECT external_id FROM change_request WHERE state = 'decided' ORDER BY id")
        assert [row.external_id for row in decided] == ["1", "2", "4", "5"]
        held = rows("SELECT state, attempts, error FROM change_request WHERE external_id = '3'")
        assert held == [("received", 0, None)]
    drain(DECIDING, seconds=30)
    assert rows("SELECT state, attempts FROM change_request WHERE external_id = '3'") == [("decided", 0)]
