"""The lock order: what the SQL that is really sent locks, in which sequence, and that it stands in one module."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

import orders
from database import locks
from database.locks import claim_restocks
from database.tables import metadata
from database.transactions import in_transaction
from delivery.outcomes import Failure
from edi import interchanges, outcomes
from edi.interchanges import InFlight
from orders import effects, request_retries, tickets
from orders.dead_letters import DeadLetter, keep_dead_letters
from orders.inbox import Delivery
from orders.messages import Unreadable
from orders.reprocessing import Filter, find_parked, revive
from orders.request_retries import park_unknown_orders
from orders.stock import restock
from tasks.effects import NOTIFY, RESTOCK
from tasks.intake import take
from tasks.partners import partners
from tasks.reprocessing import iterate_revived_effects
from tasks.running.batches import run_batch
from tests.builders import DECIDING, a_request, an_address, an_order, decide_all, deliver, encoded, load, rows
from tests.databases import waits_for_a_lock
from tests.rooms import ROOMS

pytestmark = pytest.mark.usefixtures("system")

PATIENCE = timedelta(minutes=15)
ORDER = re.findall(r"^\d+\. `(\w+)`", locks.__doc__ or "", re.MULTILINE)


# What is sent

_ROW_LOCK = re.compile(r"\bFOR (NO KEY UPDATE|UPDATE|SHARE|KEY SHARE)\b(?: OF (\w+))?")
# Within WITH too: there PostgreSQL writes in a sequence of its own, so what it locks first must be locked before.
_WRITE = re.compile(
    r"(?:^|\()\s*UPDATE (?:ONLY )?(\w+)|INSERT INTO (\w+)(?:(?!INSERT INTO)[^;])*ON CONFLICT [^;]*DO UPDATE", re.DOTALL
)


def locked_tables(statement: str) -> list[str]:
    """Returns the tables whose rows a statement locks: by FOR …, by updating them, or by an upsert."""
    if found := _ROW_LOCK.search(statement):
        return [str(found[2] or re.findall(r"\bFROM (\w+)", statement)[0])]
    return [updated or upserted for updated, upserted in _WRITE.findall(statement)]


@contextmanager
def sent(engine: Engine) -> Iterator[list[list[str]]]:
    """Collects the statements that are sent, transaction by transaction."""
    transactions: list[list[str]] = []

    def begin(_: Connection) -> None:
        transactions.append([])

    def execute(_: Connection, __: Any, statement: str, *rest: Any) -> None:
        transactions[-1].append(statement)

    event.listen(engine, "begin", begin)
    event.listen(engine, "before_cursor_execute", execute)
    try:
        yield transactions
    finally:
        event.remove(engine, "begin", begin)
        event.remove(engine, "before_cursor_execute", execute)


def in_turn(transaction: list[str]) -> list[str]:
    """Returns the tables that a transaction locks, each once, in the sequence of their first lock."""
    tables = [table for statement in transaction for table in locked_tables(statement)]
    return list(dict.fromkeys(tables))


# What the program does


def due() -> None:
    load(an_order())


def asked_for() -> None:
    due()
    deliver(a_request(), a_request(kind="change_address", addresses={"shipping": an_address(city="Bonn")}))


def decided() -> None:
    asked_for()
    decide_all()


def parked() -> None:
    deliver(a_request("unknown"))
    park()


def claimed() -> None:
    due()
    claim()


def known() -> None:
    load(an_order(status="pre_order"))


def park() -> None:
    in_transaction(lambda connection: park_unknown_orders(connection, patience=timedelta(0), limit=9))


def claim() -> None:
    in_transaction(lambda connection: interchanges.claim(connection, partners()[0], patience=PATIENCE))


def in_flight() -> InFlight:
    (row,) = rows("SELECT * FROM interchange")
    return interchanges.in_flight(row, row.content)


def confirm() -> None:
    in_transaction(lambda connection: outcomes.confirm(connection, in_flight()))


def release() -> None:
    in_transaction(lambda connection: outcomes.release(connection, in_flight(), "the folder is gone"))


def take_over() -> None:
    rows("UPDATE interchange SET lease_until = now() RETURNING id")
    claim()


def taken(*requests: dict[str, Any] | bytes) -> None:
    raw = [request if isinstance(request, bytes) else encoded(request) for request in requests]
    take([Delivery("test", None, body) for body in raw], lambda _: None)


def reprocess() -> None:
    in_transaction(lambda connection: revive(connection, find_parked(connection, Filter())))


def died() -> None:
    decided()
    rows("UPDATE effect SET state = 'dead' RETURNING id")


def count_a_failed_request() -> None:
    in_transaction(lambda connection: request_retries.count_failure(connection, 1, "it failed"))


def count_a_failed_effect() -> None:
    in_transaction(lambda connection: effects.count_failure(connection, 1, "it failed"))


def named() -> None:
    due()
    in_transaction(lambda connection: tickets.note(connection, "zendesk:acme", ["1"]))
    in_transaction(lambda connection: tickets.back_off(connection, "zendesk:acme", Failure("away")))


def leased() -> tickets.Leased:
    rows("UPDATE desk_progress SET not_before = NULL RETURNING source")
    found = in_transaction(lambda connection: tickets.lease(connection, ["zendesk:acme"]))
    assert found is not None
    return found


def fail_to_read() -> None:
    ticket = leased()
    in_transaction(lambda connection: tickets.fail(connection, ticket, Failure("away")))


def give_up_reading() -> None:
    ticket = leased()

    def bury(connection: Connection) -> None:
        letter = DeadLetter("webhook:zendesk", "1", b"{}", Unreadable.INVALID_MESSAGE, "it is gone")
        keep_dead_letters(connection, [letter])
        tickets.settle(connection, ticket)

    in_transaction(bury)


def list_changed() -> None:
    listing = in_transaction(lambda connection: tickets.begin_listing(connection, "zendesk:acme"))
    assert listing is not None
    in_transaction(lambda connection: tickets.end_page(connection, listing, ["2", "1"], None))


# Whose rows are locked one by one.
_ONE_AT_A_TIME = ("partner", "interchange", "ticket_to_read", "desk_progress")
# What is done, after what, and the tables that it locks.
_OPERATIONS: dict[str, tuple[Callable[[], object], Callable[[], object], list[str]]] = {
    "apply": (asked_for, lambda: run_batch(DECIDING), ["orders", "change_request"]),
    "restock": (decided, lambda: run_batch(RESTOCK), ["effect", "stock"]),
    "notify": (decided, lambda: run_batch(NOTIFY), ["effect"]),
    "claim": (due, claim, ["partner", "interchange", "orders"]),
    "take over": (claimed, take_over, ["partner", "interchange"]),
    "confirm": (claimed, confirm, ["partner", "interchange", "orders"]),
    "release": (claimed, release, ["partner", "interchange", "orders"]),
    "load": (known, lambda: load(an_order(), an_order("1002")), ["orders", "change_request"]),
    "accept": (due, lambda: deliver(a_request(), a_request("1002")), []),
    "accept what is unreadable": (due, lambda: deliver(a_request(), b"{", b"["), ["dead_letter"]),
    "take": (due, lambda: taken(a_request()), ["orders"]),
    "take what is unreadable": (due, lambda: taken(a_request(), b"{"), ["dead_letter", "orders"]),
    "park unknown": (lambda: deliver(a_request("unknown")), park, ["change_request"]),
    "reprocess": (parked, reprocess, ["change_request"]),
    "revive dead effects": (died, lambda: list(iterate_revived_effects()), ["effect"]),
    "count a failed request": (asked_for, count_a_failed_request, ["change_request"]),
    "fail to read a ticket": (named, fail_to_read, ["ticket_to_read", "desk_progress"]),
    "give up reading a ticket": (named, give_up_reading, ["dead_letter", "ticket_to_read", "desk_progress"]),
    "list changed tickets": (named, list_changed, ["ticket_to_read", "desk_progress"]),
    "count a failed effect": (decided, count_a_failed_effect, ["effect"]),
}


def statements_of(engine: Engine, operation: str) -> list[list[str]]:
    before, act, _ = _OPERATIONS[operation]
    before()
    with sent(engine) as transactions:
        act()
    return transactions


def test_the_lock_order_is_the_one_that_the_docstring_numbers() -> None:
    assert ORDER == [
        "partner",
        "interchange",
        "dead_letter",
        "orders",
        "change_request",
        "effect",
        "notification",
        "ticket_note",
        "stock",
        "destination",
        "ticket_to_read",
        "desk_progress",
    ]


def test_the_lock_order_of_the_document_is_that_of_the_docstring() -> None:
    section = (_HOUSE / "docs/architecture.md").read_text().partition("## Lock order")[2].partition("\n\nBefore all")[0]
    assert re.findall(r"\d+\. `(\w+)`", section) == ORDER


def test_the_document_says_what_every_table_holds() -> None:
    section = (_HOUSE / "docs/architecture.md").read_text().partition("## Tables")[2].partition("## Lock order")[0]
    first_cells = "".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", first_cells)) == metadata.tables.keys()


@pytest.mark.parametrize("operation", _OPERATIONS)
def test_every_operation_locks_in_the_one_order(engine: Engine, operation: str) -> None:
    transactions = statements_of(engine, operation)
    tables = [in_turn(transaction) for transaction in transactions]
    assert max(tables, key=len) == _OPERATIONS[operation][2]
    for locked in tables:
        assert locked == sorted(locked, key=ORDER.index)
    for statement in (statement for transaction in transactions for statement in transaction):
        if found := _ROW_LOCK.search(statement):
            # Weaker than FOR UPDATE: what refers to the row by a foreign key can be inserted meanwhile.
            assert found[1] == "NO KEY UPDATE", statement
            [table] = locked_tables(statement)
            if "SKIP LOCKED" not in statement and table not in _ONE_AT_A_TIME:
                assert re.search(rf"ORDER BY {table}\.id FOR", statement.replace("\n", "")), statement


@pytest.mark.parametrize("operation", _OPERATIONS)
def test_a_statement_that_writes_two_tables_has_the_locks_of_the_first_from_an_earlier_one(
    engine: Engine, operation: str
) -> None:
    for transaction in statements_of(engine, operation):
        for place, statement in enumerate(transaction):
            had = in_turn(transaction[:place])
            assert [table for table in locked_tables(statement)[:-1] if table not in had] == []


@pytest.mark.parametrize("operation", ["accept", "take", "reprocess", "load"])
def test_whoever_accepts_locks_the_numbers_before_anything_else_and_in_one_order(
    engine: Engine, operation: str
) -> None:
    last = statements_of(engine, operation)[-1]
    # What is to be reprocessed has been looked up, without a lock.
    first = next(statement for statement in last if not statement.startswith("SELECT change_request"))
    assert re.search(r"pg_advisory_xact_lock\(.*ORDER BY key\)", first, re.DOTALL)


def test_the_exporter_only_tries_the_locks_of_numbers(engine: Engine) -> None:
    advisory = [s for t in statements_of(engine, "claim") for s in t if "advisory" in s]
    assert len(advisory) == 1
    assert "pg_try_advisory_xact_lock" in advisory[0]


def test_stock_is_upserted_by_sku(engine: Engine) -> None:
    upserts = [s for t in statements_of(engine, "restock") for s in t if locked_tables(s) == ["stock"]]
    assert len(upserts) == 1
    assert re.search(r"GROUP BY sku ORDER BY sku\s+ON CONFLICT", upserts[0])


# Where it stands

_A_LOCK = re.compile(
    r"with_for_update|\bFOR (NO KEY )?UPDATE\b|\bFOR (KEY )?SHARE\b|\bSKIP LOCKED\b|pg_(try_)?advisory|LOCK TABLE",
    re.IGNORECASE,
)
_HOUSE = Path(orders.__file__).parent.parent


def test_every_lock_stands_in_the_one_module() -> None:
    sources = [path for room in ROOMS for path in (_HOUSE / room).rglob("*.py")] + [_HOUSE / "celeryconfig.py"]
    locking = {str(path.relative_to(_HOUSE)) for path in sources if _A_LOCK.search(path.read_text())}
    # The other one keeps two programs from migrating at once; no row is locked by it.
    assert locking == {"database/locks.py", "database/migrate.py"}
    migrating = _A_LOCK.findall((_HOUSE / "database/migrate.py").read_text())
    assert len(migrating) == 1


# What it is for


def an_order_of(number: str, *skus: str) -> dict[str, Any]:
    lines = [{"sku": sku, "description": "Mug", "quantity": 1, "unit_price": "1"} for sku in skus]
    return an_order(number, lines=lines)


def test_two_restocks_of_the_same_articles_in_opposite_line_order_do_not_deadlock(engine: Engine) -> None:
    load(an_order_of("1", "A", "M", "Z"), an_order_of("2", "Z", "M", "A"))
    rows("INSERT INTO stock (sku, quantity) VALUES ('A', 0), ('M', 0), ('Z', 0) RETURNING sku")
    deliver(a_request("1"), a_request("2"))
    decide_all()
    wanted = [row.id for row in rows("SELECT id FROM effect WHERE kind = 'restock' ORDER BY id")]

    def put_back(effect_id: int) -> None:
        # Without `in_transaction`, which would try again after a deadlock.
        with engine.begin() as connection:
            restock(connection, claim_restocks(connection, limit=1, among=[effect_id]))

    with ThreadPoolExecutor(2) as threads:
        with engine.connect() as gate:
            # Whoever comes by line waits here for M with its first article in hand: one with A, the other with Z.
            gate.exec_driver_sql("SELECT FROM stock WHERE sku = 'M' FOR UPDATE")
            restocks = [threads.submit(put_back, effect_id) for effect_id in wanted]
            both_wait = waits_for_a_lock(2)
        for done in restocks:
            done.result(timeout=30)
    assert both_wait
    assert rows("SELECT sku, quantity FROM stock ORDER BY sku") == [("A", 2), ("M", 2), ("Z", 2)]
