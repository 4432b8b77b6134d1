"""Running the demo: real processes on throw-away services; requests are published while the exports run."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import redis
from rich.progress import Progress
from sqlalchemy import Connection, text

from cli.demo.generator import Made, make
from cli.terminal import counting_progress, err
from configuration.settings import settings
from database.migrate import migrate
from database.transactions import engine, in_transaction
from orders.audit import audit
from orders.loading import load_orders
from orders.messages import OrderMessage
from orders.reading import count_outcomes, count_requests
from workers.broker import STREAM, Broker, broker_at
from workers.discovery import publish_to_environment
from workers.embedded import Services, embedded_services
from workers.errors import CommandError
from workers.supervisor import programs, supervised

# The time over which orders become due and requests come in: long enough to watch, short enough to stay for.
SPREAD = timedelta(seconds=6)
# A round of the demo: publish what is due, look at what has become of the rest.
_TICK_SECONDS = 0.1
_PATIENCE_SECONDS = 120
# Messages a second that any machine does.
_SLOWEST = 50


@dataclass(frozen=True, slots=True)
class Result:
    """What happened: the contract's shape for programs, and further figures for people."""

    as_json: dict[str, Any]
    duplicates: int
    dead_letters: int
    lost_to_the_export: int
    won_against_the_export: int
    held_by_escalations: int


def run_demo(*, orders: int, requests: int, seed: int) -> Result:
    """Runs the main job once and returns what happened. Everything it made is gone afterwards."""
    with _system() as services, counting_progress() as bars:
        made = make(orders=orders, requests=requests, seed=seed, now=datetime.now(UTC), spread=SPREAD)
        _load(made)
        seconds = _race(made, broker_at(services.broker_url), bars)
        audited = in_transaction(partial(audit, patience=settings().patience))
        result = in_transaction(lambda connection: _result(connection, made, seconds, audited))
        engine().dispose()
        return result


@contextmanager
def _system() -> Iterator[Services]:
    """A whole Countermand in a folder that is thrown away; short pauses between exports, so that they race."""
    os.environ.update(COUNTERMAND_EXPORT_SECONDS="0.5", COUNTERMAND_SWEEP_SECONDS="1")
    # Answers to made-up customers go to the log.
    os.environ.pop("COUNTERMAND_DESKS", None)
    with tempfile.TemporaryDirectory(prefix="countermand-demo-") as folder:
        home = Path(folder)
        log_folder = home / "log"
        log_folder.mkdir()
        commands = {name: command for name, command in programs().items() if name not in ("http", "answerer")}
        with (
            err.status("starting PostgreSQL, Valkey and the workers …") as status,
            embedded_services(home) as services,
        ):
            publish_to_environment(services, home)
            in_transaction(migrate)
            with supervised(home, commands, log_folder=log_folder):
                _await_processes(services, log_folder)
                status.stop()
                yield services


def _await_processes(services: Services, log_folder: Path) -> None:
    """Waits until the intake has its group and the workers have answered a first wake-up."""
    client = redis.Redis.from_url(services.broker_url)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (client.exists(STREAM) and client.xinfo_groups(STREAM) and _workers_ready(log_folder)):
        if time.monotonic() > deadline:
            raise CommandError(f"the processes did not come up within {_PATIENCE_SECONDS} seconds; see {log_folder}")
        time.sleep(0.05)
    client.close()


def _workers_ready(log_folder: Path) -> bool:
    logs = [log_folder / f"{name}.log" for name in ("worker", "exporter")]
    return all(log.exists() and " ready." in log.read_text() for log in logs)


def _load(made: Made) -> None:
    for start in range(0, len(made.orders), 500):
        messages = [OrderMessage.model_validate(order, strict=False) for order in made.orders[start : start + 500]]
        in_transaction(partial(load_orders, messages=messages))


