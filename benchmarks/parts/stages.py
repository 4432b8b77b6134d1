"""Stage by stage: the same backlog, with only the processes of one stage running.

A worker that decides does what follows as well, so `apply` is both; `effects` is what follows alone, of requests that
were decided by this process.
"""

import time
from typing import Any

from sqlalchemy import Connection, text

from benchmarks.backlog import prove, publish
from benchmarks.made import cancel_requests, load_orders, open_numbers
from benchmarks.progress import print_progress
from benchmarks.run import Figures, Run
from benchmarks.system import System, broker_is_known, our_programs, tidy_up
from benchmarks.usage import Processes
from configuration.settings import settings
from database.transactions import in_transaction
from orders.changes import claim_open_orders, decide_requests
from orders.decisions import record_decisions
from orders.inbox import Delivery
from tasks.changes import CHANGES
from tasks.intake import store
from tasks.partners import address_check
from tasks.running.wakeups import WakeUp, wake
from workers.errors import CommandError

_PATIENCE_SECONDS = 600
_CONCURRENCY = 2
_KEPT_AT_ONCE = 500
# What is left of each stage's work, and when its last row was done.
_EFFECTS_LEFT = "SELECT count(*) FROM effect WHERE state = 'pending'"
_LEFT = {
    "intake": "SELECT :total - count(*) FROM change_request",
    "apply": f"SELECT ({_EFFECTS_LEFT}) + count(*) FROM change_request WHERE state = 'received'",  # noqa: S608  # our own constant
    "effects": _EFFECTS_LEFT,
}
_LAST = {
    "intake": "SELECT max(received_at) FROM change_request",
    "apply": "SELECT max(done_at) FROM effect",
    "effects": "SELECT max(done_at) FROM effect",
}
_BELLS = {"apply": WakeUp.APPLY_CHANGES, "effects": WakeUp.EFFECTS}


def measure(run: Run) -> Figures:
    """Returns requests per second and CPU seconds of each stage."""
    total = run.sizes.backlog
    with run.system.fresh_database():
        messages = _messages(total)
        figures = {"intake": _intake(run.system, messages)}
        tidy_up()
        figures["apply"] = _rung_for(run.system, "apply", total)
        prove(total)
    with run.system.fresh_database():
        deliveries = [Delivery("benchmark", None, message) for message in _messages(total)]
        for start in range(0, total, _KEPT_AT_ONCE):
            store(deliveries[start : start + _KEPT_AT_ONCE])
        while in_transaction(_decide):
            pass
        tidy_up()
        figures["effects"] = _rung_for(run.system, "effects", total)
        prove(total)
    return figures


def _messages(total: int) -> list[bytes]:
    in_transaction(lambda connection: load_orders(connection, open_orders=total))
    messages = cancel_requests(in_transaction(lambda connection: open_numbers(connection, total)))
    tidy_up()
    return messages


def _decide(connection: Connection) -> int:
    open_orders = claim_open_orders(connection, limit=CHANGES.limit)
    decided = [one for open_order in open_orders for one in decide_requests(open_order, address_check())]
    record_decisions(connection, open_orders, decided, hold=settings().escalation_hold)
    return len(decided)


def _intake(system: System, messages: list[bytes]) -> Figures:
    with system.processes({"intake": our_programs()["intake"]}) as processes:
        with processes.suspended("intake"):
            publish(messages)
            before, started = processes.cpu_seconds(), time.time()
        return _figures("intake", len(messages), processes, before, started)


def _rung_for(system: System, stage: str, total: int) -> Figures:
    # Beat wakes a worker for what another had to leave.
    programs = {name: our_programs(_CONCURRENCY)[name] for name in ("worker", "beat")}
    broker_is_known()
    with system.processes(programs) as processes:
        before, started = processes.cpu_seconds(), time.time()
        for _ in range(_CONCURRENCY):
            wake(_BELLS[stage])
        return _figures(stage, total, processes, before, started)


def _figures(stage: str, total: int, processes: Processes, before: dict[str, float], started: float) -> Figures:
    _await_nothing_left(stage, total)
    cpu = processes.cpu_per_1000(before, total)
    ended: Any = in_transaction(lambda connection: connection.execute(text(_LAST[stage])).scalar_one())
    per_second = total / (ended.timestamp() - started)
    print_progress(f"  {stage}: {per_second:,.0f} requests/s")
    return {"requests_per_second": per_second, "cpu_seconds_per_1000_requests": cpu}


def _left(stage: str, total: int) -> int:
    parameters = {"total": total} if stage == "intake" else {}
    return int(in_transaction(lambda connection: connection.execute(text(_LEFT[stage]), parameters).scalar_one()))


def _await_nothing_left(stage: str, total: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while _left(stage, total):
        if time.monotonic() > deadline:
            raise CommandError(f"stage {stage} was not done within {_PATIENCE_SECONDS} seconds")
        time.sleep(0.1)
