"""A disk that is full, for real: of the database, of the broker, of a partner's folder. It is reported, and passes."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from configuration.settings import settings
from database import transactions
from database.faults import Fault, classify
from database.migrate import migrate
from database.transactions import in_transaction
from orders.audit import audit
from tasks.export import iterate_export
from tasks.partners import partners
from tests.builders import a_request, an_order, deliver, encoded, load, request, rows, settle
from tests.commands import Countermand, error_line
from tests.processes import await_that
from tests.small_disk import SmallDisk, small_disk
from workers.broker import STREAM, broker_at
from workers.discovery import publish_to_environment
from workers.embedded import Services, embedded_services

_PATIENCE = timedelta(minutes=15)


@pytest.fixture(scope="module")
def disk() -> Iterator[SmallDisk]:
    """The disk of a database and of a broker; in a folder that PostgreSQL's user may pass through."""
    with tempfile.TemporaryDirectory(prefix="countermand-test-") as folder:
        Path(folder).chmod(0o711)
        with small_disk(Path(folder) / "disk", 200) as disk:
            yield disk


@pytest.fixture(scope="module")
def on_the_disk(disk: SmallDisk) -> Iterator[Services]:
    """Services whose data are there, and wait for the disk as those of `countermand up` do."""
    with embedded_services(disk.folder / "home", durable=True) as services:
        yield services
        disk.free()


@pytest.fixture
def at_work(on_the_disk: Services, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """This process uses those services."""
    for name in ("DATABASE_URL", "BROKER_URL", "HOME"):
        monkeypatch.setenv(f"COUNTERMAND_{name}", "")
    publish_to_environment(on_the_disk, disk.folder / "home")
    transactions.engine.cache_clear()
    in_transaction(migrate)
    yield on_the_disk
    transactions.engine().dispose()
    settings.cache_clear()
    transactions.engine.cache_clear()


def works() -> bool:
    with suppress(DBAPIError):
        return bool(rows("SELECT 1"))
    return False


def many_orders(first: str) -> bytes:
    return b"\n".join(encoded(an_order(f"{first}{place}")) for place in range(2000))


def test_a_full_disk_of_the_database_is_reported_counts_for_nothing_and_passes(
    countermand: Countermand, at_work: Services, disk: SmallDisk
) -> None:
    load(an_order("1"))
    event = a_request("1")
    deliver(event)
    disk.fill()
    line = error_line(countermand("orders", "load", "-", stdin=many_orders("A")), 3)
    assert line.startswith("the disk of the database is full (could not ")
    assert line.endswith(": free some of it")
    disk.free()
    assert countermand("orders", "load", "-", "--json", stdin=many_orders("A")).code == 0
    settle()
    assert (request(event)["outcome"], rows("SELECT max(attempts) AS n FROM change_request")[0].n) == ("applied", 0)
    assert in_transaction(lambda connection: audit(connection, patience=_PATIENCE))["ok"]


def test_a_database_that_ends_of_a_full_disk_is_started_again_until_it_runs(at_work: Services, disk: SmallDisk) -> None:
    load(an_order("2"))

    def use_up_the_log() -> None:
        for _ in range(20):
            rows("SELECT pg_logical_emit_message(true, 'test', repeat('x', 5000000))")

    with capture_logs() as logged:
        disk.fill()
        with pytest.raises(DBAPIError) as error:
            use_up_the_log()
        assert classify(error.value) is Fault.OUTAGE
        await_that(lambda: bool(logged), "its end is logged")
        disk.free()
        await_that(works, "the database runs again")
    assert logged[0]["event"] == "PostgreSQL ended by itself, it is started again"
    assert logged[0]["error"].startswith("its disk is full, free some of it (see ")
    assert rows("SELECT number FROM orders WHERE number = '2'")
    assert in_transaction(lambda connection: audit(connection, patience=_PATIENCE))["ok"]


def test_a_broker_that_ends_of_a_full_disk_is_started_again_with_what_it_had(
    at_work: Services, disk: SmallDisk
) -> None:
    client, broker = redis.Redis.from_url(at_work.broker_url), broker_at(at_work.broker_url)
    client.delete(STREAM)
    first, second = encoded(a_request("1")), encoded(a_request("1", note="x" * 10000))
    assert broker.publish([first]) == 1

    def takes_it() -> bool:
        with suppress(redis.RedisError):
            return broker.publish([second]) == 1
        return False

    with capture_logs() as logged:
        disk.fill()
        assert not takes_it()
        await_that(lambda: bool(logged), "its end is logged")
        assert not takes_it()
        disk.free()
        await_that(takes_it, "the broker runs again")
    assert logged[0]["event"] == "Valkey ended by itself, it is started again"
    assert logged[0]["error"].startswith("its disk is full, free some of it (see ")
    entries: Any = client.xrange(STREAM)
    assert [fields[b"event"] for _, fields in entries] == [first, second]


def test_a_broker_that_refuses_writes_for_its_full_disk_is_reported(
    countermand: Countermand, at_work: Services, disk: SmallDisk
) -> None:
    """As one does that syncs once a second: it goes on running."""
    client = redis.Redis.from_url(at_work.broker_url)
    client.config_set("appendfsync", "everysec")
    disk.fill()

    def refuses() -> bool:
        return countermand("requests", "submit", "-", stdin=encoded(a_request("1", note="x" * 10000))).code == 3

    await_that(refuses, "it has noticed")
    line = error_line(countermand("requests", "submit", "-", stdin=encoded(a_request("1", note="Jane"))), 3)
    assert line.startswith("the broker cannot write to its disk (MISCONF Errors writing to the AOF file: ")
    assert "Jane" not in line
    disk.free()
    await_that(lambda: not refuses(), "it takes requests again")


def test_a_full_disk_of_a_partner_leaves_nothing_there_and_the_orders_go_later(system: Services, home: Path) -> None:
    [partner] = partners()
    folder = home / "edi" / "WAREHOUSE"
    load(an_order("1"))
    with small_disk(folder, 1) as disk:
        disk.fill()
        [step, *_] = iterate_export(partner)
        assert step.state == "released"
        assert "No space left on device" in (step.error or "")
        assert [path.name for path in folder.iterdir()] == ["filler"]
        disk.free()
        rows("UPDATE partner SET not_before = NULL RETURNING name")
        [step, *_] = iterate_export(partner)
        assert (step.state, step.error) == ("sent", None)
        [file] = folder.iterdir()
        [stored] = rows("SELECT content FROM interchange WHERE state = 'sent'")
        assert file.read_bytes() == bytes(stored.content)
    assert in_transaction(lambda connection: audit(connection, patience=_PATIENCE))["ok"]
