"""Change requests from a RabbitMQ quorum queue, by kombu: prefetch, manual acknowledgements."""

import hashlib
from typing import Any

import kombu

from orders.inbox import Delivery
from workers.broker import CHANGE_QUEUE, QUEUE, QUEUE_OUTAGES, connection_to, declare_queues

# Messages a transaction; the broker hands out as many before it wants an acknowledgement.
_BATCH = 500
_WAIT_SECONDS = 1.0
# A batch is closed when no further message comes within this time.
_PAUSE_SECONDS = 0.01


class QueueSource:
    """One consumer of the queue. Unacknowledged messages go back to the queue when its connection ends."""

    outages = QUEUE_OUTAGES

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: kombu.Connection | None = None
        self._received: list[kombu.Message] = []

    def receive(self) -> list[Delivery]:
        """Returns up to 500 messages, as they are: nothing is decoded here that could fail."""
        connection = self._connected()
        before = len(self._received)
        timeout = _WAIT_SECONDS
        while len(self._received) - before < _BATCH:
            try:
                connection.drain_events(timeout=timeout)
            except TimeoutError:
                break
            timeout = _PAUSE_SECONDS
        connection.heartbeat_check()
        return [_delivery(message) for message in self._received[before:]]

    def acknowledge(self) -> None:
        """Acknowledges all that was received, in one frame."""
        if self._received:
            self._received[-1].ack(multiple=True)
            self._received = []

    def start_over(self) -> None:
        """Drops the connection; the broker delivers what was not acknowledged again."""
        self._received = []
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect(socket_timeout=1)

    def _connected(self) -> kombu.Connection:
        if self._connection is None:
            connection = connection_to(self._url)
            connection.connect()
            declare_queues(connection)
            consumer = kombu.Consumer(
                connection.default_channel, [CHANGE_QUEUE], on_message=self._received_one, prefetch_count=_BATCH
            )
            consumer.consume()
            self._connection = connection
        return self._connection

    def _received_one(self, message: Any) -> None:
        self._received.append(message)


def _delivery(message: Any) -> Delivery:
    body = message.body
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
    # RabbitMQ has no lasting id of a message; the bytes themselves tell a redelivery.
    return Delivery(f"queue:{QUEUE}", hashlib.sha256(raw).hexdigest(), raw)
