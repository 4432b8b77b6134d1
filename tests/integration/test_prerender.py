"""The process that makes drafts ahead: it works beside its export, ends with it, and is not missed if it ends first."""

import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import pytest
import structlog
from celery.apps.worker import Worker
from sqlalchemy import Connection, text

import tasks.export
from configuration.settings import settings
from edi import drafts, interchanges
from edi.documents.order import Message, OrderDocument
from edi.documents.standards import render_order
from edi.drafts import Drafts
from edi.interchanges import Claim
from edi.partners import Partner, default_partner
from tasks.export import iterate_export
from tasks.running import prerender
from tasks.running.prerender import DraftPrefetcher
from tasks.running.wakeups import WakeUp
from tests.builders import a_request, an_address, an_order, deliver, load, order, rows, settle
from tests.processes import a_worker, sweep_until
from tests.race.cancellations import assert_that_every_promise_is_kept
from tests.race.crashes import Runner
from workers.app import app

_ORDERS = 8
_SENT = ["sent", "sent", "sent", None]
# Together the drafts of two orders with so many lines are more than a pipe holds.
_MANY = [{"sku": f"S{number}", "description": "x" * 30, "quantity": 1, "unit_price": "1"} for number in range(500)]
_PROCESSORS = [structlog.processors.KeyValueRenderer(key_order=["event"])]
_make, _claim, _take, _of_drafter = drafts.make, interchanges.claim, DraftPrefetcher.take, prerender._Drafter.take


@pytest.fixture(autouse=True)
def noting(home: Path) -> None:
    home.mkdir()


@pytest.fixture
def due(system: object) -> None:
    load(*(an_order(str(number)) for number in range(_ORDERS)))


@pytest.fixture
def many_lines_are_due(system: object) -> None:
    load(*(an_order(str(number), lines=_MANY) for number in range(_ORDERS)))


def runs(work: Callable[[], None]) -> None:
    """Runs it in a process without threads, as an exporter's is."""
    with Runner(work) as runner:
        runner.run()


def partner() -> Partner:
    """Gets three orders an interchange."""
    return replace(default_partner(settings().home), orders_per_interchange=3)


def states() -> Sequence[str | None]:
    return [step.state for step in iterate_export(partner())]


def noted(what: str) -> list[list[str]]:
    """Returns what was noted under this name, in words."""
    return [line.split() for line in (settings().home / what).read_text().splitlines()]


def note(what: str, *words: object) -> None:
    with (settings().home / what).open("a") as file:
        file.write(" ".join(str(word) for word in words) + "\n")


def note_and_render(order: OrderDocument, partner: Partner) -> Message:
    note("rendered", order.number, os.getpid())
    return render_order(order, partner)


def rendered_by() -> dict[str, list[str]]:
    """Returns the numbers of the orders that were rendered, by the process that did it, in their sequence."""
    by: dict[str, list[str]] = {}
    for number, process in noted("rendered"):
        by.setdefault(process, []).append(number)
    return by


def exports() -> None:
    with patch.object(drafts, "render_order", note_and_render):
        assert states() == _SENT


@pytest.mark.usefixtures("due")
def test_another_process_renders_what_follows_the_first_interchange_and_ends_with_the_export() -> None:
    runs(exports)
    (_, first), (drafter, others) = rendered_by().items()
    assert (first, others) == (["0", "1", "2"], ["3", "4", "5", "6", "7"])
    assert not psutil.pid_exists(int(drafter))
    assert_that_every_promise_is_kept()


def exporting_worker() -> None:
    """Runs a worker that exports, as `countermand up` does."""
    tasks.export.partners = lambda: [partner()]  # type: ignore[attr-defined]
    drafts.render_order = note_and_render  # type: ignore[attr-defined]
    tasks.export.SLICE_SECONDS = 600
    app.finalize()
    Worker(app=app, queues="export", concurrency=1, pool="prefork", quiet=True).start()


@pytest.mark.usefixtures("due")
def test_so_it_does_in_a_process_of_celerys_pool(tmp_path: Path) -> None:
    with a_worker(exporting_worker, tmp_path / "worker.log"):
        sweep_until("SELECT bool_and(edi_state = 'sent') FROM orders", WakeUp.EXPORT)
    assert list(rendered_by().values()) == [["0", "1", "2"], ["3", "4", "5", "6", "7"]]


def export_while_an_order_changes() -> None:
    def take_and_change(self: prerender._Drafter) -> Drafts:
        made = _of_drafter(self)
        if not (settings().home / "changed").exists():
            note("changed")
            deliver(a_request("4", "change_address", addresses={"shipping": an_address(city="Bonn")}), a_request("5"))
            settle()
        return made

    with patch.object(prerender._Drafter, "take", take_and_change):
        assert states() == _SENT


@pytest.mark.usefixtures("due")
def test_an_order_that_changed_after_it_was_rendered_ahead_goes_as_it_is_now_and_a_cancelled_one_does_not() -> None:
    runs(export_while_an_order_changes)
    assert noted("changed") == [[]]
    (sent,) = rows("SELECT content FROM interchange WHERE control_number = 2")
    assert sent.content.count(b"+Bonn+") == 1
    assert [order(number)["edi"] for number in ("3", "4", "5")] == ["sent", "sent", "not_sent"]
    assert_that_every_promise_is_kept()


