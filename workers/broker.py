"""The broker as publishers of change requests see it: where requests go, and how many are still there."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import kombu
import kombu.exceptions
import redis
from amqp.exceptions import MessageNacked, PreconditionFailed
from redis.exceptions import OutOfMemoryError

from configuration.broker_url import parse_broker_url
from configuration.outages import UnusableQueue
from tasks.running.queues import Difference

STREAM = "countermand:change-requests"
FIELD = "event"
GROUP = "countermand"

QUEUE = "countermand.change-requests"
# What the broker itself gives up on (too many deliveries) is kept there, not dropped.
DEAD_LETTER_EXCHANGE = kombu.Exchange("countermand.dead-letters", type="fanout", durable=True)
_QUORUM = {"x-queue-type": "quorum"}
DEAD_LETTER_QUEUE = kombu.Queue(
    "countermand.dead-letters", exchange=DEAD_LETTER_EXCHANGE, durable=True, queue_arguments=_QUORUM
)
CHANGE_QUEUE = kombu.Queue(
    QUEUE,
    durable=True,
    queue_arguments={
        **_QUORUM,
        "x-dead-letter-exchange": DEAD_LETTER_EXCHANGE.name,
        # A dead letter leaves the queue only when the other queue has it; that needs publishers to be refused.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    },
)

_AMQP = kombu.Connection("amqp://")
# What kombu lets through of a RabbitMQ that is away, or that refuses us.
QUEUE_OUTAGES: tuple[type[Exception], ...] = (
    *_AMQP.connection_errors,
    *_AMQP.channel_errors,
    MessageNacked,
    UnusableQueue,
    OSError,
)
# … and of any broker.
BROKER_OUTAGES: tuple[type[Exception], ...] = (redis.RedisError, kombu.exceptions.KombuError, *QUEUE_OUTAGES)
# What an operator may have given a queue besides, as nothing is lost by it: what is too much is refused to the
# publisher, and what is too old or was delivered too often becomes a dead letter.
_HARMLESS = frozenset(
    {
        "x-delivery-limit",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-message-ttl",
        "x-single-active-consumer",
        "x-quorum-initial-group-size",
        "x-quorum-target-group-size",
        "x-queue-leader-locator",
    }
)

# How queues were found to be made, by their names: RabbitMQ logs each declaration that it refuses.
_as_found: dict[str, dict[str, Any]] = {}

# Messages a round trip when publishing many, or so many bytes if those come first.
_CHUNK = 500
_CHUNK_BYTES = 1024 * 1024
# How long a publisher waits for room in a Valkey that is full: the intake makes some with every batch.
_PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.2


class Broker(ABC):
    """Where change requests are published, by an integration or by us."""

    # Messages that an intake is working on are missing from the backlog for about this long.
    blind_seconds = 0.0

    def publish(self, bodies: Iterable[bytes], *, on_chunk: Callable[[int], object] = lambda _: None) -> int:
        """Publishes messages in their sequence and returns how many; `on_chunk` gets the size of each published chunk.

        Where it raises, the chunks that `on_chunk` was called for are on the broker.
        """
        published = 0
        for count in self._iterate_published(bodies):
            on_chunk(count)
            published += count
        return published

    @abstractmethod
    def _iterate_published(self, bodies: Iterable[bytes]) -> Iterator[int]:
        """Publishes chunk by chunk, as it is iterated; yields the size of each chunk once it is on the broker."""

    @abstractmethod
    def backlog(self) -> int:
        """Returns how many messages no intake has acknowledged yet."""


class StreamBroker(Broker):
    """A Redis or Valkey stream. An entry is deleted once it is acknowledged, so its length is the backlog."""

    def __init__(self, url: str) -> None:
        self._client = client_of(url)

    def _iterate_published(self, bodies: Iterable[bytes]) -> Iterator[int]:
        for chunk in _chunks(bodies):
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while not self._has_room_for(chunk, deadline):
                time.sleep(_LOOK_SECONDS)
            yield len(chunk)

    def _has_room_for(self, chunk: Sequence[bytes], deadline: float) -> bool:
        """Publishes all of a chunk or, where the broker is full, nothing of it; after the deadline it raises."""
        pipeline = self._client.pipeline(transaction=True)
        for body in chunk:
            pipeline.xadd(STREAM, {FIELD: body})
        try:
            pipeline.execute()
        except OutOfMemoryError:
            if time.monotonic() > deadline:
                raise
            return False
        return True

    def backlog(self) -> int:
        return int(self._client.xlen(STREAM))


class QueueBroker(Broker):
    """A RabbitMQ quorum queue. It counts only the messages that no intake is working on."""

    blind_seconds = 1.0

    def __init__(self, url: str) -> None:
        self._url = url

    def _iterate_published(self, bodies: Iterable[bytes]) -> Iterator[int]:
        # Confirmed: RabbitMQ has the message on disk when the publish returns.
        with connection_to(self._url, confirm_publish=True) as connection, connection.Producer() as producer:
            declare_queues(connection)
            for chunk in _chunks(bodies):
                for body in chunk:
                    producer.publish(
                        body,
                        routing_key=QUEUE,
                        content_type="application/cloudevents+json",
                        content_encoding="binary",
                        delivery_mode="persistent",
                    )
                yield len(chunk)

    def backlog(self) -> int:
        with connection_to(self._url) as connection:
            declare_queues(connection)
            return int(CHANGE_QUEUE(connection.default_channel).queue_declare(passive=True).message_count)


def broker_at(url: str) -> Broker:
    """Returns the broker at a URL. Raises ConfigurationError."""
    return StreamBroker(url) if is_stream(url) else QueueBroker(url)


def is_stream(url: str) -> bool:
    """True for the URL of a Redis or Valkey, False for RabbitMQ's. Raises ConfigurationError for one that is no use."""
    return parse_broker_url(url).is_stream


