"""Stage by stage: the same backlog, with only the processes of one stage running."""

import time
from typing import Any

from sqlalchemy import text

from benchmarks.backlog import prove, publish
from benchmarks.made import cancel_requests, load_orders, open_numbers
from benchmarks.progress import say
from benchmarks.run import Figures, Run
from benchmarks.system import System, broker_is_known, our_programs, tidy_up
from benchmarks.usage import Processes
from tasks.database import in_transaction
from tasks.doorbells import Doorbell, ring
from workers.errors import CommandError

_PATIENCE_SECONDS = 600
_CONCURRENCY = 2
# What is left of each stage's work, and when its last piece was done.
_LEFT = {
    "intake": "SELECT :total - count(*) FROM change_request",
    "apply": "SELECT count(*) FROM change_request WHERE state = 'received'",
    "effects": "SELECT count(*) FROM effect WHERE state = 'pending'",
}
_LAST = {
    "intake": "SELECT max(received_at) FROM change_request",
    "apply": "SELECT max(decided_at) FROM change_request",
    "effects": "SELECT max(done_at) FROM effect",
}
_QUEUES = {"apply": "changes", "effects": "effects"}
_BELLS = {"apply": [Doorbell.APPLY_CHANGES], "effects": [Doorbell.RESTOCK, Doorbell.NOTIFY]}


def measure(run: Run) -> Figures:
    """Returns requests per second and CPU seconds of each stage."""
    total = run.sizes.backlog
    with run.system.fresh_database():
        in_transaction(lambda connection: load_orders(connection, open_orders=total))
        messages = cancel_requests(in_transaction(lambda connection: open_numbers(connection, total)))
        tidy_up()
        figures = {"intake": _intake(run.system, messages)}
        for stage in ("apply", "effects"):
            # Whoever decides may have done the effects as well.
            if _left(stage, total):
                tidy_up()
                figures[stage] = _rung_for(run.system, stage, total)
        prove(total)
    return figures


def _intake(system: System, messages: list[bytes]) -> Figures:
    with system.processes({"intake": our_programs()["intake"]}) as processes:
        with processes.suspended("intake"):
            publish(messages)
            before, started = processes.cpu_seconds(), time.time()
        return _figures("intake", len(messages), processes, before, started)


def _rung_for(system: System, stage: str, total: int) -> Figures:
    worker = our_programs(_CONCURRENCY)["worker"]
    only = [_QUEUES[stage] if word == "changes,effects" else word for word in worker]
    with system.processes({"worker": only}) as processes:
        before, started = processes.cpu_seconds(), time.time()
        _ring(_BELLS[stage])
        return _figures(stage, total, processes, before, started)


def _ring(bells: list[Doorbell]) -> None:
    broker_is_known()
    for bell in bells * _CONCURRENCY:
        ring(bell)


def _figures(stage: str, total: int, processes: Processes, before: dict[str, float], started: float) -> Figures:
    _await_nothing_left(stage, total)
    cpu = processes.cpu_per_1000(before, total)
    ended: Any = in_transaction(lambda connection: connection.execute(text(_LAST[stage])).scalar_one())
    per_second = total / (ended.timestamp() - started)
    say(f"  {stage}: {per_second:,.0f} requests/s")
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
