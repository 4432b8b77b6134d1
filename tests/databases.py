"""Working on another database than the test's own, or on it by another way."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event

import pytest

from configuration import ConfigurationError
from configuration.settings import settings
from database import transactions
from tests.builders import rows
from workers.accounts import SERVERS, Account, is_root, system_user


@contextmanager
def working_on(url: str, *, pooled: bool = False) -> Iterator[None]:
    """Lets this process, and those it starts, use this URL for the block."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("COUNTERMAND_DATABASE_URL", url)
        monkeypatch.setenv("COUNTERMAND_DATABASE_POOLED", str(pooled).lower())
        _start_anew()
        try:
            yield
        finally:
            _start_anew()
    # What was read of the environment meanwhile is not true any more.
    settings.cache_clear()


def _start_anew() -> None:
    with suppress(transactions.NoDatabase, ConfigurationError):
        transactions.engine().dispose()
    transactions.engine.cache_clear()
    settings.cache_clear()


def servers_account() -> Account | None:
    """Returns the user that a server runs as where these tests are root; None where it is ours."""
    return system_user(SERVERS) if is_root() else None


def waits_for_a_lock(backends: int) -> bool:
    """True once so many backends of this database wait for another's lock."""
    for _ in range(1000):
        waiting = rows(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        if waiting[0][0] >= backends:
            return True
        Event().wait(0.01)
    return False
