"""Working off a backlog with the real processes, from the publishing to the last effect, with the proof of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from sqlalchemy import Connection, text

from benchmarks.made import LINES_PER_ORDER, SOURCE
from benchmarks.progress import bar
from benchmarks.usage import Processes
from configuration.settings import settings
from database.transactions import in_transaction
from orders.audit import audit
from workers.broker import Broker, broker_at
from workers.errors import CommandError

# Requests a second that any machine does.
_SLOWEST = 20
_PATIENCE_SECONDS = 120
_LOOK_SECONDS = 0.1

_LEFT = text(
    """
    SELECT (SELECT count(*) FROM change_request WHERE state = 'received') AS undecided,
        (SELECT count(*) FROM effect WHERE kind = 'notify' AND state = 'pending') AS unnotified,
        (SELECT count(*) FROM effect WHERE kind = 'restock' AND state = 'pending') AS not_restocked
    """
)
_LAST_EFFECT = text("SELECT extract(epoch FROM max(done_at)) FROM effect")
_DONE = text(
    """
    SELECT (SELECT count(*) FROM change_request WHERE source = :source AND reasons = '{order_cancelled}') AS decided,
        (SELECT count(*) FROM orders WHERE status = 'cancelled') AS cancelled,
        (SELECT count(*) FROM changelog WHERE action = 'cancelled') AS logged,
        (SELECT count(*) FROM notification WHERE state = 'sent') AS notified,
        (SELECT count(*) FROM stock_movement) / :lines AS restocked
    """
)


@dataclass(frozen=True, slots=True)
class WorkedOff:
    """How long a backlog took, and the CPU seconds of each program per 1,000 requests."""

    requests: int
    seconds: float
    cpu_seconds_per_1000: dict[str, float]

    @property
    def per_second(self) -> float:
        """Returns requests per second."""
        return self.requests / self.seconds

    def as_json(self) -> dict[str, Any]:
        """Returns the figures as they go into the report."""
        return {
            "requests": self.requests,
            "seconds": self.seconds,
            "requests_per_second": self.per_second,
            "cpu_seconds_per_1000_requests": self.cpu_seconds_per_1000,
        }


def work_off(processes: Processes, messages: Sequence[bytes], title: str = "requests") -> WorkedOff:
    """Publishes a backlog while the intake is suspended, resumes it, and returns when the last effect is done."""
    with processes.suspended("intake"):
        publish(messages)
        before, started = processes.cpu_seconds(), time.time()
    await_done(len(messages), title)
    used = processes.cpu_per_1000(before, len(messages))
    ended = in_transaction(lambda connection: float(connection.execute(_LAST_EFFECT).scalar_one()))
    return WorkedOff(len(messages), ended - started, used)


def publish(messages: Sequence[bytes]) -> None:
    """Publishes messages as an integration would, which stays connected."""
    _connected(settings().broker_url or "").publish(messages)


@cache
def _connected(url: str) -> Broker:
    return broker_at(url)


def await_done(count: int, title: str) -> None:
    """Returns when the broker, the inbox and the outbox are empty; `count` is how many requests are on their way."""
    broker = broker_at(settings().broker_url or "")
    deadline = time.monotonic() + _PATIENCE_SECONDS + count / _SLOWEST
    with bar(title, count) as advance:
        while True:
            # The broker first: what leaves it between the two looks is seen in the inbox.
            on_the_broker = broker.backlog()
            left = in_transaction(lambda connection: connection.execute(_LEFT).one())
            advance(count - on_the_broker - left.undecided - max(left.unnotified, left.not_restocked))
            if not on_the_broker and not any(left):
                return
            if time.monotonic() > deadline:
                raise CommandError(f"{title}: not done in time; {on_the_broker} on the broker, {left._mapping}")
            time.sleep(_LOOK_SECONDS)


def prove(count: int) -> None:
    """Raises unless this many orders were cancelled, logged, restocked and notified, and no promise is broken."""
    done = in_transaction(lambda connection: dict(_counted(connection)))
    if set(done.values()) != {count}:
        raise CommandError(f"the work of {count} requests is not all done: {done}")
    audited = in_transaction(partial(audit, patience=settings().patience))
    if not audited["ok"]:
        broken = [check for check in audited["checks"] if check["violations"]]
        raise CommandError(f"the audit found broken promises: {broken}")


def _counted(connection: Connection) -> Any:
    return connection.execute(_DONE, {"source": SOURCE, "lines": LINES_PER_ORDER}).one()._mapping