def _race(made: Made, broker: Broker, bars: Progress) -> float:
    """Publishes the requests over the spread; returns the seconds until all is decided, answered and exported."""
    published = bars.add_task("requests published", total=len(made.messages))
    decided = bars.add_task("requests decided", total=made.requests)
    effects = bars.add_task("effects done (restock, notify)", total=None)
    exported = bars.add_task("orders sent to the warehouse", total=None)
    started, sent = time.monotonic(), 0
    while True:
        elapsed = time.monotonic() - started
        due = min(len(made.messages), int(len(made.messages) * elapsed / SPREAD.total_seconds()) + 1)
        sent += broker.publish(made.messages[sent:due])
        # The broker first: what leaves it between the two looks is seen in the inbox.
        on_the_broker = broker.backlog()
        counted = in_transaction(_count)
        bars.update(published, completed=sent)
        bars.update(decided, completed=counted["decided"])
        bars.update(
            effects, completed=counted["effects_done"], total=counted["effects_done"] + counted["effects_pending"]
        )
        bars.update(exported, completed=counted["exported"], total=counted["exported"] + counted["exportable"])
        open_work = counted["received"] + counted["effects_pending"] + counted["exportable"] + counted["in_flight"]
        if sent == len(made.messages) and not open_work and not on_the_broker:
            return time.monotonic() - started
        if elapsed > SPREAD.total_seconds() + _PATIENCE_SECONDS + len(made.messages) / _SLOWEST:
            raise CommandError(f"not settled after {elapsed:.0f} seconds: {counted}")
        time.sleep(_TICK_SECONDS)


_COUNT = text(
    """
    SELECT (SELECT count(*) FROM effect WHERE state = 'done') AS effects_done,
        (SELECT count(*) FROM orders WHERE edi_state = 'sent') AS exported,
        count(*) FILTER (WHERE NOT is_held) AS exportable, count(*) FILTER (WHERE is_held) AS held,
        (SELECT count(*) FROM interchange WHERE state = 'claimed') AS in_flight
    FROM (SELECT EXISTS (SELECT FROM escalation_hold WHERE order_id = orders.id AND held_until > now()) AS is_held
          FROM orders WHERE status = 'validated' AND edi_state = 'not_sent' AND export_error IS NULL) AS open_orders
    """
)


def _count(connection: Connection) -> dict[str, int]:
    return {**count_requests(connection), **connection.execute(_COUNT).one()._mapping}


def _result(connection: Connection, made: Made, seconds: float, audited: dict[str, Any]) -> Result:
    outcomes, reasons = count_outcomes(connection)
    decided = sum(outcomes.values())
    interchanges = connection.execute(text("SELECT count(*) FROM interchange WHERE state = 'sent'")).scalar_one()
    # A change that was applied to a validated order is one that the export would have carried off.
    won = text(
        """
        SELECT count(*) FROM change_request JOIN orders ON number = order_number
        WHERE reasons && ARRAY['order_cancelled', 'shipping_address_changed'] AND status IN ('validated', 'cancelled')
        """
    )
    counted = _count(connection)
    dead_letters = connection.execute(text("SELECT count(*) FROM dead_letter")).scalar_one()
    accepted = connection.execute(text("SELECT count(*) FROM change_request")).scalar_one()
    return Result(
        as_json={
            "orders": len(made.orders),
            "requests": decided,
            "seconds": round(seconds, 2),
            "requests_per_second": round(decided / seconds, 1),
            "outcomes": outcomes,
            "reasons": reasons,
            "exported": counted["exported"],
            "interchanges": interchanges,
            "audit": audited,
        },
        # Every message that was published is a request, a dead letter, or one that was known already.
        duplicates=len(made.messages) - accepted - dead_letters,
        dead_letters=dead_letters,
        lost_to_the_export=reasons.get("edi_already_sent", 0),
        won_against_the_export=connection.execute(won).scalar_one(),
        held_by_escalations=counted["held"],
    )
