"""Each wait for something outside has its end, asked of the live session, connection or server."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import uvicorn
from sqlalchemy import Connection, Engine, text

from database.migrate import migrate
from database.transactions import in_transaction
from orders.audit import audit
from web.__main__ import main
from web.connections import Protocol
from workers.app import app
from workers.broker import StreamBroker
from workers.embedded import Services
from workers.intake_stream import StreamSource

_SHOW = text(
    """
    SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
        current_setting('idle_in_transaction_session_timeout')
    """
)


def shown(connection: Connection) -> tuple[str, ...]:
    return tuple(connection.execute(_SHOW).one())


def test_a_transaction_of_ours_waits_a_minute_for_a_statement_and_five_seconds_for_a_lock(system: Services) -> None:
    assert in_transaction(shown) == ("1min", "5s", "1min")


@pytest.mark.parametrize(
    "work", [migrate, lambda connection: audit(connection, patience=timedelta(minutes=15))], ids=["migrate", "audit"]
)
def test_what_reads_whole_tables_has_longer_for_a_statement_and_no_longer_for_a_lock(
    system: Services, work: Callable[[Connection], object]
) -> None:
    def work_and_ask(connection: Connection) -> tuple[str, ...]:
        work(connection)
        return shown(connection)

    assert in_transaction(work_and_ask) == ("1h", "5s", "1min")
    # The session is used again.
    assert in_transaction(shown) == ("1min", "5s", "1min")


def test_a_database_that_vanishes_is_noticed(engine: Engine) -> None:
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        reported = driver.info.get_parameters()
    expected = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3"}
    expected |= {"connect_timeout": "5", "tcp_user_timeout": "30000"}
    assert {name: reported.get(name) for name in expected} == expected


def of(client: Any) -> tuple[float, float]:
    """Returns for how long a client of Redis waits for a connection, and on the live one for an answer."""
    connection = client.connection_pool.get_connection()
    try:
        return connection.socket_connect_timeout, connection._sock.gettimeout()
    finally:
        client.connection_pool.release(connection)


def test_whoever_asks_the_broker_waits_ten_seconds_for_an_answer(system: Services) -> None:
    assert of(StreamBroker(system.broker_url)._client) == (5, 10)
    assert of(StreamSource(system.broker_url)._client) == (5, 10)
    with app.connection_for_write(url=system.broker_url) as connection:
        assert of(connection.default_channel.client) == (5, 10)


def test_the_http_process_ends_each_wait_for_its_clients(system: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    served: dict[str, Any] = {}
    monkeypatch.setattr(uvicorn, "run", lambda _, **settings: served.update(settings))
    monkeypatch.setattr("web.__main__.configure_logs", lambda: None)
    main()
    config = uvicorn.Config(lambda: None, **served)
    config.load()
    assert (config.timeout_keep_alive, config.timeout_graceful_shutdown) == (5, 10)
    assert (config.http_protocol_class, Protocol.head_seconds, Protocol.max_connections) == (Protocol, 10, 800)
