"""Change requests from a RabbitMQ quorum queue: prefetch, manual acknowledgements.

The messages are read from kombu's channel and not by its Consumer, which decompresses a body on the word of a header:
what does not decompress would end the intake, and be delivered again to the next.
"""

import hashlib
from contextlib import suppress
from typing import Any

import kombu

from orders.inbox import Delivery
from workers.broker import CHANGE_QUEUE, QUEUE, QUEUE_OUTAGES, connection_to, declare_queues

# Messages a transaction; the broker hands out as many before it wants an acknowledgement.
_BATCH = 500
_WAIT_SECONDS = 1.0
# … or fewer, once they are so large together: a message may be of any size.
_MUCH_BYTES = 16 * 1024 * 1024
# A batch is closed when no further message comes within this time.
_PAUSE_SECONDS = 0.01


class QueueSource:
    """One consumer of the queue. Unacknowledged messages go back to the queue when its connection ends."""

    outages = QUEUE_OUTAGES

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: kombu.Connection | None = None
        # Handed out messages alone may be acknowledged: more of them come whenever the connection is read.
        self._arrived: list[Any] = []
        self._handed_out: list[Any] = []

    def receive(self) -> list[Delivery]:
        """Returns up to 500 messages, as they are: nothing is decoded here that could fail."""
        connection = self._connected()
        timeout = _PAUSE_SECONDS if self._arrived else _WAIT_SECONDS
        while len(self._arrived) < _BATCH and sum(map(_size, self._arrived)) < _MUCH_BYTES:
            try:
                connection.drain_events(timeout=timeout)
            except TimeoutError:
                break
            timeout = _PAUSE_SECONDS
        connection.heartbeat_check()
        received = self._arrived.copy()
        self._arrived.clear()
        self._handed_out += received
        return [_delivery(message) for message in received]

    def acknowledge(self) -> None:
        """Acknowledges all that was handed out, in one frame."""
        if self._handed_out:
            last = self._handed_out[-1]
            last.channel.basic_ack(last.delivery_tag, multiple=True)
            self._handed_out.clear()

    def keep_alive(self) -> None:
        """Answers the broker's heartbeats, and reads what it has to say."""
        if self._connection is not None:
            self._connection.heartbeat_check()
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=_PAUSE_SECONDS)

    def start_over(self) -> None:
        """Drops the connection; the broker delivers what was not acknowledged again."""
        self._arrived.clear()
        self._handed_out.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect(socket_timeout=1)

    def _connected(self) -> kombu.Connection:
        if self._connection is None:
            connection = connection_to(self._url)
            try:
                self._consume(connection)
            except BaseException:
                connection.collect(socket_timeout=1)
                raise
            self._connection = connection
        return self._connection

    def _consume(self, connection: kombu.Connection) -> None:
        connection.connect()
        declare_queues(connection)
        channel = connection.default_channel
        # Nor is a body decoded on the word of its headers: what it was could not be told from the text.
        channel.auto_decode = False
        channel.basic_qos(prefetch_size=0, prefetch_count=_BATCH, a_global=False)
        channel.basic_consume(CHANGE_QUEUE.name, callback=self._arrived.append)


def _size(message: Any) -> int:
    return len(message.body)


def _delivery(message: Any) -> Delivery:
    body = message.body
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
    # RabbitMQ has no lasting id of a message; the bytes themselves tell a redelivery.
    return Delivery(f"queue:{QUEUE}", hashlib.sha256(raw).hexdigest(), raw)
