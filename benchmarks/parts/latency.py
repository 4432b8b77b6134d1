"""Latency: single requests on an idle system, and beside half of the throughput that was measured."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from itertools import islice

from benchmarks.backlog import await_done, prove, publish
from benchmarks.latency import LOOKS_BESIDE_A_LOAD, percentiles, single_request
from benchmarks.made import cancel_requests, load_orders, open_numbers
from benchmarks.parts.ours import WARM_UP
from benchmarks.progress import say
from benchmarks.run import Figures, Run, median_try
from benchmarks.system import our_programs, tidy_up
from tasks.database import in_transaction
from workers.broker import broker_at

# How often the half load is published, in small bunches.
_TICK_SECONDS = 0.01
# More probes than can be made within the half load, one after the other.
_PROBES_A_SECOND = 100


def measure(run: Run) -> Figures:
    """Returns the percentiles of both, in milliseconds."""
    rate = run.measure("ours")["requests_per_second"] / 2
    sizes = run.sizes
    load, probes = int(rate * sizes.half_load_seconds), _PROBES_A_SECOND * sizes.half_load_seconds
    total = WARM_UP + sizes.probes + sizes.tries * (load + probes)
    with run.system.fresh_database():
        in_transaction(lambda connection: load_orders(connection, open_orders=total))
        numbers = iter(in_transaction(lambda connection: open_numbers(connection, total)))
        tidy_up()
        with run.system.processes(our_programs()):
            publish(_messages(numbers, WARM_UP))
            await_done(WARM_UP, "warm-up")
            idle = [single_request(number) for number in islice(numbers, sizes.probes)]
            say(f"  idle: {percentiles(idle)}")
            beside = []
            for _ in range(sizes.tries):
                beside.append(_beside(run.system.services.broker_url, _messages(numbers, load), rate, numbers))
                await_done(load, "the rest of the half load")
                say(f"  half load: {percentiles(beside[-1])}")
        prove(WARM_UP + len(idle) + sum(load + len(probed) for probed in beside))
    half_loads = [percentiles(probed) for probed in beside]
    median = median_try(half_loads, lambda one: one["decided_ms"]["p99"])
    all_p99 = [one["decided_ms"]["p99"] for one in half_loads]
    return {
        "idle": percentiles(idle),
        "half_load": {"requests_per_second": rate, **median, "decided_p99_of_all_tries": all_p99},
    }


def _messages(numbers: Iterator[str], count: int) -> list[bytes]:
    return cancel_requests(list(islice(numbers, count)))


def _beside(broker_url: str, load: Sequence[bytes], rate: float, numbers: Iterator[str]) -> list[tuple[float, float]]:
    """Returns what single requests took while the load was published by a process of its own."""
    publisher = multiprocessing.get_context("spawn").Process(target=_publish_steadily, args=(broker_url, load, rate))
    publisher.start()
    tries = []
    while publisher.is_alive():
        tries.append(single_request(next(numbers), LOOKS_BESIDE_A_LOAD))
    publisher.join()
    return tries


def _publish_steadily(broker_url: str, messages: Sequence[bytes], rate: float) -> None:
    broker = broker_at(broker_url)
    # Connects: what would be late by that would come as one rush.
    broker.backlog()
    started, sent = time.monotonic(), 0
    while sent < len(messages):
        due = min(len(messages), int((time.monotonic() - started) * rate) + 1)
        for _ in broker.publish(messages[sent:due]):
            pass
        sent = due
        time.sleep(_TICK_SECONDS)
