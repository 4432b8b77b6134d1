"""Renders the documents of the next interchanges in a child process, while the current one is claimed and sent."""

import gc
import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Self

import structlog

from configuration.settings import settings
from database.faults import in_a_line
from database.transactions import engine, reading
from edi import drafts
from edi.drafts import Draft, Drafts
from edi.partners import Partner

_log = structlog.get_logger()


class DraftPrefetcher:
    """The drafts of a partner's interchanges, one after the other; prefetches only while there is more than one."""

    def __init__(self, partner: Partner) -> None:
        self._partner = partner
        self._after = 0
        self._drafter: _Drafter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def take(self) -> Mapping[int, Draft]:
        """Returns the drafts of what is due next, by order id; raises what rendering raised."""
        made = self._prefetched() or _render(self._partner, self._after)
        self._after = made.last if made.is_full else 0
        if not self._after:
            self._end()
        # A fork copies locks that other threads hold, but not the threads that would release them.
        elif not self._drafter and threading.active_count() == 1:
            self._begin()
        return made.by_order

    def _begin(self) -> None:
        try:
            self._drafter = _Drafter(self._partner, self._after)
        except OSError as error:
            _log.warning(
                "cannot start a process that renders in advance",
                partner=self._partner.name,
                error=in_a_line(error),
            )

    def _prefetched(self) -> Drafts | None:
        if not self._drafter:
            return None
        try:
            return self._drafter.take()
        except (EOFError, OSError):
            _log.warning(
                "the process that rendered in advance is gone",
                partner=self._partner.name,
            )
            self._end()
            return None

    def _end(self) -> None:
        if self._drafter:
            ended, self._drafter = self._drafter, None
            ended.end()


class _Drafter:
    """A process that renders drafts on its own connection; it ends when its parent ends, however that happens."""

    def __init__(self, partner: Partner, after: int) -> None:
        self._line, there = Pipe(duplex=False)
        # Not by multiprocessing: to it a process of Celery's pool is a daemon, which may have no children.
        self._process = os.fork()
        if not self._process:
            try:
                self._line.close()
                _render_all(partner, after, there)
            finally:
                os._exit(0)
        there.close()

    def take(self) -> Drafts:
        """Returns the next drafts. Raises EOFError or OSError if the process ended without them."""
        made: Drafts = self._line.recv()
        return made

    def end(self) -> None:
        self._line.close()
        # It only reads, so it can be killed, and it may be waiting for PostgreSQL.
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)


def _render_all(partner: Partner, after: int, line: Connection) -> None:
    """Renders everything that is due, as far in advance as the pipe holds, until nobody reads from the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C of the terminal is meant for the export
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Inherited connections belong to the parent. Inherited objects would be copied by the garbage collector.
    engine().dispose(close=False)
    gc.freeze()
    made = Drafts({}, after, is_full=True)
    try:
        with suppress(BrokenPipeError):
            while made.is_full:
                made = _render(partner, made.last)
                line.send(made)
    except Exception as error:  # noqa: BLE001  # the export renders them itself, and reports what is still wrong then
        _log.warning("rendering in advance failed", partner=partner.name, error=in_a_line(error))
    engine().dispose()


def _render(partner: Partner, after: int) -> Drafts:
    return reading(lambda connection: drafts.make(connection, partner, patience=settings().patience, after=after))
