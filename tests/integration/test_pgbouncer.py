"""Through PgBouncer in transaction mode, on the settings of docs/examples/pgbouncer.ini: few sessions, many clients."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from threading import Barrier
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from database import session, transactions
from database.faults import Fault, classify
from database.transactions import in_transaction
from tests.builders import a_request, an_address, an_order, deliver, encoded, load, order, settle
from tests.commands import Countermand, error_line
from tests.databases import servers_account, working_on
from tests.processes import await_that, running_up
from workers.embedded import Services
from workers.embedded.server import Server
from workers.embedded.valkey import _free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
SETTINGS = Path(__file__).parents[2] / "docs" / "examples" / "pgbouncer.ini"
STATS = "countermand_stats"
SESSIONS = 2
MOVED = {"shipping": an_address(line1="Domplatz 1")}
WRITE = "UPDATE orders SET version = version + 1"

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no program pgbouncer is installed")


@dataclass(frozen=True)
class Pooler:
    """A PgBouncer before the test's database."""

    url: str
    direct: Engine

    def shown(self, what: str) -> list[dict[str, Any]]:
        """Returns what PgBouncer shows of itself for the test's database."""
        url = make_url(self.url).set(drivername="postgresql", username=STATS, database="pgbouncer")
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True, row_factory=dict_row) as stats:
            return [row for row in stats.execute(f"SHOW {what}") if row["database"] != "pgbouncer"]

    def sessions(self) -> int:
        """Returns how many sessions PostgreSQL has with PgBouncer."""
        return len(self._ask("SELECT 1 FROM pg_stat_activity WHERE {}"))

    def end_sessions(self) -> int:
        """Ends these sessions, as a restart of PostgreSQL would; returns how many there were."""
        return len(self._ask("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {}"))

    def _ask(self, query: str) -> list[Any]:
        ours = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        with self.direct.connect() as connection:
            return list(connection.execute(text(query.format(ours))))


Start = Callable[..., AbstractContextManager[Pooler]]


@pytest.fixture
def start(system: Services) -> Start:
    """Lets this process, and those it starts, work through a PgBouncer for a block; `changes` are of its settings."""

    @contextmanager
    def started(**changes: str) -> Iterator[Pooler]:
        direct = create_engine(system.database_url, isolation_level="AUTOCOMMIT")
        with pgbouncer(system.database_url, changes) as url, working_on(url, pooled=True):
            yield Pooler(url, direct)
        direct.dispose()

    return started


@contextmanager
def pgbouncer(database_url: str, changes: dict[str, str]) -> Iterator[str]:
    """Runs PgBouncer before a database on the settings of the docs; yields the URL that leads through it."""
    url, account = make_url(database_url), servers_account()
    password, port = url.password or "a-password-of-tests", int(_free_port(""))
    # It does not run as root either, and under pytest's own folder nobody else could read its files.
    with tempfile.TemporaryDirectory(prefix="countermand-test-") as name:
        folder = Path(name) / "pgbouncer"
        folder.mkdir()
        users = folder / "userlist.txt"
        users.write_text("".join(f'"{user}" "{password}"\n' for user in (url.username, STATS)))
        here = {
            "host=postgres.example port=5432 dbname=countermand": _place(database_url),
            "listen_addr = 0.0.0.0": "listen_addr = 127.0.0.1",
            "listen_port = 6432": f"listen_port = {port}",
            "/etc/pgbouncer/userlist.txt": str(users),
            "default_pool_size = 16": f"default_pool_size = {SESSIONS}",
            **changes,
        }
        rendered = SETTINGS.read_text()
        for shown, meant in here.items():
            assert rendered.count(shown) == 1, shown
            rendered = rendered.replace(shown, meant)
        (folder / "pgbouncer.ini").write_text(rendered)
        for path in (folder.parent, folder, *folder.iterdir()):
            if account:
                account.give(path)
        through = url.set(
            drivername="postgresql", host="127.0.0.1", port=port, database="countermand", password=password, query={}
        )

        def is_ready(_pid: int) -> bool:
            with suppress(psycopg.OperationalError):
                psycopg.connect(through.render_as_string(hide_password=False)).close()
                return True
            return False

        with Server("PgBouncer", [str(PROGRAM), "pgbouncer.ini"], folder, SIGINT, is_ready, account).running():
            yield through.render_as_string(hide_password=False)


def _place(database_url: str) -> str:
    url = make_url(database_url)
    host, port = url.query.get("host", url.host), url.query.get("port", url.port or 5432)
    return f"host={host} port={port} dbname={url.database}"


@pytest.fixture
def pooler(start: Start) -> Iterator[Pooler]:
    """This process works through a PgBouncer."""
    with start() as started:
        yield started


