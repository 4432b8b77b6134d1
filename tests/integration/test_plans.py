"""How PostgreSQL reads a backlog that its statistics know nothing of: they are of a time when nothing was undecided."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from edi import interchanges
from orders.inbox import Delivery
from tasks.batches import run_batch
from tasks.database import in_transaction
from tasks.intake import take
from tasks.partners import partners
from tests.builders import DECIDING, a_request, an_order, deliver, encoded, load, rows, settle
from tests.race.gates import observing
from workers.embedded import Services

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
    def claim(connection: Connection) -> interchanges.Claim:
        return interchanges.claim(connection, partners()[0], patience=timedelta(minutes=15))

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
    before = rows_read_in_sequence()
    take([Delivery("test", None, encoded(a_request(f"{number}"))) for number in range(100, 200)])
    assert rows("SELECT count(*) FROM effect") == [(400,)]
    assert rows_read_in_sequence() == before


def rows_read_in_sequence() -> int:
    rows("SELECT pg_stat_force_next_flush()")
    [(read,)] = rows("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'change_request'")
    return int(read)
