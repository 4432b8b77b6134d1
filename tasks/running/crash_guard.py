"""What the processes of a worker know of one another: whether one of them was killed lately, perhaps by its work."""

import time
from multiprocessing.sharedctypes import RawValue
from typing import Any

from celery.exceptions import TimeLimitExceeded, WorkerLostError
from celery.signals import task_failure, task_retry

# A process that died, and one that hung and was killed at its time limit.
_DEATHS = (WorkerLostError, TimeLimitExceeded)
# Long enough for a new process to be there and to die again.
_WARY_SECONDS = 60.0

# Shared with the processes that are forked; the worker's first process, which sees the others die, writes it.
_last = RawValue("d", 0.0)


def crashed_recently() -> bool:
    """True for a while after a process of this worker died in the middle of a task."""
    return bool(time.time() - _last.value < _WARY_SECONDS)


@task_failure.connect
def _note_a_failure(exception: BaseException, **_: Any) -> None:
    if isinstance(exception, _DEATHS):
        _last.value = time.time()


@task_retry.connect
def _note_a_retry(reason: Any, **_: Any) -> None:
    _note_a_failure(reason.exc)
