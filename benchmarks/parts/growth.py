"""Growth: throughput and latency with ever more orders in the table, and with more worker processes."""

from benchmarks.latency import percentiles
from benchmarks.parts.ours import Try, once
from benchmarks.progress import say
from benchmarks.run import Figures, Run


def measure(run: Run) -> Figures:
    """Returns both, by the number of orders that are there already, and by the number of processes."""
    return {
        "by_orders": {str(orders): _with_orders(run, orders) for orders in run.sizes.growth},
        "by_worker_processes": {str(number): _with_processes(run, number) for number in run.sizes.worker_processes},
    }


def _with_orders(run: Run, orders: int) -> Figures:
    say(f"  {orders:,} orders in the table, half of them sent")
    return _figures(once(run, run.sizes.growth_backlog, sent=orders // 2, probes=run.sizes.probes))


def _with_processes(run: Run, number: int) -> Figures:
    say(f"  {number} worker processes")
    return _figures(once(run, run.sizes.growth_backlog, concurrency=number, probes=run.sizes.probes))


def _figures(one: Try) -> Figures:
    return {**one.backlog.as_json(), "idle_latency": percentiles(one.idle)}
