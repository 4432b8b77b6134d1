"""Signs of life of all processes, kept in the database, so that a stalled one is noticed from any machine."""

import math
from time import monotonic

from celery import current_task

from database.transactions import Attempts
from orders import progress

# A queue's name stands for the workers that consume it.
EXPECTED = ("beat", "intake", "changes", "effects", "answers", "tickets", "export")
# How often beat asks each queue for a sign of life (a multiple of the interval of its other wake-ups, so that they do
# not coincide), and how often a process records one at most.
ASKED_SECONDS = 16.0
_NOTED_SECONDS = 10.0
# Longer than any healthy step: an answer or a delivery may take 40 seconds.
STALLED_SECONDS = 60.0

_noted: dict[str, float] = {}


def note(name: str) -> None:
    """Records a step of this process, at most every ten seconds. Raises when the database is away."""
    now = monotonic()
    if now - _noted.get(name, -math.inf) >= _NOTED_SECONDS:
        # Set before the write: a failed write is not repeated at every step.
        _noted[name] = now
        Attempts(1).in_transaction(progress.note, name)


def note_task() -> None:
    """Records that the queue of the current task is being consumed; outside a task it does nothing."""
    queue = ((current_task and current_task.request.delivery_info) or {}).get("routing_key")
    if queue in EXPECTED:
        note(queue)


def stalled(ages: dict[str, float]) -> list[str]:
    """Returns the names without a step for too long, or ever, given the seconds since the last step of each."""
    return [name for name in EXPECTED if ages.get(name, math.inf) > STALLED_SECONDS]
