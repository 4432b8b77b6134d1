"""One run: load and faults side by side, then quiet, then the comparison."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from tests.chaos.books import Books
from tests.chaos.comparison import Comparison
from tests.chaos.faults import Faults
from tests.chaos.house import PATIENCE_SECONDS, House
from tests.chaos.leases import end_rests, kill_and_end_leases
from tests.chaos.ledger import Ledger
from tests.chaos.senders import Key, StreamSender, WebhookSender, patiently
from tests.chaos.servers import Servers, comes
from tests.chaos.traffic import Asking, Store
from tests.processes import await_that
from workers.broker import CHANGE_QUEUE, DEAD_LETTER_QUEUE, Broker, broker_at, connection_to, declare_queues

_WAVE_SECONDS = 1.0


def run(
    folder: Path, seed: int, *, minutes: float = 0, amqp_url: str | None = None, waits_for_leases: bool = True
) -> Ledger:
    """Lets every fault happen at least once, and go on for so many minutes; returns the ledger.

    With `amqp_url` the broker is that RabbitMQ, whose queues are emptied first, and which is left alone. Without
    `waits_for_leases` what a killed process has leased is not waited for: whoever holds a lease is killed, and its
    clock set forward.
    """
    started = time.monotonic()
    servers = Servers(folder / "servers")
    with ExitStack() as stack:
        database_url = stack.enter_context(servers.database.started()).url
        if amqp_url:
            _empty(amqp_url)
        broker_url = amqp_url or stack.enter_context(servers.broker.started()).url
        books = stack.enter_context(closing(Books(database_url, broker_url)))
        house = stack.enter_context(House(folder, database_url, broker_url).running())
        store, ledger = Store(seed), Ledger(seed)
        stream = StreamSender(broker_url, Asking("broker", store))
        webhooks = WebhookSender(house.url, Asking("webhook", store))
        faults = Faults(seed, house, servers, stream, books, waits_for_leases, owns_broker=not amqp_url)
        seen: dict[Key, Any] = {}
        with _in_threads(stream.run, webhooks.run, lambda stop: _store(store, books, stop)):
            for turn, fault in enumerate(faults.schedule()):
                if turn >= len(faults) and time.monotonic() > started + minutes * 60:
                    break
                fault()
                seen = books.decisions() | seen
        faults.end()
        _settle(house, books, broker_at(broker_url), waits_for_leases)
        Comparison(store, stream, webhooks, house, books, seen).fill(ledger)
        ledger.lost += faults.lost
        ledger.sent = stream.counts + webhooks.counts
        ledger.faults = faults.counts
        ledger.seconds = time.monotonic() - started
        return ledger


@contextmanager
def _in_threads(*works: Callable[[Event], None]) -> Iterator[None]:
    """Runs the works beside the block, stops them after it, and raises what they raised."""
    stop = Event()
    with ThreadPoolExecutor(len(works)) as threads:
        running: list[Future[None]] = [threads.submit(work, stop) for work in works]
        try:
            yield
        finally:
            stop.set()
        for one in running:
            one.result()


def _store(store: Store, books: Books, stop: Event) -> None:
    while not stop.wait(_WAVE_SECONDS):
        patiently(partial(books.load, store.wave()))


def _settle(house: House, books: Books, broker: Broker, waits_for_leases: bool) -> None:
    """Waits until everything has come to its end; what has not within a quarter of an hour, the comparison tells."""
    await_that(house.everything_runs, "all programs run again", PATIENCE_SECONDS)
    if not waits_for_leases:
        kill_and_end_leases(house, books, "answerer")
        kill_and_end_leases(house, books, "exporter")

    def is_quiet() -> bool:
        if not waits_for_leases:
            end_rests(books)
        # The broker first: what leaves it between the two looks is in the tables.
        return not broker.backlog() and not _open_work(books)

    comes(is_quiet, 3 * PATIENCE_SECONDS)
    # It knows how long a broker does not count what an intake has in hand.
    house.run("requests", "wait", "--json")
    comes(is_quiet, 3 * PATIENCE_SECONDS)


def _open_work(books: Books) -> int:
    [[count]] = books.rows(
        """
        SELECT (SELECT count(*) FROM change_request WHERE state = 'received')
             + (SELECT count(*) FROM effect WHERE state = 'pending')
             + (SELECT count(*) FROM interchange WHERE state = 'claimed')
             + (SELECT count(*) FROM orders WHERE status = 'validated' AND edi_state = 'not_sent'
                AND NOT EXISTS (SELECT FROM escalation_hold WHERE order_id = orders.id AND held_until > now()))
        """
    )
    return int(count)


def _empty(amqp_url: str) -> None:
    with connection_to(amqp_url) as connection:
        declare_queues(connection)
        for queue in (CHANGE_QUEUE, DEAD_LETTER_QUEUE):
            queue(connection.default_channel).purge()