def test_all_processes_share_two_sessions_which_end_in_the_midst(
    start: Start, countermand: Countermand, home: Path
) -> None:
    def run(*arguments: str, lines: Sequence[dict[str, Any]] = ()) -> Any:
        ended = countermand(*arguments, "--json", stdin=b"\n".join(map(encoded, lines)))
        assert ended.code == 0, ended.err
        return ended.json

    with start() as pooler:
        # Exported is at our word alone.
        env = {**os.environ, "COUNTERMAND_EXPORT_SECONDS": "3600"}
        with running_up(home, int(_free_port("")), env):
            run("requests", "submit", "-", lines=[a_request(str(number)) for number in range(1, 11)])
            run("orders", "load", "-", lines=[an_order(str(number)) for number in range(1, 31)])
            moved = (a_request(str(number), "change_address", addresses=MOVED) for number in range(11, 21))
            run("requests", "submit", "-", lines=list(moved))
            assert 1 <= pooler.end_sessions() <= SESSIONS
            run("requests", "wait")
            assert run("export")["exported"] == 20
            assert len(pooler.shown("CLIENTS")) > SESSIONS >= pooler.sessions()
            assert {one["outcome"] for one in run("requests", "list")} == {"applied"}
            found = Counter((one["status"], one["edi"]) for one in run("orders", "list"))
            assert found == {("cancelled", "not_sent"): 10, ("validated", "sent"): 20}
            assert run("audit")["ok"]


def test_the_time_outs_hold_in_every_transaction_and_nothing_is_left_in_a_session(
    system: Services, start: Start
) -> None:
    with psycopg.connect(system.database_url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute(f"ALTER DATABASE {owner.info.dbname} SET timezone = 'Asia/Tokyo'")
    both = Barrier(SESSIONS, timeout=30)

    def look(connection: Connection) -> dict[str, str]:
        both.wait()
        shown = ("timezone", "lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
        return {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in shown}

    asked = {"timezone": "UTC", "lock_timeout": "5s"}
    asked |= {"statement_timeout": "1min", "idle_in_transaction_session_timeout": "1min"}
    with start() as pooler, ThreadPoolExecutor(SESSIONS) as threads:
        deliver(a_request())
        load(an_order())
        for _ in range(6):
            assert list(threads.map(in_transaction, [look] * SESSIONS)) == [asked] * SESSIONS
        settle()
        assert order()["status"] == "cancelled"
        assert pooler.sessions() == SESSIONS
        left = (
            "SELECT (SELECT count(*) FROM pg_prepared_statements), count(*) FROM pg_locks WHERE locktype = 'advisory'"
        )
        for _ in range(SESSIONS):
            with psycopg.connect(pooler.url) as plain:
                assert plain.execute("SHOW lock_timeout").fetchone() == ("0",)
                assert plain.execute("SHOW timezone").fetchone() == ("Asia/Tokyo",)
                assert plain.execute(left).fetchone() == (0, 0)


def test_a_lock_that_somebody_holds_ends_a_try_and_the_next_gets_it(
    pooler: Pooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(session.SESSION, "lock_timeout", "100ms")
    load(an_order())
    tries = 0
    with transactions.engine().connect() as rival:
        rival.exec_driver_sql(WRITE)

        def work(connection: Connection) -> None:
            nonlocal tries
            tries += 1
            if tries == 2:
                rival.rollback()
            connection.exec_driver_sql(WRITE)

        in_transaction(work)
    assert (tries, order()["version"]) == (2, 2)


def test_a_session_that_ends_in_a_transaction_is_an_outage_and_the_next_transaction_has_another(
    pooler: Pooler,
) -> None:
    load(an_order())

    def work(connection: Connection) -> None:
        connection.exec_driver_sql(WRITE)
        assert pooler.end_sessions()
        connection.exec_driver_sql("SELECT 1")

    with pytest.raises(DBAPIError) as ended:
        in_transaction(work)
    assert classify(ended.value) is Fault.OUTAGE
    assert order()["version"] == 1
    settle()


def test_sessions_that_end_between_transactions_are_not_noticed(pooler: Pooler) -> None:
    load(an_order())
    assert pooler.end_sessions()
    await_that(lambda: not pooler.shown("SERVERS"), "PgBouncer knows that its sessions have ended")
    assert order()["version"] == 1


def test_who_waits_too_long_for_a_session_meets_an_outage(start: Start) -> None:
    with start(**{"query_wait_timeout = 10": "query_wait_timeout = 1"}), ExitStack() as held:
        for _ in range(SESSIONS):
            held.enter_context(transactions.engine().begin())
        with pytest.raises(DBAPIError, match="query_wait_timeout") as waited:
            in_transaction(lambda connection: None)
        held.close()
        assert classify(waited.value) is Fault.OUTAGE
        load(an_order())


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ("", "unsupported startup parameter"),
        ("\nignore_startup_parameters = options", "lock_timeout is 0 and not 5s"),
    ],
    ids=["as in the docs", "options passed over"],
)
def test_without_the_setting_it_is_refused_in_a_line_that_names_it(
    start: Start, countermand: Countermand, more: str, found: str
) -> None:
    with start(**{"pool_mode = transaction": f"pool_mode = transaction{more}"}) as pooler, working_on(pooler.url):
        error = error_line(countermand("orders", "list"), 3)
    assert found in error
    assert "COUNTERMAND_DATABASE_POOLED=true" in error
