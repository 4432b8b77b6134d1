"""PostgreSQL is killed while HTTP answers: each answer is one that was meant, or 503; and none is ever 500."""

import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import httpx2
import psutil
import psycopg
import pytest
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError, ProgrammingError

from database import transactions
from database.faults import Fault, classify, describe_fault
from database.migrate import migrate
from database.transactions import in_transaction
from desks.registry import Helpdesks
from tests.cut_line import Line, cut_line
from tests.databases import working_on
from tests.deliveries import a_delivery
from tests.processes import await_that
from tests.serving import send, serving
from workers.embedded import Services, embedded_services

_AGAIN = {200, 202, 404, 503}
_TOKEN = "a-token-to-read-with"


@pytest.fixture
def own(system: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This process works on a server of the test's own; yields the folder of its data."""
    monkeypatch.setenv("COUNTERMAND_API_TOKEN", _TOKEN)
    with (
        TemporaryDirectory(prefix="countermand-test-") as folder,
        embedded_services(Path(folder), durable=False) as services,
        working_on(services.database_url),
    ):
        in_transaction(migrate)
        yield Path(folder) / "data" / "postgres"


def kill_a_backend(data: Path, how: signal.Signals) -> None:
    """Kills one that serves us; with SIGKILL and SIGQUIT the server then ends all others, and recovers."""
    postmaster = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
    for one in postmaster.children():
        # It may end by itself, as we look at it.
        with suppress(psutil.NoSuchProcess):
            if " countermand " in " ".join(one.cmdline()):
                one.send_signal(how)
                return


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT], ids=lambda how: how.name)
def test_while_backends_are_killed_each_answer_is_one_that_was_meant_or_503(
    own: Path, six_desks: Helpdesks, woken: list[object], how: signal.Signals
) -> None:
    answers: Counter[int] = Counter()
    done = Event()

    def more_than(taken: int) -> bool:
        return answers[202] > taken

    def ask(name: int) -> None:
        with httpx2.Client(base_url=url, timeout=30) as client:
            number = 0
            while not done.is_set():
                number += 1
                asked = (
                    send(client, a_delivery("shop", id=f"{name}-{number}", order=str(number))),
                    client.get("/requests/shop/1", headers={"Authorization": f"Bearer {_TOKEN}"}),
                    client.get("/readyz"),
                )
                answers.update(one.status_code for one in asked)

    with serving(six_desks) as url, ThreadPoolExecutor(8) as threads:
        asking = [threads.submit(ask, name) for name in range(8)]
        try:
            for _ in range(4):
                taken = answers[202]
                await_that(partial(more_than, taken + 20), "it takes deliveries")
                kill_a_backend(own, how)
        finally:
            done.set()
        for one in asking:
            one.result(60)
    assert answers.keys() <= _AGAIN, answers
    assert answers[503] > 0


@pytest.fixture
def line(system: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A line to the test's database that can be cut; this process goes by it."""
    url = make_url(system.database_url)
    host, port = url.query.get("host", url.host), int(str(url.query.get("port", url.port or 5432)))
    server = f"{host}/.s.PGSQL.{port}" if str(host).startswith("/") else (str(host), port)
    with cut_line(server) as made:
        by_line = url.set(host="127.0.0.1", port=made.port, query={"sslmode": "disable", "gssencmode": "disable"})
        with working_on(by_line.render_as_string(hide_password=False)):
            yield made


def work(connection: Connection) -> None:
    connection.exec_driver_sql("INSERT INTO stock (sku, quantity) VALUES ('A', 0) ON CONFLICT DO NOTHING")
    connection.exec_driver_sql("SELECT repeat('x', 100) FROM generate_series(1, 3)").all()


@pytest.mark.parametrize("reset", [False, True], ids=["ended", "reset"])
@pytest.mark.parametrize("connected", [False, True], ids=["from the start", "from a transaction on"])
def test_a_line_that_is_cut_after_any_part_of_an_answer_is_an_outage(line: Line, reset: bool, connected: bool) -> None:
    def start() -> None:
        transactions.engine().dispose()
        line.cut_after, line.passed = None, 0
        if connected:
            transactions.engine().connect().close()
            line.passed = 0

    # The first connection of an engine asks for more than all others.
    for _ in range(2):
        start()
        in_transaction(work)
    whole, line.reset = line.passed, reset
    assert whole > 400
    for cut_after in range(0, whole, 13):
        start()
        line.cut_after = cut_after
        with pytest.raises(DBAPIError) as cut:
            in_transaction(work)
        assert (cut_after, classify(cut.value)) == (cut_after, Fault.OUTAGE)
        assert describe_fault(cut.value).startswith("the database ")


_UNKNOWN = psycopg.ProgrammingError("can't change 'autocommit' now: connection in transaction status UNKNOWN")
_ENDED = psycopg.DatabaseError("server closed the connection unexpectedly")


@pytest.mark.parametrize(
    "error",
    [
        # At the start of a session, or at the end of a transaction, of a connection that was lost unawares.
        ProgrammingError(None, None, _UNKNOWN),
        # libpq makes a result without an SQLSTATE of a line that ends in the midst of an answer.
        DBAPIError("SELECT 1", None, _ENDED),
        ProgrammingError("SELECT 1", None, _UNKNOWN, connection_invalidated=True),
        PendingRollbackError("Can't reconnect until invalid transaction is rolled back."),
        # What the driver raises where SQLAlchemy does not stand between.
        psycopg.OperationalError("the connection is lost"),
        psycopg.errors.AdminShutdown("terminating connection due to administrator command"),
        OperationalError(None, None, psycopg.OperationalError("the database system is in recovery mode")),
    ],
    ids=str,
)
def test_a_connection_that_was_lost_is_an_outage_however_it_is_noticed(error: Exception) -> None:
    assert classify(error) is Fault.OUTAGE
    assert describe_fault(error).startswith("the database cannot be reached: ")


@pytest.mark.parametrize(
    "refused",
    [psycopg.DataError("PostgreSQL text fields cannot contain NUL"), psycopg.ProgrammingError("cannot adapt type")],
    ids=str,
)
def test_a_value_that_the_driver_refuses_is_the_fault_of_the_work(refused: psycopg.Error) -> None:
    assert classify(DBAPIError("SELECT 1", None, refused)) is Fault.PERMANENT
    assert classify(refused) is Fault.PERMANENT
