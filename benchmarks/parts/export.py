"""Export: orders claimed, rendered and written by the exporter's own code, against a loop that only renders them."""

import gc
import logging
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, select

from benchmarks.made import load_orders
from benchmarks.progress import print_progress
from benchmarks.run import Figures, Run, median_try
from benchmarks.system import broker_is_known, tidy_up
from benchmarks.usage import cpu_seconds, per_1000, services
from database.tables import orders
from database.transactions import in_transaction
from edi import drafts
from edi.documents.order import OrderDocument
from edi.documents.standards import assemble, render_order
from tasks.export import iterate_export
from tasks.partners import partners
from workers.errors import CommandError
from workers.logs import configure_logs


@dataclass(frozen=True, slots=True)
class _Try:
    """Orders a second, exported and only rendered, and the CPU seconds of each program for 1,000 exported orders."""

    per_second: float
    only_rendered_per_second: float
    cpu_seconds_per_1000: dict[str, float]

    @property
    def against_rendering(self) -> float:
        """Returns how many are exported while one would only be rendered."""
        return self.per_second / self.only_rendered_per_second


def measure(run: Run) -> Figures:
    """Returns orders per second of both and CPU seconds, those of the median try, and the ratios of all."""
    tries = [_once(run) for _ in range(run.sizes.export_tries)]
    median = median_try(tries, lambda one: one.against_rendering)
    return {
        "orders": run.sizes.exported_orders,
        "orders_per_second": median.per_second,
        "only_rendered_per_second": median.only_rendered_per_second,
        "cpu_seconds_per_1000_orders": median.cpu_seconds_per_1000,
        "all_tries": [one.against_rendering for one in tries],
    }


def _once(run: Run) -> _Try:
    count, home = run.sizes.exported_orders, run.system.home
    with run.system.fresh_database():
        in_transaction(lambda connection: load_orders(connection, open_orders=count, held=False))
        tidy_up()
        # An exporter's process has no threads beside it; this one looks after the servers.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_become_exporter) as exporter:
            bare = exporter.submit(_only_rendered, home / "bare.edi").result()
            before = exporter.submit(_own_cpu_seconds).result() | cpu_seconds(services(home))
            exported = exporter.submit(_exported, count).result()
            after = exporter.submit(_own_cpu_seconds).result() | cpu_seconds(services(home))
    print_progress(f"  {count / exported:,.0f} orders/s, only rendered {count / bare:,.0f} orders/s")
    return _Try(count / exported, count / bare, per_1000(after, before, count))


def _become_exporter() -> None:
    configure_logs(level=logging.WARNING)
    broker_is_known()
    # As a worker's process does.
    gc.freeze()


def _only_rendered(file: Path) -> float:
    """Returns the seconds that it takes."""
    documents = in_transaction(_documents)
    (partner,) = partners()
    started = time.perf_counter()
    messages = [render_order(document, partner) for document in documents]
    file.write_bytes(assemble(messages, partner, 1, datetime.now(UTC)))
    return time.perf_counter() - started


def _exported(count: int) -> float:
    """Returns the seconds that it takes."""
    (partner,) = partners()
    started = time.perf_counter()
    steps = list(iterate_export(partner))
    seconds = time.perf_counter() - started
    sent = sum(step.claim.interchange.orders for step in steps if step.claim.interchange and not step.error)
    if sent != count:
        raise CommandError(f"{sent} of {count} orders were exported")
    return seconds


def _own_cpu_seconds() -> dict[str, float]:
    """Returns those of the exporter so far, and of the processes that have made drafts ahead for it and have ended."""
    times = os.times()
    return {"exporter": times.user + times.system, "drafter": times.children_user + times.children_system}


def _documents(connection: Connection) -> list[OrderDocument]:
    ids = connection.scalars(select(orders.c.id)).all()
    return [document for _, _, document in drafts.documents(connection, ids)]
