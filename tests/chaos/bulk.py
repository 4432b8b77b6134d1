"""A bulk: many parked requests decided again at once, by a command that is killed on its way, beside live requests.

`python -m tests.chaos.bulk --requests 100000` prints one table; exits 1 if something is lost or a promise is broken.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from threading import Event
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from orders.inbox import Delivery, store
from tests.builders import a_request, an_address, an_order, encoded
from tests.chaos.embedded import Embedded, embedded_up
from tests.processes import COMMAND, await_that, let_children_be_ended
from workers.broker import STREAM

_SOURCE, _LIVE = "bulk", "live"
_PARK = (
    "UPDATE change_request SET state = 'parked', parked_at = now(), reasons = '{failed_repeatedly}' "
    "WHERE source = :source"
)
_REQUESTS_PER_ORDER = 3
_AT_ONCE = 500
_LIVE_AT_ONCE = 10
_LIVE_EVERY_SECONDS = 0.2
_LOOK_EVERY_SECONDS = 0.02
_PATIENCE_SECONDS = 60
# Requests a second that any machine does.
_SLOWEST = 20
# Of its own: whoever else uses these services may have left a request for an order that is not known.
_OPEN = """
    SELECT EXISTS (SELECT FROM change_request AS request LEFT JOIN effect ON change_request_id = request.id
        WHERE source IN (:bulk, :live) AND (request.state = 'received' OR effect.state = 'pending')) AS any
"""


@dataclass
class Run:
    """One run of the command: how long it took, the most that it held, and what it said."""

    seconds: float
    megabytes: float
    was_killed: bool
    said: str
    told_meanwhile: list[str]


@dataclass
class Bulk:
    """What was done and found."""

    requests: int
    dry: Run
    killed: Run
    # Still parked once the first run was dead.
    left: int
    again: Run
    live: int
    # From the first start until everything was decided and answered.
    seconds: float
    wrong: list[str] = field(default_factory=list)


def _numbers(requests: int) -> list[str]:
    return [f"BULK-{one}" for one in range(-(-requests // _REQUESTS_PER_ORDER))]


def _event(place: int) -> dict[str, Any]:
    number, kind = f"BULK-{place // _REQUESTS_PER_ORDER}", place % _REQUESTS_PER_ORDER
    moved = {"shipping": an_address(line1=f"Weg {place}")}
    more: dict[str, Any] = (
        {"kind": "change_address", "addresses": moved},
        {"kind": "cancel"},
        {"kind": "change_items"},
    )[kind]
    return a_request(number, source=_SOURCE, id=f"bulk-{place}", **more)


def park(running: Embedded, requests: int) -> None:
    """Has so many requests parked, as if they had failed again and again; then their orders come."""
    for start in range(0, requests, _AT_ONCE):
        events = map(_event, range(start, min(requests, start + _AT_ONCE)))
        with running.engine.begin() as connection:
            store(connection, [Delivery("bulk", None, encoded(event)) for event in events])
    with running.engine.begin() as connection:
        # Not for an unknown order: those are undecided again as soon as it is loaded.
        connection.execute(text(_PARK), {"source": _SOURCE})
    orders = [an_order(number, hold_until="2099-01-01T00:00:00Z") for number in _numbers(requests)]
    for start in range(0, len(orders), _AT_ONCE):
        running.load(*orders[start : start + _AT_ONCE])


def _run(running: Embedded, *arguments: str, dies: Callable[[], bool] | None = None) -> Run:
    """Runs a command; kills it with -9 as soon as `dies` says so."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = psutil.Popen([COMMAND, *arguments], env=running.env, stdout=out, stderr=err)
        pause, megabytes = Event(), 0.0
        while process.poll() is None:
            # It may have ended by now.
            with suppress(psutil.Error):
                megabytes = max(megabytes, process.memory_info().rss / 2**20)
                if dies is not None and dies():
                    process.kill()
            pause.wait(_LOOK_EVERY_SECONDS)
        assert process.returncode in (0, -SIGKILL), f"{arguments}: it ended with {process.returncode}"
        was_killed = process.returncode == -SIGKILL
        for file in (out, err):
            file.seek(0)
        said, reported = out.read().decode(), err.read().decode().splitlines()
    return Run(time.monotonic() - started, megabytes, was_killed, said, reported)


