"""Reprocessing in bulk, killed in the middle beside live traffic: its work stays done, another run does the rest."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import cli.reprocessing
import tasks.reprocessing
from database.transactions import in_transaction
from orders.audit import audit
from tests.builders import a_request, an_address, an_order, deliver, encoded, load, order, request, rows
from tests.processes import await_that, countermand, environment
from tests.race.crashes import Runner
from workers.broker import broker_at
from workers.embedded import Services
from workers.supervisor import programs

pytestmark = pytest.mark.usefixtures("system")

_ROOT = Path(__file__).parents[2]
_SLICE = 7
ORDERS = [f"{number}" for number in range(20)]


# This runs in the process that is killed.


def reprocessing() -> None:
    with patch.object(tasks.reprocessing, "_SLICE", _SLICE):
        cli.reprocessing.reprocess()


# These run here.


@pytest.fixture
def processes(system: Services, tmp_path: Path) -> Iterator[None]:
    """A real intake, and a real worker with two processes."""
    with ExitStack() as stack:
        for name in ("intake", "worker"):
            log = stack.enter_context((tmp_path / f"{name}.log").open("wb"))
            command = subprocess.Popen(programs()[name], cwd=_ROOT, stdout=log, stderr=log, start_new_session=True)
            stack.callback(command.wait)
            stack.callback(os.killpg, command.pid, signal.SIGKILL)
        yield


def three_requests(number: str) -> list[dict[str, Any]]:
    moved = {"shipping": an_address(city="Bonn")}
    return [
        a_request(number, "change_address", addresses=moved),
        a_request(number, "cancel"),
        a_request(number, "change_items"),
    ]


def states() -> dict[str, int]:
    return {row.state: row.n for row in rows("SELECT state, count(*) AS n FROM change_request GROUP BY state")}


def test_a_bulk_killed_in_the_middle_beside_live_traffic_is_decided_once_by_the_run_that_goes_on(
    system: Services, processes: None
) -> None:
    broker = broker_at(system.broker_url)

    def publish_live_requests() -> list[dict[str, Any]]:
        live = [a_request(number, "change_payment") for number in ORDERS]
        broker.publish(encoded(event) for event in live)
        return live

    parked = [event for number in ORDERS for event in three_requests(number)]
    deliver(*parked)
    # Not for an unknown order: those are undecided again as soon as it is loaded.
    rows("UPDATE change_request SET state = 'parked', parked_at = now(), reasons = '{failed_repeatedly}' RETURNING id")
    load(*map(an_order, ORDERS))
    live = publish_live_requests()
    with Runner(reprocessing) as runner:
        runner.kill("revive a slice of requests: commit, 4")
    left = len(parked) - 3 * _SLICE
    assert states()["parked"] == left
    live += publish_live_requests()
    named = {"COUNTERMAND_DATABASE_URL": system.database_url, "COUNTERMAND_BROKER_URL": system.broker_url}
    ended = countermand("reprocess", "--json", env=environment(**named))
    assert json.loads(ended.stdout) == {"reprocessed": left, "effects_revived": 0}
    live += publish_live_requests()
    everything = len(parked) + len(live)
    await_that(lambda: states() == {"decided": everything}, "everything is decided")
    await_that(lambda: rows("SELECT count(*) FROM effect WHERE state <> 'done'") == [(0,)], "every effect is done")
    assert [request(event)["reasons"] for event in parked] == [
        ["shipping_address_changed"],
        ["order_cancelled"],
        ["order_is_closed"],
    ] * len(ORDERS)
    assert {request(event)["outcome"] for event in live} == {"refused"}
    changed = ["loaded", "shipping_address_changed", "cancelled"]
    assert [[entry["action"] for entry in order(number)["changelog"]] for number in ORDERS] == [changed] * len(ORDERS)
    assert rows("SELECT sum(quantity), count(*) FROM stock_movement") == [(4 * len(ORDERS), 2 * len(ORDERS))]
    assert rows("SELECT count(*) FROM notification WHERE state = 'sent'") == [(everything,)]
    found = in_transaction(lambda connection: audit(connection, patience=timedelta(minutes=15)))
    assert [check for check in found["checks"] if check["violations"]] == []
