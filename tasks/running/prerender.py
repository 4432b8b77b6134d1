"""Drafts made ahead, in a process: those of the next interchanges while the one before them is claimed and sent."""

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
    """The drafts of a partner's interchanges, one after the other; nothing is made ahead of less than one."""

    def __init__(self, partner: Partner) -> None:
        self._partner = partner
        self._after = 0
        self._drafter: _Drafter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def take(self) -> Mapping[int, Draft]:
        """Returns the drafts of what is due next, by the ids of the orders; raises what making them has raised."""
        made = self._made_ahead() or _make(self._partner, self._after)
        self._after = made.last if made.is_full else 0
        if not self._after:
            self._end()
        # A fork copies the locks that other threads hold, but not those who would release them.
        elif not self._drafter and threading.active_count() == 1:
            self._begin()
        return made.by_order

    def _begin(self) -> None:
        try:
            self._drafter = _Drafter(self._partner, self._after)
        except OSError as error:
            _log.warning("nothing can make drafts ahead", partner=self._partner.name, error=in_a_line(error))

    def _made_ahead(self) -> Drafts | None:
        if not self._drafter:
            return None
        try:
            return self._drafter.take()
        except (EOFError, OSError):
            _log.warning("what made drafts ahead is gone, the export makes them itself", partner=self._partner.name)
            self._end()
            return None

    def _end(self) -> None:
        if self._drafter:
            ended, self._drafter = self._drafter, None
            ended.end()


class _Drafter:
    """A process that makes drafts on a connection of its own; it ends with its parent, however that ends."""

    def __init__(self, partner: Partner, after: int) -> None:
        self._line, there = Pipe(duplex=False)
        # Not by multiprocessing: a process of Celery's pool is a daemon to it, and may have no children.
        self._process = os.fork()
        if not self._process:
            try:
                self._line.close()
                _make_all(partner, after, there)
            finally:
                os._exit(0)
        there.close()

    def take(self) -> Drafts:
        """Returns the next drafts; raises EOFError or OSError if the process has ended without them."""
        made: Drafts = self._line.recv()
        return made

    def end(self) -> None:
        self._line.close()
        # It only reads, and may be waiting for PostgreSQL.
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)


def _make_all(partner: Partner, after: int, line: Connection) -> None:
    """Makes all that is due, as far ahead as the line takes it, and until nobody takes it any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the export
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # What it inherits is its parent's: connections to leave alone, and objects that looking for garbage would copy.
    engine().dispose(close=False)
    gc.freeze()
    made = Drafts({}, after, is_full=True)
    try:
        with suppress(BrokenPipeError):
            while made.is_full:
                made = _make(partner, made.last)
                line.send(made)
    except Exception as error:  # noqa: BLE001  # the export makes them itself, and meets what is still wrong then
        _log.warning("no drafts could be made ahead", partner=partner.name, error=in_a_line(error))
    engine().dispose()


def _make(partner: Partner, after: int) -> Drafts:
    return reading(lambda connection: drafts.make(connection, partner, patience=settings().patience, after=after))