def _parked(running: Embedded) -> int:
    sql = "SELECT count(*) FROM change_request WHERE state = 'parked' AND source = :source"
    return int(running.rows(sql, source=_SOURCE)[0][0])


@contextmanager
def _live_requests(running: Embedded, numbers: list[str]) -> Iterator[list[str]]:
    """Publishes requests for the same orders for as long as the block lasts; yields their ids."""
    published: list[str] = []
    over = Event()

    def publish() -> None:
        while not over.is_set():
            events = [
                a_request(numbers[len(published) % len(numbers)], "change_payment", source=_LIVE)
                for _ in range(_LIVE_AT_ONCE)
            ]
            running.publish(*events)
            published.extend(event["id"] for event in events)
            over.wait(_LIVE_EVERY_SECONDS)

    with ThreadPoolExecutor(1) as threads:
        publishing = threads.submit(publish)
        try:
            yield published
        finally:
            over.set()
        publishing.result()


def reprocess(running: Embedded, requests: int) -> Bulk:
    """Decides what is parked again: looks first, is killed in the middle, and goes on beside live requests."""
    dry = _run(running, "reprocess", "--dry-run")
    assert _parked(running) == requests, "the dry run has changed something"
    started = time.monotonic()
    killed = _run(running, "reprocess", dies=lambda: _parked(running) <= requests * 3 // 4)
    left = _parked(running)
    with _live_requests(running, _numbers(requests)) as live:
        again = _run(running, "reprocess", "--json")
    patience = _PATIENCE_SECONDS + requests / _SLOWEST
    await_that(lambda: not running.broker.xlen(STREAM), "the inbox has all", patience)
    await_that(
        lambda: not running.rows(_OPEN, bulk=_SOURCE, live=_LIVE)[0].any, "all is decided and answered", patience
    )
    bulk = Bulk(requests, dry, killed, left, again, len(live), time.monotonic() - started)
    bulk.wrong += _wrong(running, bulk)
    return bulk


def _wrong(running: Embedded, bulk: Bulk) -> Iterator[str]:
    if not bulk.killed.was_killed and bulk.left:
        yield f"the first run was not killed, and has left {bulk.left:,} requests"
    if (said := json.loads(bulk.again.said)["reprocessed"]) != bulk.left:
        yield f"{said:,} were reprocessed by the second run, {bulk.left:,} were left"
    if f"would be decided anew: {bulk.requests:,}" not in bulk.dry.said:
        yield f"the dry run said: {bulk.dry.said[-200:]}"
    found = "SELECT count(*) FROM change_request WHERE source = :source AND state = 'decided'"
    for source, expected in ((_SOURCE, bulk.requests), (_LIVE, bulk.live)):
        [[decided]] = running.rows(found, source=source)
        if decided != expected:
            yield f"{decided:,} requests of {source} are decided, expected {expected:,}"
    audited = running.audit()
    if not audited["ok"]:
        yield f"the audit: {audited}"


def as_table(bulk: Bulk) -> Table:
    """Returns the figures for people."""
    table = Table("", "seconds", "MB", title=f"{bulk.requests:,} parked requests")
    for name, run in (
        ("dry run", bulk.dry),
        (f"killed after {bulk.requests - bulk.left:,}", bulk.killed),
        (f"again, {bulk.left:,}, beside {bulk.live:,} live ones", bulk.again),
    ):
        table.add_row(name, f"{run.seconds:.1f}", f"{run.megabytes:.0f}")
    table.add_section()
    table.add_row("all decided and answered", f"{bulk.seconds:.1f}", "")
    return table


def main() -> int:
    """Runs it once; the folder of a run that went wrong is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.bulk", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="how many (100000)")
    given = parser.parse_args()
    let_children_be_ended()
    # Not in a folder that only its owner may pass through: as root, PostgreSQL is another user.
    folder = Path(tempfile.mkdtemp(prefix="countermand-bulk-"))
    with embedded_up(folder) as running:
        park(running, given.requests)
        bulk = reprocess(running, given.requests)
    Console().print(as_table(bulk))
    print("\n".join(bulk.again.told_meanwhile), file=sys.stderr)
    if bulk.wrong:
        print("\n".join(bulk.wrong), f"everything is kept in {folder}", sep="\n", file=sys.stderr)
        return 1
    print("nothing is lost, and the audit finds nothing")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
