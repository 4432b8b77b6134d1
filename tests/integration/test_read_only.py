"""A database that takes no writes: reported in one line, answered 503, waited out; nothing is counted or lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx2
import pytest
from sqlalchemy import create_engine, make_url, text
from structlog.testing import capture_logs

from database.transactions import in_transaction
from orders.audit import audit
from tasks.answers import answer
from tasks.changes import apply_changes, park_unknown
from tasks.effects import notify, restock
from tasks.export import export
from tasks.receipts import read_inboxes
from tests.builders import a_request, an_order, decide_all, deliver, encoded, load, request, rows, settle
from tests.commands import Countermand, error_line
from tests.deliveries import DESKS, a_delivery
from tests.readiness import READY, services
from tests.serving import send
from workers.embedded import Services

_TASKS: list[Callable[[], None]] = [apply_changes, park_unknown, restock, notify, export, read_inboxes]
_TOLD = "the database takes no writes (cannot execute "


@contextmanager
def read_only(system: Services) -> Iterator[None]:
    """Lets the test's database take no writes for the block, and ends all sessions: they know it otherwise."""
    database = make_url(system.database_url).database
    server = create_engine(make_url(system.database_url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    end_all = text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name")
    with server.connect() as connection:
        connection.execute(text(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on'))
        connection.execute(end_all, {"name": database})
        try:
            yield
        finally:
            connection.execute(text(f'ALTER DATABASE "{database}" RESET default_transaction_read_only'))
            connection.execute(end_all, {"name": database})
    server.dispose()


def test_each_task_tells_it_in_one_line_and_counts_nothing_and_all_is_done_afterwards(system: Services) -> None:
    load(an_order("1"), an_order("2"), an_order("3"))
    decided, undecided = a_request("1"), a_request("2")
    deliver(decided)
    decide_all()
    deliver(undecided, a_request("unknown"))
    rows(
        "UPDATE change_request SET undecided_since = now() - interval '1 hour'"
        " WHERE order_number = 'unknown' RETURNING id"
    )
    with capture_logs() as logged, read_only(system):
        for task in (*_TASKS, *_TASKS):
            task()
    assert [entry["event"] for entry in logged] == ["task failed for now, it will be tried again"] * len(_TASKS)
    assert all(entry["error"].startswith(_TOLD) and "\n" not in entry["error"] for entry in logged)
    for table in ("change_request", "effect"):
        assert {row.attempts for row in rows(f"SELECT attempts FROM {table}")} == {0}
    with capture_logs() as logged:
        for task in _TASKS:
            task()
    assert [entry["event"] for entry in logged].count("task works again") == len(_TASKS)
    settle()
    for event in (decided, undecided):
        shown = request(event)
        assert (shown["outcome"], {effect["state"] for effect in shown["effects"]}) == ("applied", {"done"})
    assert in_transaction(lambda connection: audit(connection, patience=timedelta(minutes=15)))["ok"]


def test_an_answer_that_is_due_is_not_taken_and_its_try_is_not_counted(system: Services) -> None:
    load(an_order("1"))
    deliver(a_request("1"))
    decide_all()
    rows(
        "INSERT INTO notification (change_request_id, channel, visibility, subject, body, state)"
        " SELECT id, 'ticket', 'public', '', '', 'pending' FROM change_request RETURNING id"
    )
    rows("UPDATE effect SET destination = 'zendesk:acme' WHERE kind = 'notify' RETURNING id")
    with capture_logs() as logged, read_only(system):
        answer()
    [entry] = logged
    assert entry["error"].startswith(_TOLD)
    assert {row.attempts for row in rows("SELECT attempts FROM effect")} == {0}


def test_what_is_no_outage_is_celerys_to_log_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr("tasks.effects.drain", broken)
    with pytest.raises(ZeroDivisionError):
        restock()


def test_each_desk_is_told_to_come_back_and_is_taken_then(http: httpx2.Client, system: Services) -> None:
    deliveries = [a_delivery(desk) for desk in DESKS]
    with read_only(system), capture_logs() as logged:
        for delivery in deliveries:
            answered = send(http, delivery)
            assert (answered.status_code, answered.headers["retry-after"]) == (503, "5")
        ready = http.get("/readyz")
        assert (ready.status_code, services(ready)) == (503, {"ok": False, "database": False, "broker": True})
    [only] = [entry for entry in logged if entry["log_level"] != "info"]
    assert only["error"].startswith(_TOLD)
    assert [send(http, delivery).status_code for delivery in deliveries] == [202] * len(DESKS)
    assert services(http.get("/readyz")) == READY


def test_a_command_that_writes_is_reported_in_one_line_and_one_that_reads_goes_on(
    countermand: Countermand, system: Services
) -> None:
    load(an_order("1"))
    with read_only(system):
        for arguments, given in ((["orders", "load", "-"], encoded(an_order("2"))), (["export"], b"")):
            assert error_line(countermand(*arguments, stdin=given), 3).startswith(_TOLD)
        assert [one["number"] for one in countermand("orders", "list", "--json").json] == ["1"]
        assert countermand("audit", "--json").json["ok"]
    assert countermand("orders", "load", "-", stdin=encoded(an_order("2"))).code == 0
