"""Outages in the log: a line at once, one every minute while they last, and one when they are over."""

import time
from collections import defaultdict

import redis
import structlog
from amqp.exceptions import ChannelError, IrrecoverableConnectionError
from sqlalchemy.exc import DBAPIError

_log = structlog.get_logger()

_AGAIN_SECONDS = 60.0

# When this process last logged each outage, by the kind of failure; and the outages that last.
_last_logged: dict["Outage", dict[str, float]] = defaultdict(dict)
_lasting: set["Outage"] = set()


class Outage:
    """Something that cannot be done at the moment, because a service is unavailable; each line contains `about`."""

    def __init__(self, cannot: str, over: str, **about: object) -> None:
        self._cannot, self._over, self._about = cannot, over, about

    def note(self, error: Exception, message: str, **more: object) -> None:
        """Logs a failure, unless one of its kind was logged within the last minute."""
        kind = type(error.orig if isinstance(error, DBAPIError) else error).__name__
        now = time.monotonic()
        if now - _last_logged[self].get(kind, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return
        _last_logged[self][kind] = now
        _lasting.add(self)
        _log.warning(self._cannot, error=message, **self._about, **more)

    def end(self) -> None:
        """Logs that it works again, if its outage was logged."""
        if self in _lasting:
            _lasting.remove(self)
            # At the level of the warning that it ends.
            _log.warning(self._over, **self._about)


class UnusableQueue(Exception):
    """A queue or exchange of the broker cannot be used; the message says in one line why, and what to do."""


def describe_broker_fault(error: Exception) -> str:
    """Returns in one line why the broker failed and what helps; quotes no message content."""
    if isinstance(error, UnusableQueue):
        return str(error)
    # redis-py prefixes a pipeline's error with the command, which includes the beginning of the message.
    found = str(error).partition("\n")[0].rpartition("of pipeline caused error: ")[2].rstrip(".")
    if "maxmemory" in found:
        return f"the broker is full ({found}): the intake makes room as it takes requests, or raise its maxmemory"
    if found.startswith("MISCONF"):
        return f"the broker cannot write to its disk ({found}): free some of it"
    if isinstance(error, redis.ReadOnlyError):
        return f"the broker takes no writes ({found}): name its primary server"
    if isinstance(error, (ChannelError, IrrecoverableConnectionError)):
        return f"the broker refuses it: {found}"
    return f"the broker cannot be reached: {found or type(error).__name__}"
