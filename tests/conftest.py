"""What the tests stand on: real services, a fresh database a test, and this process pointed at them.

Embedded services by default, each pytest process its own; COUNTERMAND_TEST_DATABASE_URL and COUNTERMAND_TEST_REDIS_URL
name outside ones (databases `countermand_test_…` are made and dropped there; Redis databases from 8 on are emptied).
"""

import itertools
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import current_app
from sqlalchemy import Engine, create_engine, make_url, text

from configuration import outages
from configuration.settings import settings
from database import server, transactions
from database.migrate import migrate
from tests.processes import let_children_be_ended
from tests.race import figures
from workers.app import app
from workers.embedded import Services, embedded_services

_numbers = itertools.count()


def _worker_index() -> int:
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """A PostgreSQL and a Redis or Valkey for this pytest process."""
    outside_database = os.environ.get("COUNTERMAND_TEST_DATABASE_URL")
    outside_redis = os.environ.get("COUNTERMAND_TEST_REDIS_URL")
    if outside_database and outside_redis:
        yield Services(outside_database, _own_redis_database(outside_redis))
        return
    # Not under pytest's own folder: each run of pytest closes that to other users, and as root PostgreSQL is one.
    with (
        tempfile.TemporaryDirectory(prefix="countermand-test-") as folder,
        embedded_services(Path(folder), durable=False) as own,
    ):
        yield Services(
            outside_database or own.database_url,
            _own_redis_database(outside_redis) if outside_redis else own.broker_url,
        )


def _own_redis_database(url: str) -> str:
    return f"{url.rstrip('/').removesuffix('/0')}/{8 + _worker_index()}"


@pytest.fixture(scope="session")
def template(services: Services) -> Iterator[str]:
    """The name of a migrated database that each test's own is copied from."""
    name = f"countermand_test_{os.getpid()}_template"
    server = create_engine(services.database_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    engine = create_engine(make_url(services.database_url).set(database=name))
    with engine.begin() as connection:
        migrate(connection)
    engine.dispose()
    yield name
    with server.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    server.dispose()


@pytest.fixture(autouse=True)
def _nothing_logged_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins like a process that has logged no outage, whatever an earlier test logged."""
    monkeypatch.setattr(outages, "_last_logged", defaultdict(dict))
    monkeypatch.setattr(outages, "_lasting", set())


@pytest.fixture(autouse=True)
def _nothing_waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own server does not wait for the disk: audits do not warn of what was chosen."""
    monkeypatch.delitem(server.EXPECTED, "fsync")
    monkeypatch.delitem(server.EXPECTED, "full_page_writes")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of this test's own."""
    return tmp_path / "home"


@pytest.fixture(scope="session")
def wakeups(services: Services) -> None:
    """This process sends its wake-ups to its own broker.

    Celery reads its configuration once in a process; after a test in which that fails it would use its default broker.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("COUNTERMAND_BROKER_URL", services.broker_url)
        settings.cache_clear()
        sys.modules.pop("celeryconfig", None)
        app.config_from_object("celeryconfig", force=True)
        # With it go its connections, which would stay those of an earlier configuration.
        app.__dict__.pop("amqp", None)
    settings.cache_clear()
    app.set_default()
    assert current_app.conf.broker_url == services.broker_url


@pytest.fixture
def system(
    services: Services, template: str, wakeups: None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Services]:
    """A fresh, migrated database and an empty broker; this process, and those it starts, use them."""
    name = f"countermand_test_{os.getpid()}_{next(_numbers)}"
    server = create_engine(services.database_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    url = make_url(services.database_url).set(database=name).render_as_string(hide_password=False)
    redis.Redis.from_url(services.broker_url).flushdb()
    monkeypatch.setenv("COUNTERMAND_DATABASE_URL", url)
    monkeypatch.setenv("COUNTERMAND_BROKER_URL", services.broker_url)
    monkeypatch.setenv("COUNTERMAND_HOME", str(home))
    _forget_settings()
    yield Services(url, services.broker_url)
    transactions.engine().dispose()
    _forget_settings()
    with server.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    server.dispose()


def _forget_settings() -> None:
    settings.cache_clear()
    transactions.engine.cache_clear()


@pytest.fixture
def engine(system: Services) -> Engine:
    """This process's engine, on the test's own database."""
    return transactions.engine()


def pytest_configure(config: pytest.Config) -> None:
    """Lets the tests end what they start; not in the process that only starts those that run tests."""
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        let_children_be_ended()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows the ledgers, says how many interleavings and crashes were run, and where docs/guarantees.md says otherwise.

    With COUNTERMAND_WRITE_FIGURES it is written there (`make figures`).
    """
    for properties in _properties(terminalreporter).values():
        if "ledger" in properties:
            terminalreporter.section("a ledger")
            terminalreporter.write(properties["ledger"])
    for kind, what in (("interleavings", "races"), ("crashes", "works")):
        recorded = _recorded(terminalreporter, kind)
        if not recorded:
            continue
        numbers = {test: number for test, (number, _) in recorded.items()}
        terminalreporter.section(f"{sum(numbers.values()):,} {kind} in {len(numbers)} {what}")
        for test, number in numbers.items():
            terminalreporter.line(f"{number:6} {test}")
        try:
            made = figures.table(kind, numbers, [test for test, (_, is_all) in recorded.items() if not is_all])
        except ValueError:
            # Only some of them were run.
            continue
        if "COUNTERMAND_WRITE_FIGURES" in os.environ:
            figures.write(kind, made)
        elif made != figures.documented(kind, figures.GUARANTEES.read_text()):
            terminalreporter.line(f"docs/guarantees.md says otherwise of these {kind}: run `make figures`", red=True)


def _recorded(terminalreporter: pytest.TerminalReporter, kind: str) -> dict[str, tuple[int, bool]]:
    """Returns by test how many of a kind it has run, and whether these were all there are."""
    return {
        test: (properties[kind], not properties.get(figures.NOT_ALL))
        for test, properties in _properties(terminalreporter).items()
        if kind in properties
    }


def _properties(terminalreporter: pytest.TerminalReporter) -> dict[str, dict[str, Any]]:
    reports = [one for reports in terminalreporter.stats.values() for one in reports]
    return {
        report.nodeid.rpartition("::")[2]: dict(report.user_properties)
        for report in reports
        if getattr(report, "user_properties", ())
    }
