"""How PostgreSQL reads a backlog that its statistics know nothing of: they are of a time when nothing was undecided."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from database.transactions import in_transaction
from edi import interchanges
from orders.inbox import Delivery
from orders.reprocessing import Filter, find_parked
from orders.request_retries import find_overdue
from tasks.answers import answer_one
from tasks.effects import NOTIFY, RESTOCK
from tasks.intake import take
from tasks.partners import partners
from tasks.running.batches import run_batch
from tests.builders import DECIDING, a_request, an_order, deliver, encoded, load, rows, settle
from tests.race.gates import observing
from workers.embedded import Services

GROWING = ["change_request", "effect", "notification", "orders"]
BY_ORDER = "Index Cond: ((order_number >= "


@pytest.fixture
def backlog(system: Services) -> None:
    """Undecided requests for orders that are due, unknown to the planner."""
    load(*(an_order(f"{number}") for number in range(300)))
    deliver(*(a_request(f"{number}", "change_items") for number in range(300)))
    settle()
    with observing() as outside:
        outside.exec_driver_sql("VACUUM ANALYZE")
        outside.exec_driver_sql("ALTER TABLE change_request SET (autovacuum_enabled = false)")
    deliver(*(a_request(f"{number}", "change_items") for number in range(200)))


@contextmanager
def plans(engine: Engine, *, of: str) -> Iterator[list[str]]:
    """Collects how statements are planned that read this table."""
    found: list[str] = []

    def explain(connection: Connection, _: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if f"FROM {of}" in statement and statement.lstrip().startswith("SELECT"):
            cursor = connection.connection.cursor()
            cursor.execute(f"EXPLAIN {statement}", parameters)
            found.append("\n".join(row[0] for row in cursor.fetchall()))
            cursor.close()

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", explain)


@pytest.mark.usefixtures("backlog")
def test_the_requests_of_each_order_are_read_by_their_order(engine: Engine) -> None:
    with plans(engine, of="change_request") as found:
        assert run_batch(DECIDING) == 200
    # First those that are due, whatever their orders.
    due, theirs = found
    assert "Index Scan using change_request_undecided on" in due
    assert BY_ORDER in theirs


@pytest.mark.usefixtures("backlog")
def test_whether_an_order_is_held_back_is_asked_order_by_order(engine: Engine) -> None:
    with plans(engine, of="change_request") as found:
        claimed = in_transaction(claim).interchange
    assert claimed is not None
    assert claimed.orders == 100
    assert len(found) == 2
    assert all(BY_ORDER in plan for plan in found)


@pytest.mark.usefixtures("system")
def test_a_foreign_key_is_not_looked_up_row_by_row_because_the_inbox_was_empty_at_the_first_time() -> None:
    with observing() as outside:
        outside.exec_driver_sql("VACUUM ANALYZE")
    load(*(an_order(f"{number}") for number in range(200)))
    for number in range(100):
        take([Delivery("test", None, encoded(a_request(f"{number}")))])
    before = rows_read("seq_tup_read", of=["change_request"])
    take([Delivery("test", None, encoded(a_request(f"{number}"))) for number in range(100, 200)])
    assert rows("SELECT count(*) FROM effect") == [(400,)]
    assert rows_read("seq_tup_read", of=["change_request"]) == before


@pytest.fixture
def planned_for_all_values(engine: Engine) -> Iterator[None]:
    """Has PostgreSQL plan as it may after some repetitions: once, whatever the parameters are."""

    def plan(connection: Connection) -> None:
        connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")

    event.listen(engine, "begin", plan)
    try:
        yield
    finally:
        event.remove(engine, "begin", plan)


def claim(connection: Connection) -> interchanges.Claim:
    return interchanges.claim(connection, partners()[0], patience=timedelta(minutes=15))


def overdue(connection: Connection) -> object:
    return find_overdue(connection, limit=200, patience_since=datetime.now(UTC))


def parked(connection: Connection) -> object:
    return find_parked(connection, Filter(), limit=200)


LOOKS: dict[str, Callable[[], object]] = {
    "decisions": lambda: run_batch(DECIDING),
    "restocks": lambda: run_batch(RESTOCK),
    "notices": lambda: run_batch(NOTIFY),
    "answers": answer_one,
    "orders to export": lambda: in_transaction(claim).interchange,
    "unknown orders": lambda: in_transaction(overdue),
    "parked requests": lambda: in_transaction(parked),
}


@pytest.mark.usefixtures("planned_for_all_values")
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_who_looks_for_work_reads_nothing_of_what_was_done_before(look: Callable[[], object]) -> None:
    load(*(an_order(f"{number}") for number in range(300)))
    deliver(*(a_request(f"{number}") for number in range(300)))
    settle()
    before = rows_read()
    assert not look()
    assert rows_read() == before


def rows_read(how: str = "seq_tup_read + idx_tup_fetch", of: Sequence[str] = GROWING) -> int:
    rows("SELECT pg_stat_force_next_flush()")
    [(read,)] = rows(f"SELECT sum({how}) FROM pg_stat_user_tables WHERE relname = ANY(:of)", of=list(of))
    return int(read)