def export_though_nothing_can_be_prefetched() -> None:
    exporter = os.getpid()

    def fail_ahead(*arguments: Any, **options: Any) -> Drafts:
        if os.getpid() != exporter:
            raise LookupError("it cannot\nJane Doe, Bonn")
        return _make(*arguments, **options)

    with (
        (settings().home / "log").open("a", buffering=1) as log,
        patch.object(drafts, "make", fail_ahead),
        patch.object(prerender, "_log", structlog.wrap_logger(structlog.WriteLogger(log), _PROCESSORS)),
    ):
        exports()


@pytest.mark.usefixtures("due")
def test_what_cannot_be_prefetched_the_export_makes_itself_and_says_so() -> None:
    runs(export_though_nothing_can_be_prefetched)
    assert list(rendered_by().values()) == [[str(number) for number in range(_ORDERS)]]
    reported = (settings().home / "log").read_text()
    assert reported.splitlines() == 2 * [
        "event='rendering in advance failed' partner='WAREHOUSE' error='LookupError: it cannot'",
        "event='the process that rendered in advance is gone' partner='WAREHOUSE'",
    ]
    assert_that_every_promise_is_kept()


def export_though_the_drafter_is_killed() -> None:
    def take_from_the_dead(self: prerender._Drafter) -> Drafts:
        # It is in the middle of it: a pipe does not hold all of it.
        assert self._line.poll(60)
        os.kill(self._process, signal.SIGKILL)
        # Until it has ended it may go on writing, as soon as reading makes room in the pipe.
        os.waitid(os.P_PID, self._process, os.WEXITED | os.WNOWAIT)
        note("killed", self._process)
        return _of_drafter(self)

    with patch.object(prerender._Drafter, "take", take_from_the_dead):
        exports()


@pytest.mark.usefixtures("many_lines_are_due")
def test_a_drafter_that_is_killed_in_the_middle_of_its_drafts_is_not_missed() -> None:
    runs(export_though_the_drafter_is_killed)
    assert len(noted("killed")) == 2
    exporter, *_ = rendered_by()
    assert rendered_by()[exporter] == [str(number) for number in range(_ORDERS)]
    assert_that_every_promise_is_kept()


def die_while_the_drafter_sends() -> None:
    def take_and_die(self: DraftPrefetcher) -> Any:
        _take(self)
        assert self._drafter
        assert self._drafter._line.poll(60)
        note("drafter", self._drafter._process)
        os.kill(os.getpid(), signal.SIGKILL)

    with patch.object(DraftPrefetcher, "take", take_and_die):
        states()


def die_while_the_drafter_works() -> None:
    exporter = os.getpid()

    def make_until_it_is_dead(*arguments: Any, **options: Any) -> Drafts:
        if os.getpid() != exporter:
            note("drafter", os.getpid())
            while os.getppid() == exporter:
                threading.Event().wait(0.01)
        return _make(*arguments, **options)

    def die(*_: Any, **__: Any) -> None:
        while not (settings().home / "drafter").exists():
            threading.Event().wait(0.01)
        os.kill(exporter, signal.SIGKILL)

    with patch.object(drafts, "make", make_until_it_is_dead), patch.object(interchanges, "claim", die):
        states()


@pytest.mark.usefixtures("many_lines_are_due")
@pytest.mark.parametrize("work", [die_while_the_drafter_sends, die_while_the_drafter_works])
def test_a_drafter_ends_with_an_exporter_that_is_killed(work: Callable[[], None]) -> None:
    with Runner(work) as runner:
        runner.kill("no point: it does so itself")
    ((drafter,),) = noted("drafter")
    # It may be gone already, as it should.
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(drafter)).wait(60)
    assert [step.state for step in iterate_export(partner())] == _SENT
    assert_that_every_promise_is_kept()


_SESSIONS = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted'")


def export_and_count_its_sessions() -> None:
    os.environ["PGAPPNAME"] = "counted"
    exporter, is_reading, is_counted = os.getpid(), multiprocessing.Event(), multiprocessing.Event()

    def make_beside_a_claim(*arguments: Any, **options: Any) -> Drafts:
        if os.getpid() != exporter:
            is_reading.set()
            assert is_counted.wait(60)
        return _make(*arguments, **options)

    def count_and_claim(connection: Connection, *arguments: Any, **options: Any) -> Claim:
        assert is_reading.wait(60)
        note("sessions", connection.scalar(_SESSIONS))
        is_counted.set()
        return _claim(connection, *arguments, **options)

    with patch.object(drafts, "make", make_beside_a_claim), patch.object(interchanges, "claim", count_and_claim):
        assert states() == _SENT


@pytest.mark.usefixtures("due")
def test_an_export_and_its_drafter_have_a_connection_each() -> None:
    runs(export_and_count_its_sessions)
    [first], *others = noted("sessions")
    assert first == "2"
    assert {count for [count] in others} <= {"1", "2"}


def export_though_no_process_can_be_forked() -> None:
    def fail() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with patch.object(os, "fork", fail):
        exports()


@pytest.mark.usefixtures("due")
def test_where_no_process_can_be_forked_the_export_makes_all_drafts_itself() -> None:
    runs(export_though_no_process_can_be_forked)
    assert list(rendered_by().values()) == [[str(number) for number in range(_ORDERS)]]


@pytest.mark.usefixtures("due")
def test_a_process_with_threads_makes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()
    beside = threading.Thread(target=is_over.wait)
    beside.start()
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it forked"))
    try:
        assert states() == _SENT
    finally:
        is_over.set()
        beside.join()
