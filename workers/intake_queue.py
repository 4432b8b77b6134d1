"""Change requests from a RabbitMQ quorum queue: prefetch, manual acknowledgements. And what RabbitMQ has given up.

The messages are read from kombu's channel and not by its Consumer, which decompresses a body on the word of a header:
what does not decompress would end the intake, and be delivered again to the next.
"""

import hashlib
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import kombu

from orders.inbox import Delivery
from workers.broker import CHANGE_QUEUE, DEAD_LETTER_QUEUE, QUEUE, QUEUE_OUTAGES, connection_to, declare_queues

# Messages a transaction; the broker hands out as many before it wants an acknowledgement.
_BATCH = 500
_WAIT_SECONDS = 1.0
# … or fewer, once they are so large together: a message may be of any size.
_MUCH_BYTES = 16 * 1024 * 1024
# A batch is closed when no further message comes within this time.
_PAUSE_SECONDS = 0.01
# What RabbitMQ gives up on is fetched, a few at a time: a crash counts as a delivery of all that was fetched, and of
# that queue RabbitMQ 4 drops what was delivered 20 times.
_BATCH_ASIDE = 50
_LOOK_ASIDE_EVERY_SECONDS = 10.0

# RabbitMQ 4 moves away what it has delivered so often; an older one would go on for ever with what ends its receiver.
_GIVEN_UP_AFTER = 20

# By the header that RabbitMQ writes when it moves a message to the dead-letter exchange.
_GIVEN_UP_BECAUSE = {
    "delivery_limit": "it was delivered too often without being taken",
    "rejected": "it was rejected",
    "expired": "it was not taken within its time to live",
    "maxlen": "the queue was full",
}


class QueueSource:
    """One consumer of the queue. Unacknowledged messages go back to the queue when its connection ends."""

    outages = QUEUE_OUTAGES

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: kombu.Connection | None = None
        # Handed out messages alone may be acknowledged: more of them come whenever the connection is read.
        self._arrived: list[Any] = []
        self._handed_out: list[Any] = []
        # A channel of its own: to acknowledge what it brought must not acknowledge what has arrived by the other.
        self._aside: Any = None
        self._looked_aside = 0.0

    def receive(self, *, wait: bool = True) -> list[Delivery]:
        """Returns up to 500 messages, as they are: nothing is decoded here that could fail."""
        connection = self._connected()
        return self._given_up() or self._new(connection, wait)

    def _given_up(self) -> list[Delivery]:
        """Returns what RabbitMQ has moved to its dead-letter queue."""
        if self._aside is None or time.monotonic() - self._looked_aside < _LOOK_ASIDE_EVERY_SECONDS:
            return []
        messages = list[Any]()
        while len(messages) < _BATCH_ASIDE and _size(messages) < _MUCH_BYTES:
            message = self._aside.basic_get(DEAD_LETTER_QUEUE.name)
            if message is None:
                self._looked_aside = time.monotonic()
                break
            messages.append(message)
        self._handed_out += messages
        return [_delivery(DEAD_LETTER_QUEUE.name, message, _why_given_up(message)) for message in messages]

    def _new(self, connection: kombu.Connection, wait: bool) -> list[Delivery]:
        timeout = _WAIT_SECONDS if wait and not self._arrived else _PAUSE_SECONDS
        while len(self._arrived) < _BATCH and _size(self._arrived) < _MUCH_BYTES:
            try:
                connection.drain_events(timeout=timeout)
            except TimeoutError:
                break
            timeout = _PAUSE_SECONDS
        connection.heartbeat_check()
        messages = self._arrived.copy()
        self._arrived.clear()
        self._handed_out += messages
        return [_delivery(QUEUE, message, _why_not_again(message)) for message in messages]

    def acknowledge(self) -> None:
        """Acknowledges all that was handed out, in one frame a channel."""
        for last in {message.channel: message for message in self._handed_out}.values():
            last.channel.basic_ack(last.delivery_tag, multiple=True)
        self._handed_out.clear()

    def flush(self) -> None:
        """Does nothing: no acknowledgement waits for an answer, so each is sent at once."""

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
        self._aside, self._looked_aside = None, 0.0
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
        channel, self._aside = connection.default_channel, connection.channel()
        # Nor is a body decoded as its headers say: the bytes that came could not be restored from the text.
        channel.auto_decode = self._aside.auto_decode = False
        channel.basic_qos(prefetch_size=0, prefetch_count=_BATCH, a_global=False)
        channel.basic_consume(CHANGE_QUEUE.name, callback=self._arrived.append)


def _size(messages: Sequence[Any]) -> int:
    return sum(len(message.body) for message in messages)


def _delivery(queue: str, message: Any, given_up: str | None = None) -> Delivery:
    body = message.body
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
    # RabbitMQ has no lasting id of a message; the bytes themselves tell a redelivery.
    return Delivery(f"queue:{queue}", hashlib.sha256(raw).hexdigest(), raw, given_up, _is_redelivered(message))


def _is_redelivered(message: Any) -> bool:
    return bool(message.delivery_info.get("redelivered"))


def _why_not_again(message: Any) -> str | None:
    """Says why a message is not to be read once more; None for one that may be."""
    times = _headers(message).get("x-delivery-count")
    # At the first delivery the header could be the publisher's; then the queue writes its own over it.
    if _is_redelivered(message) and isinstance(times, int) and times >= _GIVEN_UP_AFTER:
        return f"it was delivered {times} times without being taken"
    return None


def _headers(message: Any) -> dict[str, Any]:
    return message.properties.get("application_headers") or {}


def _why_given_up(message: Any) -> str:
    because = _GIVEN_UP_BECAUSE.get(str(_headers(message).get("x-first-death-reason")), "it does not say why")
    return f"RabbitMQ gave it up: {because}"
