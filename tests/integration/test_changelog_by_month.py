"""The changelog in parts, one a month, by docs/examples/changelog_by_month.sql: what holds on it, and what is lost."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from database.transactions import in_transaction
from orders.audit import audit
from tests.builders import a_request, an_order, deliver, load, order, rows, settle
from tests.commands import Countermand
from tests.roles import REFUSED_BY_A_TRIGGER, fate
from workers.embedded import Services

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "changelog_by_month.sql"
UNIQUE = "23505"
# The same change for the same request once more.
AGAIN = """
    INSERT INTO changelog (order_id, at, actor, action, change_request_id)
    SELECT order_id, {at}, actor, action, change_request_id FROM changelog WHERE action = 'cancelled'
"""


@pytest.fixture
def by_month(system: Services) -> None:
    """A changelog in parts: before the change an order was cancelled, and afterwards another."""
    load(*(an_order(number) for number in ("1", "2", "3")))
    deliver(a_request("1"))
    settle()
    script = SCRIPT.read_bytes()
    with psycopg.connect(system.database_url.replace("+psycopg", ""), autocommit=True) as owner:
        if owner.info.server_version < 170000:
            pytest.skip("PostgreSQL 17 is the first whose tables in parts number their rows")
        owner.execute(script)
        # The last block is for each month.
        owner.execute(script[script.rindex(b"DO $$") :].replace(b"COMMIT;", b""))


def broken_promises() -> dict[int, Any]:
    found = in_transaction(lambda connection: audit(connection, patience=timedelta(minutes=15)))
    return {check["promise"]: check["examples"] for check in found["checks"] if check["violations"]}


@pytest.mark.usefixtures("by_month")
def test_everything_goes_on_and_history_stays_as_it_was(countermand: Countermand, engine: Engine) -> None:
    deliver(a_request("2"))
    settle()
    assert countermand("export").code == 0
    assert [order(number)["status"] for number in ("1", "2")] == ["cancelled", "cancelled"]
    assert [entry["action"] for entry in order("1")["changelog"]] == ["loaded", "cancelled"]
    assert [entry["action"] for entry in order("3")["changelog"]] == ["loaded", "edi_claimed", "edi_sent"]
    assert broken_promises() == {}
    assert fate(engine, AGAIN.format(at="date_trunc('month', now()) + interval '2 months'")) is None
    parts = [row.name for row in rows("SELECT DISTINCT tableoid::regclass::text AS name FROM changelog")]
    assert len(parts) == 2
    tries = (verb.format(name) for name in ("changelog", *parts) for verb in ("DELETE FROM {}", "TRUNCATE {}"))
    changed = ("UPDATE changelog SET note = ''", *tries)
    assert {statement: fate(engine, statement) for statement in changed} == dict.fromkeys(changed, REFUSED_BY_A_TRIGGER)


@pytest.mark.usefixtures("by_month")
def test_one_change_twice_is_refused_within_a_month_and_across_two_only_found(engine: Engine) -> None:
    assert fate(engine, AGAIN.format(at="now()")) == UNIQUE
    assert broken_promises() == {}
    assert fate(engine, AGAIN.format(at="date_trunc('month', now()) + interval '1 month'")) is None
    assert set(broken_promises()) == {2}


@pytest.mark.usefixtures("by_month")
def test_without_the_months_that_are_taken_away_the_audit_does_not_hold(
    countermand: Countermand, engine: Engine
) -> None:
    assert countermand("export").code == 0
    assert broken_promises() == {}
    assert fate(engine, "ALTER TABLE changelog DETACH PARTITION changelog_first") is None
    assert {2, 4} <= set(broken_promises())
