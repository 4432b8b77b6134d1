"""The short run: every fault once, always by the same seed. `make chaos` goes on for minutes."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.run import run

AMQP_URL = os.environ.get("COUNTERMAND_TEST_AMQP_URL", "")


def short_run(record: Callable[[str, object], None], amqp_url: str | None = None) -> None:
    # Kept for whoever has to look when it fails; not under pytest's own folder, through which PostgreSQL, another user
    # when we are root, may not pass.
    folder = Path(tempfile.mkdtemp(prefix="countermand-chaos-"))
    ledger = run(folder, seed=20261123, amqp_url=amqp_url, waits_for_leases=False)
    # Printed at the end of the run of pytest.
    record("ledger", str(ledger))
    reported = ledger.as_json()
    assert ledger.is_clean, f"{reported}; everything is kept in {folder}"
    assert reported["ended"]["accepted"] == reported["ended"]["decided"] + reported["ended"]["parked"] > 100, reported
    assert reported["kills"] > 0 < reported["faults"]["database stopped"] <= reported["restarts"], reported
    assert all(
        reported["ended"][name] > 0 for name in ("parked", "dead letters", "orders exported", "answers at desks")
    )
    shutil.rmtree(folder)


def test_nothing_is_lost_or_doubled_while_everything_is_killed_stopped_and_cut(
    record_property: Callable[[str, object], None],
) -> None:
    short_run(record_property)


@pytest.mark.skipif(not AMQP_URL, reason="COUNTERMAND_TEST_AMQP_URL names no RabbitMQ to test with")
def test_nothing_is_lost_or_doubled_on_rabbitmq_while_everything_is_killed_stopped_and_cut(
    record_property: Callable[[str, object], None],
) -> None:
    short_run(record_property, AMQP_URL)
