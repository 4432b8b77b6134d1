"""Requests on their way from a broker into the inbox, and what must hold whenever the process is killed."""

from collections.abc import Sequence
from unittest.mock import patch

import redis

from configuration.settings import settings
from tests.builders import an_order, encoded, load
from tests.race.cancellations import Cancellation
from tests.race.crash_points import has_passed
from workers import intake_stream
from workers.app import app
from workers.broker import FIELD, GROUP, STREAM
from workers.intake import step
from workers.intake_stream import StreamSource


def taking() -> None:
    app.finalize()
    # An empty stream is waited for but a moment.
    with patch.object(intake_stream, "_WAIT_MILLISECONDS", 20):
        source = StreamSource(str(settings().broker_url), "intake-1")
        # The second finds nothing more, and acknowledges what the first has taken.
        for _ in range(2):
            step(source)


class Taking(Cancellation):
    """An entry is the broker's until it is in the inbox, and no longer."""

    def __init__(self, broker: redis.Redis) -> None:
        super().__init__()
        self._broker = broker

    def begin(self) -> None:
        load(an_order(self.number))
        self._broker.delete(STREAM)
        self._broker.xadd(STREAM, {FIELD: encoded(self.event)})
        self._is_read = self._is_taken = self._is_over = False

    def look(self, passed: Sequence[str]) -> None:
        self._is_read |= has_passed("intake_stream.StreamSource._read: the broker's XREADGROUP, 2", passed)
        self._is_taken |= any(has_passed(site, passed) for site in TAKEN)
        self._is_over |= is_acknowledged(passed)
        assert len(self.tries()) == self._is_taken
        assert self._broker.xlen(STREAM) == (not self._is_over)
        if has_passed("intake_stream.StreamSource._ensure_group: the broker's XGROUP CREATE", passed):
            assert self._broker.xpending(STREAM, GROUP)["pending"] == (self._is_read and not self._is_over)

    def check(self) -> None:
        assert (self._broker.xlen(STREAM), self._broker.xpending(STREAM, GROUP)["pending"]) == (0, 0)
        assert self.tries() == [0]
        super().check()


# What someone may have had in hand before is kept, and decided later.
TAKEN = "store and decide: commit", "store: commit"


# With the next look for something new; before one for what someone may have had in hand.
WITH_THE_NEXT = "intake_stream.StreamSource._read: the broker's XDEL and the broker's XACK and the broker's XREADGROUP"


ALONE = "intake_stream.StreamSource.flush: the broker's XDEL and the broker's XACK"


def is_acknowledged(passed: Sequence[str]) -> bool:
    return any(has_passed(step, passed) for step in (WITH_THE_NEXT, ALONE))
