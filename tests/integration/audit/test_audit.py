"""The audit itself: what it counts, what it sees, and that it writes nothing."""

from typing import Any

import psycopg.errors
import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from orders.audit import EXAMPLES, audit
from tests.acknowledgements import PATIENCE
from tests.audits import broken, checks, meddle
from tests.builders import rows
from tests.integration.audit.histories import make_history

pytestmark = pytest.mark.usefixtures("system")


def test_no_more_than_a_few_violations_are_spelled_out_but_all_are_counted() -> None:
    make_history()
    meddle("DELETE FROM notification")
    found = checks()[6]
    assert found["violations"] == rows("SELECT count(*) FROM change_request WHERE state = 'decided'")[0][0] > EXAMPLES
    assert len(found["examples"]) == EXAMPLES


def test_the_audit_does_not_wait_for_a_writer_and_does_not_see_what_it_has_not_committed(engine: Engine) -> None:
    make_history()
    with engine.connect() as rival:
        rival.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for table in ("orders", "change_request", "effect", "interchange", "partner", "stock"):
            rival.exec_driver_sql(f"SELECT FROM {table} FOR UPDATE")
        rival.exec_driver_sql("DELETE FROM notification")
        rival.exec_driver_sql("UPDATE stock SET quantity = 99")
        # A wait would end in the engine's lock timeout, as an error.
        assert broken() == {}
        rival.commit()
    assert set(broken()) == {5, 6}


def test_all_checks_see_the_same_moment(engine: Engine) -> None:
    make_history()
    broken_since: list[str] = []

    def break_it(_: Connection, __: Any, statement: str, *rest: Any) -> None:
        # After the first check has run, and before those that this breaks.
        if "pre_order_abandoned" in statement and not broken_since:
            broken_since.append(statement)
            meddle("DELETE FROM notification", "UPDATE stock SET quantity = 99")

    event.listen(engine, "before_cursor_execute", break_it)
    try:
        assert broken() == {}
    finally:
        event.remove(engine, "before_cursor_execute", break_it)
    assert broken_since
    assert set(broken()) == {5, 6}


def test_the_audit_can_write_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        audit(connection, patience=PATIENCE)
        with pytest.raises(DBAPIError) as refused:
            connection.execute(text("INSERT INTO stock (sku, quantity) VALUES ('X', 1)"))
    assert isinstance(refused.value.orig, psycopg.errors.ReadOnlySqlTransaction)
