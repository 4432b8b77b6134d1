"""A flood: requests published as fast as the broker takes them, and what every process holds meanwhile.

`python -m tests.chaos.flood --requests 200000` prints one table; exits 1 if a bound is broken or something is lost.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from orders.messages import MAX_MESSAGE_BYTES
from tests.builders import a_request, an_address, an_order, encoded
from tests.chaos.embedded import Embedded, embedded_up
from tests.chaos.watch import Peaks, watching
from tests.processes import await_that, let_children_be_ended
from workers.beat import MOST_WAKEUPS
from workers.broker import STREAM, broker_at
from workers.supervisor import connections

# In megabytes: what a process of ours may hold more of in the flood than in the small one before it, and what one of
# PostgreSQL's may hold by itself, for a batch of large messages.
_GROWTH = 16.0
_BACKEND = 64.0
_REQUESTS_PER_ORDER = 20
_ORDERS_AT_ONCE = 500
# Requests a second that any machine does.
_SLOWEST = 20
_PATIENCE_SECONDS = 60
_OPEN = """
    SELECT EXISTS (SELECT FROM change_request WHERE state = 'received')
        OR EXISTS (SELECT FROM effect WHERE state = 'pending') AS any
"""


@dataclass(frozen=True)
class Wave:
    """So many messages: requests, and among them repeats, garbage, and some that are too large."""

    name: str
    count: int
    # Added to each request's note.
    padding: int = 0

    def bodies(self) -> Iterator[bytes]:
        """Makes them one by one, always the same ones."""
        return map(self._body, range(self.count))

    def _body(self, place: int) -> bytes:
        if _is_garbage(place):
            return b"garbage %d" % place
        request, chance = f"{self.name}-{place}", Random(f"{self.name} {place}")  # noqa: S311  # made-up data
        if _is_too_large(place):
            return encoded(a_request(id=request, note="x" * MAX_MESSAGE_BYTES))
        if _is_repeat(place):
            return self._body(place - 1)
        order, note = f"FLOOD-{chance.randrange(_orders_for(self.count))}", f"No. {place} {'x' * self.padding}"
        if place % 10 == 0:
            return encoded(a_request(order, id=request, note=note))
        moved = {"shipping": an_address(line1=f"Weg {chance.randrange(1000)}")}
        return encoded(a_request(order, "change_address", id=request, note=note, addresses=moved))

    def dead_letters(self) -> int:
        """Returns how many of them cannot be read."""
        return sum(_is_garbage(place) or _is_too_large(place) for place in range(self.count))

    def requests(self) -> int:
        """Returns how many different requests they are."""
        return self.count - self.dead_letters() - sum(map(_is_repeat, range(self.count)))


def _is_garbage(place: int) -> bool:
    return place % 1000 == 7


def _is_too_large(place: int) -> bool:
    return place % 5000 == 9


def _is_repeat(place: int) -> bool:
    return place % 50 == 11


def _orders_for(count: int) -> int:
    return max(10, count // _REQUESTS_PER_ORDER)


@dataclass
class Flooded:
    """One wave and what it did."""

    wave: Wave
    peaks: Peaks
    # From the first message on: when the last was published, was in the inbox, and was decided with all that follows.
    seconds: dict[str, float]
    entries_left: int
    broker_bytes_left: int


def flood(running: Embedded, wave: Wave, *, held: bool = False) -> Flooded:
    """Publishes a wave and waits until all of it is done; `held`: the intake begins when everything is published."""
    started = time.monotonic()
    seconds: dict[str, float] = {}
    with watching(running) as peaks:
        with _held(running) if held else ExitStack():
            published = broker_at(running.broker_url).publish(wave.bodies())
            assert published == wave.count
            seconds["published"] = time.monotonic() - started
            if held:
                peaks.entries = int(running.broker.xlen(STREAM))
        patience = _PATIENCE_SECONDS + wave.count / _SLOWEST
        await_that(lambda: not running.broker.xlen(STREAM), "the inbox has all", patience)
        seconds["taken"] = time.monotonic() - started
        await_that(lambda: not running.rows(_OPEN)[0].any, "all is decided and answered", patience)
        seconds["settled"] = time.monotonic() - started
    broker: Any = running.broker
    return Flooded(wave, peaks, seconds, broker.xlen(STREAM), broker.info("memory")["used_memory"])


@contextmanager
def _held(running: Embedded) -> Iterator[None]:
    [intake] = running.program("intake")
    intake.suspend()
    try:
        yield
    finally:
        intake.resume()


def load_orders(running: Embedded, wave: Wave) -> None:
    """Loads the orders that a wave is about; they are not exported."""
    orders = [an_order(f"FLOOD-{one}", hold_until="2099-01-01T00:00:00Z") for one in range(_orders_for(wave.count))]
    for start in range(0, len(orders), _ORDERS_AT_ONCE):
        running.load(*orders[start : start + _ORDERS_AT_ONCE])


def broken_bounds(running: Embedded, warm_up: Flooded, flooded: Flooded) -> list[str]:
    """Says what was lost, and what grew beyond its bound."""
    return [*_lost(running, (warm_up.wave, flooded.wave)), *_grown(warm_up, flooded)]


def _lost(running: Embedded, waves: Sequence[Wave]) -> Iterator[str]:
    found = {
        "requests decided": "SELECT count(*) FROM change_request WHERE state = 'decided'",
        "requests": "SELECT count(*) FROM change_request",
        "dead letters": "SELECT count(*) FROM dead_letter",
    }
    expected = {
        "requests decided": sum(wave.requests() for wave in waves),
        "requests": sum(wave.requests() for wave in waves),
        "dead letters": sum(wave.dead_letters() for wave in waves),
    }
    for what, sql in found.items():
        [[count]] = running.rows(sql)
        if count != expected[what]:
            yield f"{count:,} {what}, expected {expected[what]:,}"
    audited = running.audit()
    if not audited["ok"]:
        yield f"the audit: {audited}"


def _grown(warm_up: Flooded, flooded: Flooded) -> Iterator[str]:
    # Valkey is where the queue is; its bound is its own (workers/embedded/valkey.py).
    for name, megabytes in flooded.peaks.megabytes.items():
        bound = _BACKEND if name == "PostgreSQL" else warm_up.peaks.megabytes.get(name, 0) + _GROWTH
        if megabytes > bound and name != "Valkey":
            yield f"{name} had {megabytes:.0f} MB, at most {bound:.0f} were expected"
    budget = {f"countermand-{name}": number for name, number in connections().items()}
    for name, number in flooded.peaks.connections.items():
        if number > budget.get(name, 1):
            yield f"{name} had {number} connections, its budget is {budget.get(name, 1)}"
    if flooded.peaks.wakeups > 2 * MOST_WAKEUPS:
        yield f"{flooded.peaks.wakeups} wake-ups waited, at most {2 * MOST_WAKEUPS} were expected"
    if flooded.entries_left:
        yield f"{flooded.entries_left} entries are left on the stream"


def as_table(warm_up: Flooded, flooded: Flooded) -> Table:
    """Returns the figures for people."""
    table = Table("", f"{warm_up.wave.count:,} first", f"{flooded.wave.count:,} then", title="a flood")
    for name in sorted(flooded.peaks.megabytes):
        table.add_row(f"{name}, MB", *(f"{one.peaks.megabytes.get(name, 0):.0f}" for one in (warm_up, flooded)))
    table.add_section()
    for name in sorted(flooded.peaks.connections):
        table.add_row(f"{name}, connections", *(str(one.peaks.connections.get(name, 0)) for one in (warm_up, flooded)))
    table.add_section()
    rows: dict[str, list[float]] = {
        "entries on the stream, at most": [one.peaks.entries for one in (warm_up, flooded)],
        "… in the end": [one.entries_left for one in (warm_up, flooded)],
        "used by Valkey, kB, at most": [one.peaks.broker_bytes / 1024 for one in (warm_up, flooded)],
        "… in the end, kB": [one.broker_bytes_left / 1024 for one in (warm_up, flooded)],
        "wake-ups that wait, at most": [one.peaks.wakeups for one in (warm_up, flooded)],
        **{f"{what} after, s": [one.seconds[what] for one in (warm_up, flooded)] for what in flooded.seconds},
    }
    for what, values in rows.items():
        table.add_row(what, *(f"{value:,.0f}" for value in values))
    return table


def main() -> int:
    """Runs it once; the folder of a run that went wrong is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.flood", description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000, help="how many (200000)")
    parser.add_argument("--padding", type=int, default=0, help="bytes added to each (0)")
    given = parser.parse_args()
    let_children_be_ended()
    # Not in a folder that only its owner may pass through: as root, PostgreSQL is another user.
    folder = Path(tempfile.mkdtemp(prefix="countermand-flood-"))
    wave = Wave("flood", given.requests, given.padding)
    with embedded_up(folder) as running:
        load_orders(running, wave)
        warm_up = flood(running, Wave("warm-up", max(500, given.requests // 20), given.padding))
        flooded = flood(running, wave)
        broken = broken_bounds(running, warm_up, flooded)
    Console().print(as_table(warm_up, flooded))
    print("\n".join(broken), end="\n" if broken else "", file=sys.stderr)
    if broken:
        print(f"everything is kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
