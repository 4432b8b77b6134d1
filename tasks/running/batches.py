"""Working off a backlog in batches, so that no piece of work holds up another.

A batch that fails is halved until the piece that fails stands alone; that one is counted against its tries. A piece
that kills the process that works on it, or hangs until that is killed, cannot be counted afterwards: for a while after
such a death pieces are done one by one, and each is counted before it is tried. What then was not tried after all is
not counted: else two processes that keep each other from a piece would use up its tries.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from sqlalchemy import Connection

from database.faults import Fault, classify, in_a_line
from database.transactions import in_transaction
from tasks.running import crash_guard, progress

_log = structlog.get_logger()

# A task runs for its slice of a few seconds, so one that takes this long hangs and is killed. The limit is shorter
# than PostgreSQL's for an idle transaction (`database.transactions`): otherwise PostgreSQL would release its locks, and
# another process would take up the same row.
TIME_LIMIT_SECONDS = 45

_DIED = "the process that worked on it died, or hung and was killed"

# A batch that meets a lock is rather halved than tried often: only the piece that needs the row shall wait for it.
_TRIES = 2


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Batch:
    """Claimed pieces of work: `perform` does them in the claiming transaction, `after` runs once that is committed."""

    ids: Sequence[int]
    perform: Callable[[], None]
    after: Callable[[], None] = _nothing


class CountFailure(Protocol):
    """Counts a failed try of a piece of work; without `pauses` the piece stays due."""

    def __call__(self, connection: Connection, piece: int, error: str, /, *, pauses: bool = True) -> None: ...


class UncountAttempt(Protocol):
    """Takes back a try that was counted and not made; the piece waits a little, if it is not done meanwhile."""

    def __call__(self, connection: Connection, piece: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """A kind of work: how at most `limit` pieces are claimed (or only those `among` some ids), how a failure counts.

    With `claims_all`, fewer than `limit` are all that was due: nobody needs to look again.
    """

    name: str
    limit: int
    claim: Callable[[Connection, int, Sequence[int] | None], Batch]
    count_failure: CountFailure
    uncount_attempt: UncountAttempt
    claims_all: bool = False


def drain(job: Job, *, seconds: float) -> bool:
    """Works until nothing is due, at most about `seconds`; returns True if something may be left."""
    deadline = time.monotonic() + seconds
    while done := _run_one_counted_first(job) if (after_crash := crash_guard.crashed_recently()) else run_batch(job):
        progress.note_task()
        if job.claims_all and not after_crash and done < job.limit:
            return False
        if time.monotonic() > deadline:
            return True
    return False


def _run_one_counted_first(job: Job) -> int:
    """Does one piece, which is counted before it is tried; returns 0 if there is none."""

    def count(connection: Connection) -> Sequence[int]:
        ids = job.claim(connection, 1, None).ids
        for one in ids:
            job.count_failure(connection, one, _DIED, pauses=False)
        return ids

    ids = in_transaction(count)
    if ids and not run_batch(job, ids):
        # Somebody has it in hand, or holds a row that it needs. Others pass it by meanwhile.
        in_transaction(lambda connection: job.uncount_attempt(connection, ids[0]))
    return len(ids)


def run_batch(job: Job, among: Sequence[int] | None = None) -> int:
    """Claims and does one batch; returns how many pieces were done or counted as failed.

    Raises when the database is away: that is nobody's failure.
    """
    claimed: list[Batch] = []

    def work(connection: Connection) -> Batch:
        batch = job.claim(connection, job.limit, among)
        claimed[:] = [batch]
        batch.perform()
        return batch

    try:
        batch = in_transaction(work, tries=_TRIES)
    except Exception as error:
        if not claimed or not claimed[0].ids or classify(error) is Fault.OUTAGE:
            raise
        return _after_a_failure(job, claimed[0].ids, error)
    batch.after()
    return len(batch.ids)


def _after_a_failure(job: Job, ids: Sequence[int], error: Exception) -> int:
    if len(ids) > 1:
        half = len(ids) // 2
        return run_batch(job, ids[:half]) + run_batch(job, ids[half:])
    if classify(error) is Fault.RETRYABLE:
        # Somebody holds a row that it needs. That is no failure of its own; the next sweep tries again.
        _log.warning("held up by a lock", job=job.name, id=ids[0])
        return 0
    told = in_a_line(error)
    _log.error("failed", job=job.name, id=ids[0], error=told)
    in_transaction(lambda connection: job.count_failure(connection, ids[0], told))
    return 1
