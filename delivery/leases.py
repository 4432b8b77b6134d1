"""Leases: only the holder of the newest fence may record what became of a delivery.

The caller takes a lease in one transaction, delivers outside any, and records the outcome in another. Each lease has an
end and raises the fence of its row by one. If its holder dies, the next caller takes over after that end. If its holder
is late, it finds a newer fence and records nothing.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, func

# Attempts before something is given up. The pauses between them make some fifty minutes (`delivery.backoff.ITEM`).
MAX_ATTEMPTS = 12


class LostFence(Exception):
    """Another process has taken over since; it will record what became of the delivery."""


def lease_end(lease: timedelta) -> ColumnElement[Any]:
    """Returns when a lease that begins now ends."""
    return func.clock_timestamp() + lease


def expect_fence(name: str, found: Sequence[object], expected: Sequence[object]) -> None:
    """Raises LostFence unless a locked row is as its lease left it: its states, and last its fence.

    >>> expect_fence("interchange 7 of ACME", ("claimed", 2), ("claimed", 2))
    >>> expect_fence("interchange 7 of ACME", ("sent", 2), ("claimed", 1))
    Traceback (most recent call last):
    delivery.leases.LostFence: interchange 7 of ACME is sent at fence 2; expected claimed at fence 1
    """
    if tuple(found) != tuple(expected):
        raise LostFence(f"{name} is {_described(found)}; expected {_described(expected)}")


def _described(held: Sequence[object]) -> str:
    *states, fence = held
    return f"{', '.join(map(str, states))} at fence {fence}"
