"""What the ledger adds up, and what the comparison reads in the log."""

from collections import Counter

import pytest

from tests.chaos.comparison import failures_in
from tests.chaos.ledger import Ledger


def test_a_ledger_adds_up_the_kills_and_the_restarts() -> None:
    faults = {
        "worker killed": 3,
        "a worker's child killed": 2,
        "broker killed": 5,
        "broker wiped": 7,
        "desks failing": 9,
    }
    ledger = Ledger(1, faults=Counter({**faults, "database stopped": 11, "messages published again": 100}))
    assert (ledger.kills, ledger.restarts) == (5, 23)
    assert (ledger.as_json()["kills"], ledger.as_json()["restarts"]) == (5, 23)
    assert [line.split()[-2] for line in str(ledger).splitlines() if "together" in line] == ["5", "23"]


@pytest.mark.parametrize(
    "line",
    [
        '{"job": "apply_changes", "event": "failed", "level": "error"}',
        '{"event": "a delivery failed", "level": "error"}',
        '{"event": "the export to a partner failed, the others go on", "level": "error"}',
        '{"event": "what a partner answers could not be dealt with", "level": "error"}',
        '{"event": "not decided at once", "level": "error"}',
        '{"event": "Task countermand.answer[7] raised unexpected: KeyError(1)", "level": "error"}',
    ],
)
def test_a_failure_of_ours_that_the_log_tells_is_a_violation(line: str) -> None:
    assert [*failures_in(f"{line}\n{{}}")] == [f"counted as a failure of the work: {line}"]


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "not decided at once", "level": "info"}',
        '{"event": "the export to a partner is held up, the others go on", "level": "warning"}',
        '{"event": "cannot take requests now, they stay on the broker", "level": "error"}',
    ],
)
def test_an_outage_or_a_lock_that_the_log_tells_is_none(line: str) -> None:
    assert [*failures_in(line)] == []
