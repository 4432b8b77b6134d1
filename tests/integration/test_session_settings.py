"""Whatever a database, a role or a server is set to: each session is set to what the promises need, or is refused."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from database import server, session, transactions
from database.faults import UNFIT_SESSION, Fault, classify, sqlstate
from database.transactions import in_transaction
from orders.audit import audit
from tasks.export import iterate_export
from tasks.partners import partners
from tests.builders import a_request, an_address, an_order, deliver, load, order, request, rows, settle
from tests.commands import Countermand, error_line
from tests.processes import await_that
from workers.embedded import Services

LIMITS = Path(__file__).parents[2] / "docs" / "limits.md"
# For each setting that is ours a value with which something goes wrong, or at least differently.
HOSTILE = {
    "lock_timeout": "1ms",
    "statement_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "default_transaction_isolation": "repeatable read",
    "synchronous_commit": "off",
    "row_security": "on",
    "exit_on_error": "on",
    "timezone": "Asia/Kathmandu",
    "timezone_abbreviations": "India",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "lc_monetary": "C.utf8",
    "lc_numeric": "C.utf8",
    "lc_time": "C.utf8",
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "default_table_access_method": "none_such",
}
# Not by anybody's choice: what takes no writes is told (tests/integration/test_read_only.py).
_LEFT_ALONE = (
    "default_transaction_read_only",
    *(f"transaction_{what}" for what in ("read_only", "isolation", "deferrable")),
)


@contextmanager
def database_set_to(system: Services, settings: Mapping[str, str], role: bool = False) -> Iterator[None]:
    """Sets the test's database, or the role in it, for new sessions, and ends all that there are."""
    url = make_url(system.database_url)
    whose = f'ROLE {url.username} IN DATABASE "{url.database}"' if role else f'DATABASE "{url.database}"'
    owner = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with owner.connect() as connection:
        for name, value in settings.items():
            # A value that is only known to the test's own database is taken with a notice.
            connection.exec_driver_sql(f"ALTER {whose} SET {name} = '{value}'")
        transactions.engine().dispose()
        try:
            yield
        finally:
            connection.exec_driver_sql(f"ALTER {whose} RESET ALL")
            transactions.engine().dispose()
    owner.dispose()


def every_promise_holds() -> bool:
    return bool(in_transaction(lambda connection: audit(connection, patience=timedelta(minutes=15)))["ok"])


def export_all() -> None:
    for partner in partners():
        list(iterate_export(partner))


def accept_decide_export() -> None:
    """Goes the whole way with three orders: one is cancelled, one moved, one left alone."""
    load(an_order("1"), an_order("2"), an_order("3"))
    cancel, move = a_request("1"), a_request("2", "change_address", addresses={"shipping": an_address(line1="Weg 1")})
    deliver(cancel, move)
    settle()
    export_all()
    assert [request(one)["outcome"] for one in (cancel, move)] == ["applied", "applied"]
    assert [order(number)["status"] for number in "123"] == ["cancelled", "validated", "validated"]
    assert [order(number)["edi"] for number in "123"] == ["not_sent", "sent", "sent"]
    assert order("1")["placed_at"] == "2026-11-20T10:00:00Z"
    late = a_request("3")
    deliver(late)
    settle()
    assert request(late)["outcome"] == "refused"
    assert every_promise_holds()


def shown(connection: Connection) -> dict[str, str]:
    version = connection.connection.driver_connection.info.server_version  # type: ignore[union-attr]
    names = session.settings_for(version)
    return {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names}


@pytest.mark.parametrize("role", [False, True], ids=["by the database", "by the role"])
def test_every_setting_that_is_ours_is_ours_whatever_was_chosen_and_the_whole_way_is_gone(
    system: Services, countermand: Countermand, role: bool
) -> None:
    assert HOSTILE.keys() == session.SESSION.keys()
    hostile = {name: value for name, value in HOSTILE.items() if value != "none_such"}
    with database_set_to(system, {**hostile, **_newer(system)}, role):
        accept_decide_export()
        found = in_transaction(shown)
        assert found == {**session.SESSION, **dict.fromkeys(found.keys() - session.SESSION.keys(), "0")}
        audited = countermand("audit", "--json")
        assert (audited.code, audited.json["ok"]) == (0, True)
        assert countermand("migrate").code == 0


def _newer(system: Services) -> dict[str, str]:
    """Hostile values of what only newer servers know."""
    owner = create_engine(system.database_url)
    with owner.connect() as connection:
        found = connection.exec_driver_sql("SHOW server_version_num").scalar_one()
    owner.dispose()
    return {name: "20s" for name, (since, _) in session.SESSION_SINCE.items() if int(found) >= since}


