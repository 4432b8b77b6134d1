"""Working off a backlog in batches, so that no job holds up another. A job is one row: a request or an effect.

A batch that fails is halved until the failing job is alone; its failure is counted. A job that crashes its process, or
hangs until the process is killed, cannot record its own failure. So for a while after a crash jobs run one by one, and
each counts an attempt before it runs. A job that then could not run gets its attempt back: otherwise two processes that
block each other would use up its attempts.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from sqlalchemy import Connection

from database.faults import Fault, classify, in_a_line
from database.transactions import Attempts, in_transaction
from tasks.running import crash_guard, progress

_log = structlog.get_logger()

# A task runs for its slice of a few seconds, so one that takes this long hangs and is killed. The limit is shorter
# than PostgreSQL's for an idle transaction (`database.transactions`): otherwise PostgreSQL would release its locks, and
# another process would take up the same row.
TIME_LIMIT_SECONDS = 45

_CRASHED = "the process that worked on it died, or hung and was killed"

# A batch that meets a lock is halved rather than retried: only the job that needs the locked row should wait for it.
_FEW_ATTEMPTS = Attempts(2)


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Batch:
    """Claimed jobs: `perform` does them in the claiming transaction, `after` runs once that is committed."""

    ids: Sequence[int]
    perform: Callable[[], None]
    after: Callable[[], None] = _nothing


class CountFailure(Protocol):
    """Counts a failed attempt at a job; without `pauses` the job stays due."""

    def __call__(self, connection: Connection, job_id: int, error: str, /, *, pauses: bool = True) -> None: ...


class UncountAttempt(Protocol):
    """Takes back an attempt that was counted and not made; a job that is still open waits a little."""

    def __call__(self, connection: Connection, job_id: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """A kind of work: how at most `limit` rows are claimed (or only those `among` some ids), how a failure counts.

    With `claims_all`, a claim of fewer than `limit` rows is everything that was due, so nobody needs to look again.
    """

    name: str
    limit: int
    claim: Callable[[Connection, int, Sequence[int] | None], Batch]
    count_failure: CountFailure
    uncount_attempt: UncountAttempt
    claims_all: bool = False


def drain(job: Job, *, seconds: float) -> bool:
    """Works until nothing is due, for about `seconds` at most; returns True if something may be left."""
    deadline = time.monotonic() + seconds
    while done := _run_one_counted_first(job) if (after_crash := crash_guard.crashed_recently()) else run_batch(job):
        progress.note_task()
        if job.claims_all and not after_crash and done < job.limit:
            return False
        if time.monotonic() > deadline:
            return True
    return False


def _run_one_counted_first(job: Job) -> int:
    """Runs one job, whose attempt is counted first; returns 0 if there is none."""

    def count(connection: Connection) -> Sequence[int]:
        ids = job.claim(connection, 1, None).ids
        for one in ids:
            job.count_failure(connection, one, _CRASHED, pauses=False)
        return ids

    ids = in_transaction(count)
    if ids and not run_batch(job, ids):
        # Another process works on it, or holds a row that it needs. Meanwhile others skip it.
        in_transaction(lambda connection: job.uncount_attempt(connection, ids[0]))
    return len(ids)


def run_batch(job: Job, among: Sequence[int] | None = None) -> int:
    """Claims and runs one batch; returns how many jobs were done or counted as failed.

    Raises when the database is away: that is no failure of a job.
    """
    claimed: list[Batch] = []

    def work(connection: Connection) -> Batch:
        batch = job.claim(connection, job.limit, among)
        claimed[:] = [batch]
        batch.perform()
        return batch

    try:
        batch = _FEW_ATTEMPTS.in_transaction(work)
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
        # Another transaction holds a row that it needs. That is no failure of the job; the next wake-up tries again.
        _log.warning("held up by a lock", job=job.name, id=ids[0])
        return 0
    message = in_a_line(error)
    _log.error("failed", job=job.name, id=ids[0], error=message)
    in_transaction(lambda connection: job.count_failure(connection, ids[0], message))
    return 1
