"""The bounds of a running `countermand up`: its memory, its connections, its time-outs, and what outages do to it."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text

from database.transactions import CONNECTIONS
from tests.builders import a_request, an_order
from tests.chaos.bulk import park, reprocess
from tests.chaos.embedded import Embedded, embedded_up
from tests.chaos.flood import Wave, broken_bounds, flood, load_orders
from tests.chaos.watch import watching
from tests.processes import await_that
from workers.broker import STREAM
from workers.supervisor import connections

TOKEN = "a-token-to-read-with"

# A login trigger runs inside each new session of the database, and sees what that session has been told.
_NOTE_LOGINS = (
    "CREATE TABLE login (name text, statement_timeout text, lock_timeout text, idle_timeout text)",
    """
    CREATE FUNCTION note_login() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO login VALUES (current_setting('application_name'), current_setting('statement_timeout'),
            current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'));
    END $$
    """,
    "CREATE EVENT TRIGGER note_logins ON login EXECUTE FUNCTION note_login()",
)
_FORGET_LOGINS = ("DROP EVENT TRIGGER note_logins", "DROP FUNCTION note_login", "DROP TABLE login")
_END_SESSIONS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'countermand'"
# By PostgreSQL's last word, or by the line that it closed.
_SESSION_ENDED = re.compile(
    "the database cannot be reached: "
    "(.*terminating connection due to administrator command|.*server closed the connection unexpectedly)"
)
_READ_ONLY = "ALTER DATABASE countermand SET default_transaction_read_only = on"
_WRITABLE = "ALTER DATABASE countermand RESET default_transaction_read_only"


@pytest.fixture(scope="module")
def running() -> Iterator[Embedded]:
    """Everything, on services of its own; kept for whoever has to look when a test fails."""
    # Not under pytest's own folder, through which PostgreSQL, another user when we are root, may not pass.
    folder = Path(tempfile.mkdtemp(prefix="countermand-limits-"))
    settings = {"COUNTERMAND_API_TOKEN": TOKEN, "COUNTERMAND_EXPORT_SECONDS": "1", "COUNTERMAND_SWEEP_SECONDS": "0.5"}
    with embedded_up(folder, **settings) as running:
        yield running
    shutil.rmtree(folder)


def on_the_server(running: Embedded, *statements: str) -> None:
    with running.server.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.fixture(scope="module")
def http(running: Embedded) -> Iterator[httpx2.Client]:
    authorized = {"Authorization": f"Bearer {TOKEN}"}
    with httpx2.Client(base_url=f"http://127.0.0.1:{running.port}", headers=authorized, timeout=30) as client:
        yield client


def decided(running: Embedded, *ids: str) -> bool:
    found = running.rows("SELECT external_id AS id FROM change_request WHERE state = 'decided'")
    return set(ids) <= {row.id for row in found}


# The longest first: the services are those of all tests here.


def test_a_flood_grows_no_process_with_its_queue_and_leaves_nothing_on_the_stream(running: Embedded) -> None:
    wave = Wave("flood", 4000, padding=4000)
    load_orders(running, wave)
    warm_up = flood(running, Wave("warm-up", 1000, padding=4000), held=True)
    flooded = flood(running, wave, held=True)
    # All of it was there at once.
    assert flooded.peaks.entries == wave.count
    assert broken_bounds(running, warm_up, flooded) == []
    assert flooded.broker_bytes_left < warm_up.broker_bytes_left + 2**20


def test_each_process_keeps_to_its_connections_and_all_together_to_the_servers(
    running: Embedded, http: httpx2.Client
) -> None:
    with watching(running) as peaks, ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda one: http.get(f"/requests/nobody/{one}").status_code, range(200)))
    assert set(answers) == {404}
    budget = {f"countermand-{name}": number for name, number in connections().items() if number}
    assert {name for name, number in peaks.connections.items() if number > budget.get(name, 0)} == set()
    assert peaks.connections["countermand-http"] == CONNECTIONS
    [[most]] = running.rows("SELECT current_setting('max_connections')::int")
    assert 2 * sum(budget.values()) < most


def test_every_session_has_its_time_outs(running: Embedded, http: httpx2.Client) -> None:
    for statement in _NOTE_LOGINS:
        running.rows(statement)
    on_the_server(running, _END_SESSIONS)
    http.get("/requests/nobody/1")
    running.load(an_order("TIMED"))
    running.publish(a_request("TIMED", id="timed"))
    for command in ("migrate", "export"):
        assert running.run(command).returncode == 0
    expected = {*(f"countermand-{name}" for name, number in connections().items() if number), "countermand"}

    def seen() -> set[str]:
        return {row.name for row in running.rows("SELECT name FROM login WHERE name <> 'tests'")}

    await_that(lambda: seen() == expected, "each process has a new session")
    await_that(lambda: decided(running, "timed"), "its request is decided")
    found = running.rows(
        "SELECT DISTINCT statement_timeout, lock_timeout, idle_timeout FROM login WHERE name <> 'tests'"
    )
    for statement in _FORGET_LOGINS:
        running.rows(statement)
    assert [tuple(row) for row in found] == [("1min", "5s", "1min")]


def test_a_database_that_takes_no_writes_is_waited_out_and_reported_in_few_lines(
    running: Embedded, http: httpx2.Client
) -> None:
    running.load(an_order("READ-ONLY-1"), an_order("READ-ONLY-2"))
    before = len(running.log())

    def refused(who: str) -> bool:
        return any(who in line and "takes no writes" in line for line in running.log()[before:].splitlines())

    on_the_server(running, _READ_ONLY, _END_SESSIONS)
    try:
        running.publish(a_request("READ-ONLY-1", id="1"), a_request("READ-ONLY-2", id="2"))
        await_that(lambda: refused("cannot take requests now"), "the intake has met it")
        await_that(lambda: refused('"countermand.export"'), "the exporter has met it")
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()["database"]) == (503, False)
        assert running.broker.xlen(STREAM) == 2
        reported = running.log()[before:]
    finally:
        on_the_server(running, _WRITABLE, _END_SESSIONS)
    assert "Traceback" not in reported
    # What ended before may be told to be over only now; that has no error. A session that was at work when this test
    # ended it tells of that.
    errors = {line["error"] for line in map(json.loads, reported.splitlines()) if "error" in line}
    ended = {error for error in errors if _SESSION_ENDED.fullmatch(error)}
    assert {error.partition(" (")[0] for error in errors - ended} == {"the database takes no writes"}
    await_that(lambda: decided(running, "1", "2"), "what waited is decided")
    assert running.broker.xlen(STREAM) == 0
    assert running.rows("SELECT max(attempts) AS most FROM change_request")[0].most == 0
    assert running.audit()["ok"]
    assert http.get("/readyz").status_code == 200


def test_up_starts_its_services_again_when_they_die(running: Embedded) -> None:
    [valkey], [backend, *_] = running.program("Valkey"), running.program("PostgreSQL")
    server = backend.parent()
    assert server is not None
    before = len(running.log())
    for process in (valkey, server):
        process.kill()
    await_that(lambda: "Valkey runs again" in running.log()[before:], "Valkey runs again")
    await_that(lambda: "PostgreSQL runs again" in running.log()[before:], "PostgreSQL runs again")
    running.load(an_order("AGAIN"))
    running.publish(a_request("AGAIN", id="again"))
    await_that(lambda: decided(running, "again"), "a request is decided as before")
    assert running.audit()["ok"]


def test_a_bulk_that_is_killed_and_goes_on_beside_live_requests_is_decided_once(running: Embedded) -> None:
    park(running, 1500)
    bulk = reprocess(running, 1500)
    assert bulk.wrong == []
    assert bulk.live > 0
