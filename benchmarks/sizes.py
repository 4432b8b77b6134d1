"""How much of everything one run does."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers of requests, orders and tries of one run."""

    # Requests that wait when the clock starts.
    backlog: int
    # … for the naive worker, which would take minutes for as many.
    naive_backlog: int
    # What one disturbance of the machine would decide is the median of so many tries.
    tries: int
    # Single requests, one after the other.
    probes: int
    # How often half of the throughput of this backlog is published, for how long each time, after how many single ones.
    half_loads: int
    half_load_backlog: int
    half_load_seconds: int
    idle_probes: int
    # Orders of an export, and of how many the median counts: one is over in two seconds.
    exported_orders: int
    export_tries: int
    # Orders that are in the table already, requests on top of them, and how often so many, the first time not counted.
    growth: tuple[int, ...]
    growth_backlog: int
    growth_backlogs: int
    # With how many of them a backlog is worked off.
    worker_processes: tuple[int, ...]
    # Requests until memory is looked at for the first time, and for the last time.
    memory_warm_up: int
    memory_requests: int


FULL = Sizes(
    backlog=20_000,
    naive_backlog=2_000,
    tries=3,
    probes=200,
    half_loads=5,
    half_load_backlog=5_000,
    half_load_seconds=12,
    idle_probes=100,
    exported_orders=20_000,
    export_tries=5,
    growth=(10_000, 100_000, 1_000_000),
    growth_backlog=2_000,
    growth_backlogs=20,
    worker_processes=(1, 2, 4),
    memory_warm_up=20_000,
    memory_requests=200_000,
)

QUICK = Sizes(
    backlog=3_000,
    naive_backlog=300,
    tries=1,
    probes=60,
    half_loads=1,
    half_load_backlog=1_000,
    half_load_seconds=5,
    idle_probes=60,
    exported_orders=2_000,
    export_tries=1,
    growth=(1_000, 10_000),
    growth_backlog=2_000,
    growth_backlogs=2,
    worker_processes=(1, 2),
    memory_warm_up=2_000,
    memory_requests=10_000,
)
