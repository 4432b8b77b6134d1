"""Growth: throughput and latency with ever more orders in the table, and with more worker processes.

With many orders a first backlog after the start reads pages for the first time. A server that is running has
them in memory: the figure is the median of the backlogs that come after it, and that of the first is shown beside it.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median

from benchmarks.backlog import WorkedOff
from benchmarks.parts.ours import Store, Try, as_figures, once, store
from benchmarks.progress import print_progress
from benchmarks.run import Figures, Run
from benchmarks.system import running_system


def measure(run: Run) -> Figures:
    """Returns both, by the number of orders that are there already, and by the number of processes."""
    return {
        "by_orders": _by_orders(run),
        "by_worker_processes": {
            str(number): as_figures([_with_processes(run, number)]) for number in run.sizes.worker_processes
        },
    }


def _by_orders(run: Run) -> Figures:
    """Measures all numbers of orders turn by turn, each on services of its own.

    A machine that is slower for some seconds is so for all of them, and a figure is the median of what each turn says.
    """
    sizes = run.sizes
    requests = sizes.growth_backlogs * sizes.growth_backlog + sizes.probes
    with ExitStack() as stack:
        stores = [_with_orders(stack, orders, requests) for orders in sizes.growth]
        turns = [_turn(stores, sizes.growth_backlog) for _ in range(sizes.growth_backlogs)]
        idle = [one.probe(sizes.probes) for one in stores]
    tries = [Try(backlogs, probed) for backlogs, probed in zip(zip(*turns, strict=True), idle, strict=True)]
    return {str(orders): _figures(one, tries[0]) for orders, one in zip(sizes.growth, tries, strict=True)}


def _with_orders(stack: ExitStack, orders: int, requests: int) -> Store:
    print_progress(f"  {orders:,} orders in the table, half of them sent")
    system = stack.enter_context(running_system())
    # What a store needs vacuumed would be vacuumed while another has its turn.
    system.hold_autovacuum()
    return stack.enter_context(store(system, requests=requests, sent=orders // 2))


def _turn(stores: Sequence[Store], backlog: int) -> Sequence[WorkedOff]:
    worked_off = [one.work_off(backlog) for one in stores]
    print_progress(f"  {', '.join(f'{one.per_second:,.0f}' for one in worked_off)} requests/s")
    return worked_off


def _figures(one: Try, fewest: Try) -> Figures:
    turns = zip(one.measured, fewest.measured, strict=True)
    against_fewest = [here.per_second / there.per_second for here, there in turns]
    return {**as_figures([one]), "against_fewest": median(against_fewest), "against_fewest_by_turn": against_fewest}


def _with_processes(run: Run, number: int) -> Try:
    print_progress(f"  {number} worker processes")
    return once(run, run.sizes.backlog, concurrency=number, probes=run.sizes.probes)
