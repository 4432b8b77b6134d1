"""Growth: throughput and latency with ever more orders in the table, and with more worker processes.

With many orders a first backlog after the start reads pages that nobody has looked at yet. A server that is running has
them in memory: the figure is the median of the backlogs that come after it, and that of the first stands beside it.
"""

from benchmarks.parts.ours import Try, as_figures, once
from benchmarks.progress import say
from benchmarks.run import Figures, Run


def measure(run: Run) -> Figures:
    """Returns both, by the number of orders that are there already, and by the number of processes."""
    # Round by round, so that a machine which is slower for some minutes is so for all numbers of orders.
    rounds = [{orders: _with_orders(run, orders) for orders in run.sizes.growth} for _ in range(run.sizes.tries)]
    return {
        "by_orders": {str(orders): as_figures([one[orders] for one in rounds]) for orders in run.sizes.growth},
        "by_worker_processes": {
            str(number): as_figures([_with_processes(run, number)]) for number in run.sizes.worker_processes
        },
    }


def _with_orders(run: Run, orders: int) -> Try:
    say(f"  {orders:,} orders in the table, half of them sent")
    sizes = run.sizes
    return once(run, sizes.growth_backlog, backlogs=sizes.growth_backlogs, sent=orders // 2, probes=sizes.probes)


def _with_processes(run: Run, number: int) -> Try:
    say(f"  {number} worker processes")
    return once(run, run.sizes.backlog, concurrency=number, probes=run.sizes.probes)
