"""Ours: a backlog on the stream, decided, restocked and told by the processes of `countermand up`."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.backlog import WorkedOff, await_done, prove, publish, work_off
from benchmarks.latency import percentiles, single_request
from benchmarks.made import cancel_requests, load_orders, open_numbers
from benchmarks.progress import say
from benchmarks.run import Figures, Run, median_try
from benchmarks.system import our_programs, tidy_up
from tasks.database import in_transaction

# Opens the connections and loads the templates of every process.
WARM_UP = 500


@dataclass(frozen=True, slots=True)
class Try:
    """Backlogs, worked off one after the other, and what single requests took after them, in milliseconds."""

    backlogs: Sequence[WorkedOff]
    idle: Sequence[tuple[float, float]]

    @property
    def measured(self) -> Sequence[WorkedOff]:
        """Those that count: the first of several is a warm-up."""
        return self.backlogs[1:] or self.backlogs


def measure(run: Run) -> Figures:
    """Returns the figures of the median try, and the requests per second of all."""
    return as_figures([once(run, run.sizes.backlog) for _ in range(run.sizes.tries)])


def as_figures(tries: Sequence[Try]) -> Figures:
    """Returns the figures of the median backlog, and the requests per second of all, also those of warm-ups."""
    measured = [backlog for one in tries for backlog in one.measured]
    median = median_try(measured, lambda one: one.per_second)
    figures = {**median.as_json(), "all_tries": [one.per_second for one in measured]}
    if warm_ups := [one.backlogs[0].per_second for one in tries if len(one.backlogs) > 1]:
        figures["first_backlogs"] = warm_ups
    if idle := [request for one in tries for request in one.idle]:
        figures["idle_latency"] = percentiles(idle)
    return figures


def once(run: Run, backlog: int, *, backlogs: int = 1, sent: int = 0, concurrency: int = 2, probes: int = 0) -> Try:
    """Works off backlogs of one size on a fresh database, with so many orders sent before beside as many open ones."""
    waiting = WARM_UP + backlogs * backlog
    requests = waiting + probes
    with run.system.fresh_database():
        in_transaction(lambda connection: load_orders(connection, open_orders=sent + requests, sent=sent))
        numbers = in_transaction(lambda connection: open_numbers(connection, requests))
        tidy_up()
        messages = cancel_requests(numbers[:waiting])
        with run.system.processes(our_programs(concurrency)) as processes:
            publish(messages[:WARM_UP])
            await_done(WARM_UP, "warm-up")
            starts = range(WARM_UP, waiting, backlog)
            worked_off = [work_off(processes, messages[start : start + backlog]) for start in starts]
            idle = [single_request(number) for number in numbers[waiting:]]
        prove(requests)
    say(f"  {', '.join(f'{one.per_second:,.0f}' for one in worked_off)} requests/s")
    return Try(worked_off, idle)
