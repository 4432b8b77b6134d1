"""Ours: a backlog on the stream, decided, restocked and answered by the processes of `countermand up`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from benchmarks.backlog import WorkedOff, await_done, prove, publish, work_off
from benchmarks.latency import percentiles, single_request
from benchmarks.made import cancel_requests, load_orders, open_numbers
from benchmarks.progress import print_progress
from benchmarks.run import Figures, Run, median_try
from benchmarks.system import System, our_programs, tidy_up
from benchmarks.usage import Processes
from database.transactions import in_transaction
from workers.errors import CommandError

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


@dataclass(slots=True)
class Store:
    """Open orders in a database of their own, and our processes, which are warm and have nothing to do."""

    system: System
    database_url: str
    processes: Processes
    open_orders: Iterator[str]
    asked: int = 0

    def work_off(self, count: int) -> WorkedOff:
        """Has so many orders cancelled, all of them asked for before the clock starts."""
        self.system.use(self.database_url)
        return work_off(self.processes, cancel_requests(self.to_cancel(count)))

    def probe(self, count: int) -> Sequence[tuple[float, float]]:
        """Has so many orders cancelled, one after the other; returns the milliseconds that each took."""
        self.system.use(self.database_url)
        return [single_request(number) for number in self.to_cancel(count)]

    def warm_up(self) -> None:
        """Has a few orders cancelled."""
        publish(cancel_requests(self.to_cancel(WARM_UP)))
        await_done(WARM_UP, "warm-up")

    def to_cancel(self, count: int) -> list[str]:
        """Returns the numbers of so many orders, for the caller to cancel. Raises if there are fewer."""
        numbers = list(islice(self.open_orders, count))
        if len(numbers) < count:
            raise CommandError(f"{count} open orders are needed, but only {len(numbers)} are left")
        self.asked += len(numbers)
        return numbers


@contextmanager
def store(system: System, *, requests: int, sent: int = 0, concurrency: int = 2) -> Iterator[Store]:
    """Makes one with orders for so many requests, from all over the table, and with so many sent before.

    Raises at the end unless all that was asked for is done.
    """
    total = WARM_UP + requests
    with system.fresh_database() as url:
        in_transaction(lambda connection: load_orders(connection, open_orders=sent + total, sent=sent))
        numbers = in_transaction(lambda connection: open_numbers(connection, total))
        tidy_up()
        with system.processes(our_programs(concurrency)) as processes:
            made = Store(system, url, processes, iter(numbers))
            made.warm_up()
            yield made
        system.use(url)
        prove(made.asked)


def measure(run: Run) -> Figures:
    """Returns the figures of the median try, and the requests per second of all."""
    return as_figures([once(run, run.sizes.backlog) for _ in range(run.sizes.tries)])


def once(run: Run, backlog: int, *, concurrency: int = 2, probes: int = 0) -> Try:
    """Works off one backlog on a fresh database."""
    with store(run.system, requests=backlog + probes, concurrency=concurrency) as ours:
        worked_off = ours.work_off(backlog)
        print_progress(f"  {worked_off.per_second:,.0f} requests/s")
        return Try([worked_off], ours.probe(probes))


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