def client_of(url: str) -> redis.Redis:
    """Returns a client of a Redis or Valkey, which connects at its first use."""
    return redis.Redis(**parse_broker_url(url).for_redis(), socket_timeout=10, socket_connect_timeout=5)


def connection_to(url: str, *, confirm_publish: bool = False) -> kombu.Connection:
    """Returns a connection to RabbitMQ, opened at its first use."""
    options = {"confirm_publish": confirm_publish, "read_timeout": 30, "write_timeout": 30}
    at = parse_broker_url(url)
    return kombu.Connection(
        at.without_options, ssl=at.kombu_tls, connect_timeout=5, heartbeat=30, transport_options=options
    )


def declare_queues(connection: kombu.Connection) -> None:
    """Makes the queues of change requests, or finds that those which exist can be worked with.

    Raises UnusableQueue for one that could lose messages.
    """
    _declare(connection, DEAD_LETTER_QUEUE, harmless={"x-queue-type": "classic"})
    _declare(connection, CHANGE_QUEUE, harmless=dict.fromkeys(_HARMLESS))


def _declare(connection: kombu.Connection, queue: kombu.Queue, harmless: Mapping[str, str | None]) -> None:
    """Declares a queue; what RabbitMQ finds in an existing one is taken over where it does no harm.

    RabbitMQ reports one difference at a time. `harmless` names what may differ, and the value it must have, if any.
    """
    if _is_declared_as(connection, queue, _as_found.get(queue.name, queue.queue_arguments)):
        return
    found = dict(queue.queue_arguments)
    for _ in range(len(harmless) + 1):
        try:
            _declare_as(connection, queue, found)
        except PreconditionFailed as refused:
            difference = Difference(refused)
            if difference.name not in harmless or harmless[difference.name] not in (None, difference.found):
                raise UnusableQueue(
                    f"RabbitMQ's {difference}: move its messages away and delete it (see docs/messages.md)"
                ) from refused
            found[difference.name] = difference.found
        else:
            _as_found[queue.name] = found
            return
    raise UnusableQueue(f"RabbitMQ's queue {queue.name} cannot be declared as it is")


def _is_declared_as(connection: kombu.Connection, queue: kombu.Queue, arguments: dict[str, Any]) -> bool:
    try:
        _declare_as(connection, queue, arguments)
    except PreconditionFailed:
        return False
    return True


def _declare_as(connection: kombu.Connection, queue: kombu.Queue, arguments: dict[str, Any]) -> None:
    # On a channel of its own, which a refusal closes.
    with connection.channel() as channel:
        kombu.Queue(queue.name, queue.exchange, durable=queue.durable, queue_arguments=arguments)(channel).declare()


def _chunks(bodies: Iterable[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for body in bodies:
        chunk.append(body)
        size += len(body)
        if len(chunk) == _CHUNK or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