def test_no_other_switch_that_everyone_may_turn_changes_what_is_done(system: Services) -> None:
    ours = {*session.SESSION, *session.SESSION_SINCE, *_LEFT_ALONE}
    switches = rows(
        """
        SELECT name, CASE WHEN vartype = 'enum' THEN (SELECT max(one) FROM unnest(enumvals) AS one
                                                      WHERE one <> setting)
                          WHEN setting = 'on' THEN 'off' ELSE 'on' END AS other
        FROM pg_settings WHERE context = 'user' AND vartype IN ('bool', 'enum')
        """
    )
    turned = {row.name: row.other for row in switches if row.other and row.name.lower() not in ours}
    # With it nobody may log in by a password that is made then.
    turned.pop("password_encryption")
    assert len(turned) > 50
    with database_set_to(system, turned):
        accept_decide_export()


def test_a_cancellation_that_was_accepted_while_an_exporter_waited_wins(system: Services, engine: Engine) -> None:
    load(an_order("1"))
    export_all()
    with (
        database_set_to(system, {"default_transaction_isolation": "serializable"}),
        ThreadPoolExecutor(1) as threads,
        engine.connect() as rival,
    ):
        rival.exec_driver_sql("SELECT FROM partner FOR UPDATE")
        load(an_order("2"))
        exporting = threads.submit(export_all)
        waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        await_that(lambda: bool(rows(waits)), "the exporter waits")
        cancel = a_request("2")
        deliver(cancel)
        rival.rollback()
        exporting.result(30)
        assert order("2")["edi"] == "not_sent"
        settle()
        assert (request(cancel)["outcome"], order("2")["status"]) == ("applied", "cancelled")
        assert every_promise_holds()


REFUSED = {"session_replication_role": "replica", "zero_damaged_pages": "on", "ignore_checksum_failure": "on"}


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_breaks_a_promise_and_is_not_ours_to_set_is_refused_in_a_line(
    system: Services, countermand: Countermand, http: httpx2.Client, name: str
) -> None:
    assert REFUSED.keys() == session.REFUSED.keys()
    with database_set_to(system, {name: REFUSED[name]}):
        for arguments in (["migrate"], ["orders", "list"], ["audit"], ["export"]):
            line = error_line(countermand(*arguments), 2)
            assert line.startswith(f"the database has a setting that breaks a promise ({name} is {REFUSED[name]} ")
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()["database"]) == (503, False)
        with pytest.raises(Exception, match=name) as refused:
            in_transaction(lambda _: None)
        assert (classify(refused.value), sqlstate(refused.value)) == (Fault.OUTAGE, UNFIT_SESSION)
    assert http.get("/readyz").status_code == 200


def test_readiness_asks_the_session_that_it_has_and_not_only_a_new_one(
    http: httpx2.Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert http.get("/readyz").status_code == 200
    for setting in ("session_replication_role = replica", "datestyle = 'SQL, DMY'", "exit_on_error = on"):
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SET {setting}")
            connection.commit()
        assert http.get("/readyz").status_code == 503
        engine.dispose()
        assert http.get("/readyz").status_code == 200


def test_a_server_whose_crash_may_lose_what_was_accepted_is_reported_by_migrate_and_by_the_audit(
    system: Services, countermand: Countermand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert countermand("audit", "--json").json.keys() == {"ok", "checks"}
    [(found,)] = rows("SHOW fsync")
    other = "on" if found == "off" else "off"
    monkeypatch.setitem(server.EXPECTED, "fsync", (other, "what was committed may be lost"))
    line = f"fsync is {found} on the database's server: what was committed may be lost; set it to {other}"
    audited = countermand("audit", "--json")
    # Every promise holds until then.
    assert (audited.code, audited.json["ok"], audited.json["warnings"]) == (0, True, [line])
    migrated = countermand("migrate")
    assert (migrated.code, f"warning: {line}" in migrated.out) == (0, True)


def test_what_is_expected_of_a_server_is_what_postgresql_has_by_default(system: Services) -> None:
    defaults = {row.name: row.boot_val for row in rows("SELECT name, boot_val FROM pg_settings")}
    assert {name: expected for name, (expected, _) in server.EXPECTED.items()} == {
        name: defaults[name] for name in server.EXPECTED
    }


def test_a_row_that_a_policy_hides_is_an_error_and_not_an_order_that_is_not_there(engine: Engine) -> None:
    load(an_order("1"))
    hidden = (
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
        "CREATE ROLE countermand_test_sees_nothing",
        "GRANT SELECT ON orders TO countermand_test_sees_nothing",
        "SET LOCAL ROLE countermand_test_sees_nothing",
    )
    with engine.connect() as connection:
        for statement in hidden:
            connection.execute(text(statement))
        with pytest.raises(DBAPIError, match="row-level security") as refused:
            connection.execute(text("SELECT number FROM orders"))
    assert classify(refused.value) is Fault.OUTAGE


def test_every_group_of_settings_that_this_server_knows_is_in_the_docs(system: Services) -> None:
    section = LIMITS.read_text(encoding="utf-8").partition("## Settings of the database")[2].partition("## Outages")[0]
    groups = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]
    for (category,) in rows("SELECT DISTINCT split_part(category, ' / ', 1) FROM pg_settings"):
        assert any(category in group for group in groups), category
