"""That the processes get on, noted in the database: whoever asks learns which do not, on whatever machine they run."""

import math
from time import monotonic

from celery import current_task

from database.transactions import in_transaction
from orders import progress

# A queue's name stands for whoever works it off.
EXPECTED = ("beat", "intake", "changes", "effects", "answers", "tickets", "export")
# How often beat asks each queue for a sign of life (a multiple of the sweeps' interval, so that they do not meet), and
# how often a process notes one at most.
ASKED_SECONDS = 16.0
_NOTED_SECONDS = 10.0
# Longer than any step takes that gets on: an answer or a delivery may take 40 seconds.
STALLED_SECONDS = 60.0

_noted: dict[str, float] = {}


def note(name: str) -> None:
    """Notes that this has done a step, at most every ten seconds. Raises when the database is away."""
    now = monotonic()
    if now - _noted.get(name, -math.inf) >= _NOTED_SECONDS:
        # Also where that fails: it is not tried with each step.
        _noted[name] = now
        in_transaction(lambda connection: progress.note(connection, name), tries=1)


def note_task() -> None:
    """Notes that the queue that the task at hand came from is worked off; without a task it does nothing."""
    queue = ((current_task and current_task.request.delivery_info) or {}).get("routing_key")
    if queue in EXPECTED:
        note(queue)


def stalled(ages: dict[str, float]) -> list[str]:
    """Returns what has done no step for too long, or never, given the seconds since the last one of each."""
    return [name for name in EXPECTED if ages.get(name, math.inf) > STALLED_SECONDS]
