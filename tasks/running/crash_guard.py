"""Whether a process of this worker crashed recently, perhaps because of the job it worked on."""

import time
from multiprocessing.sharedctypes import RawValue
from typing import Any

from celery.exceptions import TimeLimitExceeded, WorkerLostError
from celery.signals import task_failure, task_retry

# A process that died, and one that hung and was killed at its time limit.
_CRASHES = (WorkerLostError, TimeLimitExceeded)
# Long enough for a new process to start and to crash again.
_CAUTIOUS_SECONDS = 60.0

# Shared with the forked processes. Only the worker's main process, which sees them crash, writes it.
_last = RawValue("d", 0.0)


def crashed_recently() -> bool:
    """True for a minute after a process of this worker died in the middle of a task."""
    return bool(time.time() - _last.value < _CAUTIOUS_SECONDS)


@task_failure.connect
def _note_a_failure(exception: BaseException, **_: Any) -> None:
    if isinstance(exception, _CRASHES):
        _last.value = time.time()


@task_retry.connect
def _note_a_retry(reason: Any, **_: Any) -> None:
    _note_a_failure(reason.exc)
