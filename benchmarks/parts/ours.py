"""Ours: a backlog on the stream, decided, restocked and told by the processes of `countermand up`."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.backlog import WorkedOff, await_done, prove, publish, work_off
from benchmarks.latency import percentiles, single_request
from benchmarks.made import cancel_requests, load_orders, open_numbers
from benchmarks.progress import say
from benchmarks.run import Figures, Run
from benchmarks.system import our_programs, tidy_up
from tasks.database import in_transaction

# Opens the connections and loads the templates of every process.
WARM_UP = 500


@dataclass(frozen=True, slots=True)
class Try:
    """One backlog, worked off, and what single requests took after it, in milliseconds."""

    backlog: WorkedOff
    idle: Sequence[tuple[float, float]]


def measure(run: Run) -> Figures:
    """Returns the figures of the median try, and the requests per second of all."""
    return as_figures([once(run, run.sizes.backlog) for _ in range(run.sizes.tries)])


def as_figures(tries: Sequence[Try]) -> Figures:
    """Returns the figures of the median try, and the requests per second of all."""
    median = sorted(tries, key=lambda one: one.backlog.per_second)[(len(tries) - 1) // 2]
    figures = {**median.backlog.as_json(), "all_tries": [one.backlog.per_second for one in tries]}
    return {**figures, "idle_latency": percentiles(median.idle)} if median.idle else figures


def once(run: Run, backlog: int, *, sent: int = 0, concurrency: int = 2, probes: int = 0) -> Try:
    """Works off one backlog on a fresh database, with so many orders sent before beside as many open ones."""
    requests = WARM_UP + backlog + probes
    with run.system.fresh_database():
        in_transaction(lambda connection: load_orders(connection, open_orders=sent + requests, sent=sent))
        numbers = in_transaction(lambda connection: open_numbers(connection, requests))
        tidy_up()
        messages = cancel_requests(numbers[: WARM_UP + backlog])
        with run.system.processes(our_programs(concurrency)) as processes:
            publish(messages[:WARM_UP])
            await_done(WARM_UP, "warm-up")
            worked_off = work_off(processes, messages[WARM_UP:])
            idle = [single_request(number) for number in numbers[WARM_UP + backlog :]]
        prove(requests)
    say(f"  {worked_off.per_second:,.0f} requests/s")
    return Try(worked_off, idle)
