"""Change requests from a Redis or Valkey stream, read by a consumer group."""

import socket
import time
from collections.abc import Sequence
from typing import Any

import redis

from orders.inbox import Delivery
from workers.broker import FIELD, GROUP, STREAM

# Entries a read: enough that the commit's price is shared, few enough that its locks are short. An entry may be of any
# size, and is seen only once it is read: so reads begin small, and grow only while little comes.
_FEWEST, _BATCH = 8, 500
_MUCH_BYTES = 4 * 1024 * 1024
_WAIT_MILLISECONDS = 1000
# Entries that a consumer has left unacknowledged for this long belong to one that died.
_ABANDONED_AFTER_MILLISECONDS = 30_000
_LOOK_FOR_ABANDONED_EVERY_SECONDS = 10.0


class StreamSource:
    """One consumer of the group. After a restart it first gets back what it had received and not acknowledged."""

    outages: tuple[type[Exception], ...] = (redis.RedisError, OSError)

    def __init__(self, url: str, consumer: str | None = None) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5)
        self._consumer = consumer or socket.gethostname()
        self._has_group = False
        self._may_have_own = True
        self._looked_for_abandoned = 0.0
        self._received: list[bytes] = []
        self._count = _FEWEST

    def receive(self, *, wait: bool = True) -> list[Delivery]:
        """Returns up to 500 entries, fewer while they are large.

        Own unacknowledged ones come first, then those of dead consumers, then new ones.
        """
        try:
            self._ensure_group()
            had = self._own() or self._abandoned()
            entries = had or self._new(wait)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            # The stream was wiped under us, and the group with it.
            self.start_over()
            return []
        self._received += [entry for entry, _ in entries]
        deliveries = [_delivery(entry, fields, is_redelivered=bool(had)) for entry, fields in entries if fields]
        much = sum(len(delivery.raw) for delivery in deliveries) > _MUCH_BYTES
        self._count = max(_FEWEST, self._count // 2) if much else min(_BATCH, self._count * 2)
        return deliveries

    def acknowledge(self) -> None:
        """Acknowledges and deletes in one step: what the inbox has need not fill the broker's memory."""
        if not self._received:
            return
        pipeline = self._client.pipeline(transaction=True)
        pipeline.xack(STREAM, GROUP, *self._received)
        pipeline.xdel(STREAM, *self._received)
        pipeline.execute()
        self._received = []

    def start_over(self) -> None:
        """Reads its own unacknowledged entries again, from the first."""
        self._received = []
        self._may_have_own = True
        self._has_group = False
        self._count = _FEWEST

    def keep_alive(self) -> None:
        """Does nothing: a stream's consumer may be silent for as long as it likes."""

    def _ensure_group(self) -> None:
        if self._has_group:
            return
        try:
            # From the beginning: requests may have been published before the first intake came up.
            self._client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._has_group = True

    def _own(self) -> Sequence[Any]:
        if not self._may_have_own:
            return []
        entries = self._read("0")
        self._may_have_own = bool(entries)
        return entries

    def _abandoned(self) -> Sequence[Any]:
        if time.monotonic() - self._looked_for_abandoned < _LOOK_FOR_ABANDONED_EVERY_SECONDS:
            return []
        self._looked_for_abandoned = time.monotonic()
        claimed: Any = self._client.xautoclaim(
            STREAM, GROUP, self._consumer, _ABANDONED_AFTER_MILLISECONDS, start_id="0-0", count=self._count
        )
        entries: Sequence[Any] = claimed[1]
        if entries:
            # There may be more of them than one batch.
            self._looked_for_abandoned = 0.0
        return entries

    def _new(self, wait: bool) -> Sequence[Any]:
        return self._read(">", block=_WAIT_MILLISECONDS if wait else None)

    def _read(self, after: str, block: int | None = None) -> Sequence[Any]:
        read: Any = self._client.xreadgroup(GROUP, self._consumer, {STREAM: after}, count=self._count, block=block)
        if not read:
            return []
        # RESP3 answers with a map, RESP2 with pairs; each entry comes as (id, fields).
        streams = read.values() if isinstance(read, dict) else [entries for _, entries in read]
        entries: Sequence[Any] = next(iter(streams))
        return entries[0] if entries and isinstance(entries[0], list) else entries


def _delivery(entry: bytes, fields: dict[bytes, bytes], *, is_redelivered: bool) -> Delivery:
    raw = fields.get(FIELD.encode())
    if raw is None:
        # Not an entry of ours: all of it is kept, as text that no parser takes for a request.
        raw = b"".join(name + b"=" + value + b"\n" for name, value in fields.items())
    return Delivery(f"stream:{STREAM}", entry.decode(), raw, is_redelivered=is_redelivered)
