"""Export: orders claimed, rendered and written by the exporter's own code, against a loop that only renders them."""

import gc
import logging
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, select

from benchmarks.made import load_orders
from benchmarks.progress import say
from benchmarks.run import Figures, Run, median_try
from benchmarks.system import broker_is_known, tidy_up
from edi import drafts
from edi.documents.order import OrderDocument
from edi.documents.standards import assemble, render_order
from edi.partners import Partner
from orders.tables import orders
from tasks.database import in_transaction
from tasks.export import export_steps
from tasks.partners import partners
from workers.errors import CommandError
from workers.logs import configure_logs


def measure(run: Run) -> Figures:
    """Returns orders per second of both, those of the median try, and the ratios of all."""
    tries = [_once(run) for _ in range(run.sizes.tries)]
    per_second, bare = median_try(tries, _ratio)
    return {
        "orders": run.sizes.exported_orders,
        "orders_per_second": per_second,
        "only_rendered_per_second": bare,
        "all_tries": [_ratio(one) for one in tries],
    }


def _ratio(one: tuple[float, float]) -> float:
    per_second, bare = one
    return per_second / bare


def _once(run: Run) -> tuple[float, float]:
    count = run.sizes.exported_orders
    with run.system.fresh_database():
        in_transaction(lambda connection: load_orders(connection, open_orders=count, held=False))
        tidy_up()
        # An exporter's process has no threads beside it; this one looks after the servers.
        quiet = partial(configure_logs, level=logging.WARNING)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=quiet) as exporter:
            bare, exported = exporter.submit(_seconds, run.system.home / "bare.edi", count).result()
    say(f"  {count / exported:,.0f} orders/s, only rendered {count / bare:,.0f} orders/s")
    return count / exported, count / bare


def _seconds(bare_file: Path, count: int) -> tuple[float, float]:
    """Returns what the bare loop and the export took."""
    broker_is_known()
    (partner,) = partners()
    # As a worker's process does.
    gc.freeze()
    return _only_rendered(partner, bare_file), _exported(partner, count)


def _only_rendered(partner: Partner, file: Path) -> float:
    documents = in_transaction(_documents)
    started = time.perf_counter()
    messages = [render_order(document, partner) for document in documents]
    file.write_bytes(assemble(messages, partner, 1, datetime.now(UTC)))
    return time.perf_counter() - started


def _exported(partner: Partner, count: int) -> float:
    started = time.perf_counter()
    steps = list(export_steps(partner))
    seconds = time.perf_counter() - started
    sent = sum(step.claim.interchange.orders for step in steps if step.claim.interchange and not step.error)
    if sent != count:
        raise CommandError(f"{sent} of {count} orders were exported")
    return seconds


def _documents(connection: Connection) -> list[OrderDocument]:
    ids = connection.scalars(select(orders.c.id)).all()
    return [document for _, _, document in drafts.documents(connection, ids)]
