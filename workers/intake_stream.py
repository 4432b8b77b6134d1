"""Change requests from a Redis or Valkey stream, read by a consumer group."""

import socket
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.client import Pipeline

from orders.inbox import Delivery
from workers.broker import FIELD, GROUP, STREAM, client_of

# Entries a read: enough that the commit's price is shared, few enough that its locks are short. An entry may be of any
# size, and is seen only once it is read: so reads begin small, and grow only while little comes.
_FEWEST, _BATCH = 8, 500
_MUCH_BYTES = 4 * 1024 * 1024
_WAIT_MILLISECONDS = 1000
# Entries that a consumer has left unacknowledged for this long belong to one that died.
_ABANDONED_AFTER_MILLISECONDS = 30_000
_LOOK_FOR_ABANDONED_EVERY_SECONDS = 10.0
# Deliveries without an acknowledgement, until an entry comes alone, and until it becomes a dead letter unread.
_SUSPECT_AFTER, _GIVEN_UP_AFTER = 2, 10


class StreamSource:
    """One consumer of the group. After a restart it first gets back what it had received and not acknowledged."""

    outages: tuple[type[Exception], ...] = (redis.RedisError, OSError)

    def __init__(self, url: str, consumer: str | None = None) -> None:
        self._client = client_of(url)
        self._consumer = consumer or socket.gethostname()
        self._has_group = False
        self._may_have_own = True
        self._looked_for_abandoned = 0.0
        self._received: list[bytes] = []
        self._taken: list[bytes] = []
        self._count = _FEWEST

    def receive(self, *, wait: bool = True) -> list[Delivery]:
        """Returns up to 500 entries, fewer while they are large.

        Unacknowledged ones come first, its own and those of dead consumers, then new ones.
        """
        given_up: dict[bytes, str] = {}
        try:
            self._ensure_group()
            self._take_over_abandoned()
            had, given_up = self._own()
            entries = had or self._new(wait)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            # The stream was wiped under us, and the group with it.
            self.start_over()
            return []
        self._received += [entry for entry, _ in entries]
        deliveries = [
            _delivery(entry, fields, given_up=given_up.get(entry), is_redelivered=bool(had))
            for entry, fields in entries
            if fields
        ]
        much = sum(len(delivery.raw) for delivery in deliveries) > _MUCH_BYTES
        self._count = max(_FEWEST, self._count // 2) if much else min(_BATCH, self._count * 2)
        return deliveries

    def acknowledge(self) -> None:
        """Acknowledges with the next read: each answer of a broker that persists its commands waits for its disk."""
        self._taken += self._received
        self._received = []

    def flush(self) -> None:
        """Acknowledges now."""
        if self._taken:
            self._acknowledging().execute()

    def start_over(self) -> None:
        """Reads its own unacknowledged entries again, from the first."""
        self._received, self._taken = [], []
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

    def _own(self) -> tuple[Sequence[Any], dict[bytes, str]]:
        """Returns what it received before and did not acknowledge, and what of that is given up, with the reason.

        An entry that was delivered often may be what crashes its receiver: such entries come one by one, so that each
        crash is counted for the entry that causes it.
        """
        if not self._may_have_own:
            return [], {}
        self.flush()
        pending: Any = self._client.xpending_range(STREAM, GROUP, "-", "+", self._count, self._consumer)
        times = {entry["message_id"]: int(entry["times_delivered"]) for entry in pending}
        is_suspect = max(times.values(), default=0) >= _SUSPECT_AFTER
        entries = self._read("0", count=1 if is_suspect else self._count)
        self._may_have_own = bool(entries)
        why = "it was delivered {} times without being taken"
        return entries, {entry: why.format(n) for entry, n in times.items() if n >= _GIVEN_UP_AFTER}

    def _take_over_abandoned(self) -> None:
        """Makes entries of dead consumers its own; their deliveries are not counted by that."""
        if time.monotonic() - self._looked_for_abandoned < _LOOK_FOR_ABANDONED_EVERY_SECONDS:
            return
        self._looked_for_abandoned = time.monotonic()
        claimed: Any = self._client.xautoclaim(
            STREAM, GROUP, self._consumer, _ABANDONED_AFTER_MILLISECONDS, "0-0", self._count, justid=True
        )
        if claimed:
            self._may_have_own = True
            # There may be more of them than one batch.
            self._looked_for_abandoned = 0.0

    def _new(self, wait: bool) -> Sequence[Any]:
        return self._read(">", count=self._count, block=_WAIT_MILLISECONDS if wait else None)

    def _read(self, after: str, *, count: int, block: int | None = None) -> Sequence[Any]:
        pipeline = self._acknowledging()
        pipeline.xreadgroup(GROUP, self._consumer, {STREAM: after}, count=count, block=block)
        read: Any = pipeline.execute()[-1]
        if not read:
            return []
        # RESP3 answers with a map, RESP2 with pairs; each entry comes as (id, fields).
        streams = read.values() if isinstance(read, dict) else [entries for _, entries in read]
        entries: Sequence[Any] = next(iter(streams))
        return entries[0] if entries and isinstance(entries[0], list) else entries

    def _acknowledging(self) -> Pipeline:
        """Begins with what is to be acknowledged, and deletes it: what the inbox has need not fill the memory here."""
        pipeline = self._client.pipeline(transaction=False)
        if self._taken:
            # In this sequence: an entry that is deleted and still pending comes again, without its fields, and is
            # acknowledged then; one that is acknowledged and not deleted would stay for ever.
            pipeline.xdel(STREAM, *self._taken)
            pipeline.xack(STREAM, GROUP, *self._taken)
            self._taken = []
        return pipeline


def _delivery(entry: bytes, fields: dict[bytes, bytes], *, given_up: str | None, is_redelivered: bool) -> Delivery:
    raw = fields.get(FIELD.encode())
    if raw is None:
        # Not an entry of ours: all of it is kept, as text that no parser takes for a request.
        raw = b"".join(name + b"=" + value + b"\n" for name, value in fields.items())
    return Delivery(f"stream:{STREAM}", entry.decode(), raw, given_up, is_redelivered)
