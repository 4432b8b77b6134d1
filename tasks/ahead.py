"""Drafts made ahead, in a thread: those of the next interchange while the one before it is claimed and sent."""

import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from edi import drafts
from edi.drafts import Draft, Drafts
from edi.partners import Partner
from tasks.database import reading
from tasks.settings import settings

# Python lets a thread that renders keep the interpreter for 5 ms, and another that has an answer of PostgreSQL to read
# needs it some fifty times an interchange.
_SWITCH_SECONDS = 0.00025


class Ahead:
    """The drafts of a partner's interchanges, one interchange ahead; nothing is made ahead of less than one."""

    def __init__(self, partner: Partner) -> None:
        self._partner = partner
        self._next: Future[Drafts] | None = None

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="drafts")
        self._switch_seconds = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        sys.setswitchinterval(self._switch_seconds)

    def take(self) -> Mapping[int, Draft]:
        """Returns the drafts of what is due next, by the ids of the orders; raises what making them has raised."""
        made = self._next.result() if self._next else self._make(after=0)
        self._next = self._thread.submit(self._make, after=made.last) if made.is_full else None
        return made.by_order

    def _make(self, *, after: int) -> Drafts:
        return reading(
            lambda connection: drafts.make(connection, self._partner, patience=settings().patience, after=after)
        )
