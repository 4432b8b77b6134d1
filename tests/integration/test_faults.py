"""Whose fault an error is, seen through the real driver; and what a transaction does about it."""

import socket
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Barrier, Event
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

import database.session
import database.transactions
from database.faults import Fault, classify, describe_fault
from database.transactions import CONNECTIONS, in_transaction
from tests.builders import (
    EMAIL,
    an_order,
    load,
    rows,
)

pytestmark = pytest.mark.usefixtures("system")

ADD = "UPDATE stock SET quantity = quantity + 1 WHERE sku = '{}'"


@pytest.fixture(autouse=True)
def _stock(system: Any) -> None:
    rows("INSERT INTO stock (sku, quantity) VALUES ('A', 0), ('B', 0) RETURNING sku")


def quantities() -> dict[str, int]:
    return {row.sku: row.quantity for row in rows("SELECT sku, quantity FROM stock")}


@contextmanager
def someone_holding(engine: Engine, sku: str) -> Iterator[Connection]:
    with engine.connect() as rival:
        rival.exec_driver_sql(f"SELECT FROM stock WHERE sku = '{sku}' FOR UPDATE")
        yield rival


def caught(work: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as error:  # noqa: PT011  # its class is what is asked for
        work()
    return error.value


def state_of(error: BaseException) -> str | None:
    assert isinstance(error, DBAPIError)
    return getattr(error.orig, "sqlstate", None)


def gone(pid: int) -> bool:
    for _ in range(1000):
        if not rows("SELECT pid FROM pg_stat_activity WHERE pid = :pid", pid=pid):
            return True
        Event().wait(0.01)
    return False


def impatient(connection: Connection, timeout: str = "lock_timeout") -> None:
    connection.exec_driver_sql(f"SET LOCAL {timeout} = '20ms'")
    connection.exec_driver_sql(ADD.format("A"))


# Passing conflicts


def test_a_lock_that_is_not_given_in_time_is_tried_again(engine: Engine) -> None:
    with someone_holding(engine, "A"), engine.connect() as waiting:
        error = caught(lambda: impatient(waiting))
    assert (state_of(error), classify(error)) == ("55P03", Fault.RETRYABLE)


def test_a_deadlock_is_tried_again(engine: Engine) -> None:
    both_hold_one = Barrier(2, timeout=30)

    def take(first: str, second: str) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL deadlock_timeout = '20ms'")
            connection.exec_driver_sql(ADD.format(first))
            both_hold_one.wait()
            connection.exec_driver_sql(ADD.format(second))

    with ThreadPoolExecutor(2) as threads:
        taken = [threads.submit(take, "A", "B"), threads.submit(take, "B", "A")]
        errors = [error for one in taken if (error := one.exception(timeout=30))]
    # At least one has to give way; one of them may get through.
    assert errors
    assert {(state_of(error), classify(error)) for error in errors} == {("40P01", Fault.RETRYABLE)}


def test_a_serialization_failure_is_tried_again(engine: Engine) -> None:
    with engine.connect() as late:
        late.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        late.exec_driver_sql("SELECT quantity FROM stock")
        rows(ADD.format("A") + " RETURNING sku")
        error = caught(lambda: late.exec_driver_sql(ADD.format("A")))
    assert (state_of(error), classify(error)) == ("40001", Fault.RETRYABLE)


# Work that cannot be done

_WORK: dict[str, tuple[str | None, str, dict[str, object]]] = {
    "a key that is there already": ("23505", "INSERT INTO stock (sku, quantity) VALUES ('A', 1)", {}),
    "a row that is referred to and is not there": (
        "23503",
        "INSERT INTO effect (change_request_id, kind) VALUES (1, 'notify')",
        {},
    ),
    "a value that a constraint refuses": (
        "23514",
        "INSERT INTO dead_letter (origin, raw, reason, error, state) VALUES ('', '', '', '', 'lost')",
        {},
    ),
    "nothing where something is needed": ("23502", "INSERT INTO stock (sku) VALUES ('C')", {}),
    "a number that is too large": ("22003", "UPDATE stock SET quantity = CAST(:value AS numeric)", {"value": 2**70}),
    "a trigger that refuses": ("23001", "TRUNCATE changelog CASCADE", {}),
    "a NUL in a text": (None, "UPDATE stock SET sku = :value", {"value": "A\0"}),
}


def test_what_the_database_refuses_is_the_fault_of_the_work() -> None:
    for what, (state, statement, values) in _WORK.items():
        error = caught(partial(rows, statement, **values))
        assert (what, state_of(error), classify(error)) == (what, state, Fault.PERMANENT)


def test_half_a_character_is_the_fault_of_the_work() -> None:
    assert classify(caught(lambda: rows("UPDATE stock SET sku = :value", value="\ud800"))) is Fault.PERMANENT


def test_a_statement_that_takes_too_long_is_the_fault_of_the_work(engine: Engine) -> None:
    with someone_holding(engine, "A"), engine.connect() as slow:
        error = caught(lambda: impatient(slow, "statement_timeout"))
    assert (state_of(error), classify(error)) == ("57014", Fault.PERMANENT)


def test_a_fault_of_the_program_is_the_fault_of_the_work() -> None:
    assert classify(ZeroDivisionError()) is Fault.PERMANENT


# Outages


def test_a_refused_connection_is_an_outage() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nowhere = create_engine(f"postgresql+psycopg://127.0.0.1:{port}/postgres")
    error = caught(nowhere.connect)
    assert (state_of(error), classify(error)) == (None, Fault.OUTAGE)


def test_a_database_that_is_not_there_is_an_outage(engine: Engine) -> None:
    elsewhere = create_engine(make_url(engine.url).set(database="countermand_nowhere"))
    assert classify(caught(elsewhere.connect)) is Fault.OUTAGE


def test_a_terminated_backend_is_an_outage_and_the_next_transaction_is_fine(engine: Engine) -> None:
    def work(connection: Connection) -> None:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        rows("SELECT pg_terminate_backend(:pid)", pid=pid)
        assert gone(pid)
        connection.exec_driver_sql(ADD.format("A"))

    error = caught(lambda: in_transaction(work))
    assert (state_of(error), classify(error)) == ("57P01", Fault.OUTAGE)
    assert quantities()["A"] == 0


def _session(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def _end(session: int) -> None:
    # By a session of its own, and not by one of the pool that is looked at.
    with create_engine(database.transactions.engine().url, poolclass=NullPool).connect() as other:
        assert other.scalar(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": session})


def test_a_session_that_ended_between_two_transactions_is_noticed_by_neither() -> None:
    for _ in range(3):
        session = in_transaction(_session)
        assert in_transaction(_session) == session
        _end(session)
        assert in_transaction(_session) != session


def test_a_session_that_ends_as_soon_as_it_is_there_is_an_outage() -> None:
    ours = database.transactions.engine()

    def end(connection: Any, _record: object) -> None:
        _end(connection.info.backend_pid)

    ours.dispose()
    event.listen(ours, "connect", end)
    error = caught(lambda: in_transaction(_session))
    event.remove(ours, "connect", end)
    assert (state_of(error), classify(error)) == ("57P01", Fault.OUTAGE)
    assert in_transaction(_session)


def test_a_session_ended_for_idling_in_its_transaction_is_an_outage(engine: Engine) -> None:
    def work() -> None:
        with engine.connect() as idle:
            idle.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '20ms'")
            assert gone(idle.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            idle.exec_driver_sql(ADD.format("A"))

    assert classify(caught(work)) is Fault.OUTAGE


def test_what_the_databases_user_may_not_do_is_an_outage_and_nobodys_fault(engine: Engine) -> None:
    with engine.connect() as stranger:
        stranger.exec_driver_sql("SET LOCAL ROLE pg_monitor")
        error = caught(lambda: stranger.exec_driver_sql(ADD.format("A")))
    assert (state_of(error), classify(error)) == ("42501", Fault.OUTAGE)


@pytest.mark.parametrize(
    ("statement", "state"), [("SELECT * FROM nowhere", "42P01"), ("SELECT no FROM orders", "42703")]
)
def test_a_schema_that_is_not_up_to_date_is_an_outage_and_nobodys_fault(
    engine: Engine, statement: str, state: str
) -> None:
    with engine.connect() as connection:
        error = caught(lambda: connection.exec_driver_sql(statement))
    assert (state_of(error), classify(error)) == (state, Fault.OUTAGE)


def test_a_database_that_takes_no_writes_is_an_outage() -> None:
    def work(connection: Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql(ADD.format("A"))

    error = caught(lambda: in_transaction(work))
    assert (state_of(error), classify(error)) == ("25006", Fault.OUTAGE)


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ("08006", "cannot be reached: "),
        ("53100", "the disk of the database is full "),
        ("53200", "has no memory left "),
        ("53300", "has no connection left "),
        ("53400", "a limit that is set in the database is reached "),
        ("57P01", "cannot be reached: "),
        ("57P03", "cannot be reached: "),
        ("58030", "the disk of the database fails "),
        ("58P01", "the disk of the database fails "),
    ],
)
def test_a_server_that_lacks_something_is_an_outage_and_reported_in_one_line(
    engine: Engine, state: str, what: str
) -> None:
    with engine.connect() as connection:
        raising = f"DO $$ BEGIN RAISE 'no space left' USING ERRCODE = '{state}', DETAIL = 'Jane Doe'; END $$"
        error = caught(lambda: connection.exec_driver_sql(raising))
    assert (state_of(error), classify(error)) == (state, Fault.OUTAGE)
    assert what in describe_fault(error)
    assert "no space left" in describe_fault(error)
    assert [private for private in ("\n", "Jane") if private in describe_fault(error)] == []


def test_a_limit_of_temporary_files_is_an_outage(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("SET LOCAL temp_file_limit = '64kB'; SET LOCAL work_mem = '64kB'")
        error = caught(lambda: connection.exec_driver_sql("SELECT n FROM generate_series(1, 100000) AS n ORDER BY -n"))
    assert (state_of(error), classify(error)) == ("53400", Fault.OUTAGE)


def test_a_database_that_lets_nobody_in_is_an_outage(engine: Engine) -> None:
    server = create_engine(make_url(engine.url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f'ALTER DATABASE "{engine.url.database}" ALLOW_CONNECTIONS false')
        error = caught(create_engine(engine.url).connect)
        connection.exec_driver_sql(f'ALTER DATABASE "{engine.url.database}" ALLOW_CONNECTIONS true')
    server.dispose()
    assert classify(error) is Fault.OUTAGE
    assert describe_fault(error).startswith("the database cannot be reached: ")
    assert "not currently accepting connections" in describe_fault(error)


def test_a_pool_without_a_free_connection_is_an_outage(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.pool, "_timeout", 0.01)
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(engine.connect())
        error = caught(lambda: rows("SELECT 1"))
    assert classify(error) is Fault.OUTAGE


# What a transaction does about it


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, not waited for."""
    waited: list[float] = []
    monkeypatch.setattr(database.transactions, "time", SimpleNamespace(sleep=waited.append))
    return waited


def test_a_passing_conflict_is_tried_again_from_the_start_and_counts_once(engine: Engine, pauses: list[float]) -> None:
    tries = 0

    with someone_holding(engine, "A") as rival:

        def work(connection: Connection) -> str:
            nonlocal tries
            tries += 1
            connection.exec_driver_sql(ADD.format("B"))
            if tries == 3:
                rival.rollback()
            impatient(connection)
            return "done"

        assert in_transaction(work) == "done"
    assert (tries, len(pauses)) == (3, 2)
    assert quantities() == {"A": 1, "B": 1}


def test_a_conflict_that_does_not_pass_is_raised_in_the_end(engine: Engine, pauses: list[float]) -> None:
    tries = 0

    def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        connection.exec_driver_sql(ADD.format("B"))
        impatient(connection)

    with someone_holding(engine, "A"):
        error = caught(lambda: in_transaction(work))
    assert (state_of(error), tries, len(pauses)) == ("55P03", 5, 4)
    assert quantities() == {"A": 0, "B": 0}
    assert all(pause < 0.05 * 2**attempt for attempt, pause in enumerate(pauses, start=1))


def test_both_sides_of_a_deadlock_get_through(pauses: list[float]) -> None:
    both_hold_one = Barrier(2, timeout=30)

    def take(first: str, second: str) -> int:
        tries = 0

        def work(connection: Connection) -> int:
            nonlocal tries
            tries += 1
            connection.exec_driver_sql("SET LOCAL deadlock_timeout = '20ms'")
            connection.exec_driver_sql(ADD.format(first))
            if tries == 1:
                both_hold_one.wait()
            connection.exec_driver_sql(ADD.format(second))
            return tries

        return in_transaction(work)

    with ThreadPoolExecutor(2) as threads:
        taken = [threads.submit(take, "A", "B"), threads.submit(take, "B", "A")]
        assert max(one.result(timeout=30) for one in taken) > 1
    assert quantities() == {"A": 2, "B": 2}


def refuse(connection: Connection) -> None:
    connection.execute(text("INSERT INTO stock (sku, quantity) VALUES ('A', 1)"))


def forbid(connection: Connection) -> None:
    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    connection.exec_driver_sql(ADD.format("A"))


def fail(_: Connection) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("failing", [refuse, forbid, fail])
def test_neither_work_that_cannot_be_done_nor_an_outage_is_tried_again(
    pauses: list[float], failing: Callable[[Connection], None]
) -> None:
    tries = 0

    def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        failing(connection)

    caught(lambda: in_transaction(work))
    assert (tries, pauses) == (1, [])
    assert quantities() == {"A": 0, "B": 0}


def test_an_error_of_the_database_does_not_quote_the_values_of_its_statement() -> None:
    with pytest.raises(DBAPIError) as error:
        rows("SELECT 1 / 0 WHERE :name <> ''", name="Jane Doe")
    assert "SELECT 1 / 0" in str(error.value)
    assert "Jane Doe" not in str(error.value)


def test_an_error_of_the_database_does_not_quote_the_row_that_it_refuses() -> None:
    load(an_order())
    with pytest.raises(DBAPIError) as error:
        rows("UPDATE orders SET status = 'cancelled', edi_state = 'sent' RETURNING id")
    logged = "".join(traceback.format_exception(error.value))
    assert "orders_closed_is_not_sent" in logged
    assert [private for private in ("Jane", EMAIL, "Hofstraße", "50667") if private in logged] == []
