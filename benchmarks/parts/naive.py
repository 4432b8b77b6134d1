"""Naive: the worker of `benchmarks.naive` on the same services; its backlog, and a single request on an idle system."""

import os
import sys
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from sqlalchemy import text

from benchmarks.latency import percentiles, timed
from benchmarks.made import request_id
from benchmarks.progress import bar, print_progress
from benchmarks.run import Figures, Run
from benchmarks.system import tidy_up
from benchmarks.usage import Processes
from database.transactions import in_transaction
from workers.errors import CommandError

_WARM_UP = 20
_PATIENCE_SECONDS = 600

# One order has two lines, as ours have.
_LOAD = """
    INSERT INTO orders (number, status, edi_sent, customer_email)
    SELECT 'SO-' || n, 'validated', false, format('customer%s@example.com', n) FROM generate_series(1, :total) AS n;
    INSERT INTO order_lines (order_id, sku, quantity)
    SELECT id, format('MUG-%s', 2 * (id * 7919 % 500) + line_no - 1), 1 + id % 5
    FROM orders, generate_series(1, 2) AS line_no;
    INSERT INTO stock (sku, quantity) SELECT format('MUG-%s', n), 0 FROM generate_series(0, 999) AS n
"""
_DONE = text(
    """
    SELECT (SELECT count(*) FROM notifications) AS notified, (SELECT count(*) FROM stock_movements) / 2 AS restocked,
        (SELECT count(*) FROM orders WHERE status = 'cancelled') AS cancelled,
        (SELECT count(*) FROM changelog WHERE action = 'cancelled') AS logged
    """
)
_LAST = text(
    "SELECT extract(epoch FROM greatest((SELECT max(at) FROM notifications), (SELECT max(at) FROM stock_movements)))"
)
_LOOK = """
    SELECT request.id IS NOT NULL,
        (SELECT count(*) FROM stock_movements JOIN order_lines ON order_lines.id = order_line_id
         WHERE order_id = request.order_id) = 2
        AND EXISTS (SELECT FROM notifications WHERE request_id = request.id)
    FROM (SELECT) AS one LEFT JOIN change_requests AS request ON external_id = %(external_id)s
"""


def measure(run: Run) -> Figures:
    """Returns requests per second, CPU seconds, and the latency of a single request."""
    backlog = run.sizes.naive_backlog
    with run.system.fresh_database() as url:
        module = _loaded(run, url, _WARM_UP + backlog + run.sizes.probes)
        tidy_up()
        numbers = [f"SO-{n}" for n in range(1, _WARM_UP + backlog + run.sizes.probes + 1)]
        worker = [sys.executable, "-m", "celery", "-A", "benchmarks.naive", "worker", "--loglevel=INFO", "-c", "2"]
        with run.system.processes({"naive": worker}) as processes:
            _publish(module, numbers[:_WARM_UP])
            _await_done(_WARM_UP)
            figures = _work_off(module, processes, numbers[_WARM_UP:][:backlog])
            print_progress(f"  {figures['requests_per_second']:,.0f} requests/s")
            idle = [_single(module, number) for number in numbers[_WARM_UP + backlog :]]
    return {**figures, "idle_latency": percentiles(idle)}


def _loaded(run: Run, url: str, orders: int) -> ModuleType:
    os.environ["NAIVE_DATABASE_URL"] = url
    # A database of its own on the same Valkey.
    os.environ["NAIVE_BROKER_URL"] = run.system.services.broker_url.removesuffix("/0") + "/1"
    # Its tables have names of ours, and it reads where the services are when it is imported.
    in_transaction(lambda connection: connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public")))
    from benchmarks import naive

    with naive.new_session.begin() as session:
        naive.create_tables(session)
        for statement in _LOAD.split(";\n"):
            session.execute(text(statement), {"total": orders} if ":total" in statement else {})
    return naive


def _publish(module: Any, numbers: Sequence[str]) -> None:
    for number in numbers:
        email = f"customer{number.removeprefix('SO-')}@example.com"
        module.cancel_order.delay(request_id(number), number, email, "Ordered twice")


def _work_off(module: ModuleType, processes: Processes, numbers: Sequence[str]) -> Figures:
    with processes.suspended("naive"):
        _publish(module, numbers)
        before, started = processes.cpu_seconds(), time.time()
    _await_done(_WARM_UP + len(numbers))
    seconds = in_transaction(lambda connection: float(connection.execute(_LAST).scalar_one())) - started
    return {
        "requests": len(numbers),
        "seconds": seconds,
        "requests_per_second": len(numbers) / seconds,
        "cpu_seconds_per_1000_requests": processes.cpu_per_1000(before, len(numbers)),
    }


def _await_done(count: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with bar("naive", count) as advance:
        while True:
            done = in_transaction(lambda connection: connection.execute(_DONE).one())
            advance(done.notified)
            if set(done) == {count}:
                return
            if time.monotonic() > deadline:
                raise CommandError(f"the naive worker has not done the work of {count} requests: {done._mapping}")
            time.sleep(0.1)


def _single(module: ModuleType, number: str) -> tuple[float, float]:
    return timed(lambda: _publish(module, [number]), _LOOK, {"external_id": request_id(number)})
