"""Latency: single requests on an idle system, and some of those that are half of its throughput.

Round by round: a machine that is slower for a minute has less throughput then, and takes longer for a single request.
"""

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection

from benchmarks.backlog import await_done
from benchmarks.latency import percentiles, watch
from benchmarks.made import cancel_requests
from benchmarks.parts.ours import Store, store
from benchmarks.progress import print_progress
from benchmarks.run import Figures, Run, median_try
from benchmarks.sizes import Sizes
from workers.broker import broker_at
from workers.errors import CommandError

# How often the half load is published, in small bunches; of each third bunch one request is watched.
_TICK_SECONDS = 0.01
_WATCHED_BUNCHES = 3
# A round's throughput is its own. Where it is more than so many times that of `ours`, the half load is shorter, as
# there are orders for no more.
_AT_MOST = 1.25


@dataclass(frozen=True, slots=True)
class _Round:
    """What single requests took with nothing else to do, and beside half of the throughput that was measured then."""

    idle: Sequence[tuple[float, float]]
    half_load: Sequence[tuple[float, float]]
    per_second: float

    @property
    def p99_against_idle(self) -> float:
        """Returns p99 at half load against the idle p50, published to decided."""
        return _until_decided(self.half_load)["p99"] / _until_decided(self.idle)["p50"]


def measure(run: Run) -> Figures:
    """Returns the percentiles of both, in milliseconds."""
    sizes = run.sizes
    at_most = int(run.measure("ours")["requests_per_second"] / 2 * _AT_MOST * sizes.half_load_seconds)
    requests = sizes.half_loads * (sizes.idle_probes + sizes.half_load_backlog + at_most)
    with store(run.system, requests=requests) as ours:
        rounds = [_round(sizes, ours, at_most) for _ in range(sizes.half_loads)]
    median = median_try(rounds, lambda one: one.p99_against_idle)
    return {
        "idle": percentiles([probed for one in rounds for probed in one.idle]),
        "half_load": {"requests_per_second": median.per_second, **percentiles(median.half_load)},
        "half_load_p99_against_idle_p50": median.p99_against_idle,
        "half_load_p99_against_idle_p50_by_round": [one.p99_against_idle for one in rounds],
    }


def _round(sizes: Sizes, ours: Store, at_most: int) -> _Round:
    idle = ours.probe(sizes.idle_probes)
    rate = ours.work_off(sizes.half_load_backlog).per_second / 2
    numbers = ours.to_cancel(min(int(rate * sizes.half_load_seconds), at_most))
    beside = _half_load(ours.system.services.broker_url, numbers, rate)
    await_done(len(numbers), "the rest of the half load")
    measured = _Round(idle, beside, rate)
    shown = [f"p50 {one['p50']:.1f}, p99 {one['p99']:.1f} ms" for one in map(_until_decided, (idle, beside))]
    print_progress(f"  idle {shown[0]}; {rate:,.0f} requests/s {shown[1]}: {measured.p99_against_idle:.1f}")
    return measured


def _until_decided(tries: Sequence[tuple[float, float]]) -> dict[str, float]:
    decided: dict[str, float] = percentiles(tries)["decided_ms"]
    return decided


def _half_load(broker_url: str, numbers: Sequence[str], rate: float) -> list[tuple[float, float]]:
    """Returns what some requests of a steady load took, which a process of its own publishes."""
    line, there = multiprocessing.Pipe(duplex=False)
    publisher = multiprocessing.get_context("spawn").Process(
        target=_publish_steadily, args=(broker_url, numbers, rate, there)
    )
    publisher.start()
    # Its own end is the only one then: the line ends with the publisher.
    there.close()
    watched = watch(line)
    publisher.join()
    if publisher.exitcode:
        raise CommandError("the steady load could not be published; the reason is above")
    return watched


def _publish_steadily(broker_url: str, numbers: Sequence[str], rate: float, line: Connection) -> None:
    """Publishes so many requests a second, in bunches; tells the line of some of them, each the last of its bunch."""
    messages, bunches = cancel_requests(numbers), count(1)
    broker = broker_at(broker_url)
    # Connects: what would be late by that would come as one rush.
    broker.backlog()
    started, sent = time.monotonic(), 0
    while sent < len(messages):
        now = time.monotonic()
        due = min(len(messages), int((now - started) * rate) + 1)
        broker.publish(messages[sent:due])
        if due > sent and next(bunches) % _WATCHED_BUNCHES == 0:
            line.send((numbers[due - 1], now))
        sent = due
        time.sleep(_TICK_SECONDS)
