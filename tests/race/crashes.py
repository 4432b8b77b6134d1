"""Works run in processes of their own and killed with -9 at each of their crash points: the crash table."""

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from database.transactions import engine
from tests.race import commit_sites
from tests.race.crash_points import Follower, Work, is_answer_outstanding
from tests.race.kills import PATIENCE_SECONDS, rolled_back

_ROOT = Path(__file__).parents[2]
# New processes come from one that has no threads, and has imported what takes long to import.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        __name__,
        "pytest",
        "tests.builders",
        "cli.main",
        "celery.app.amqp",
        "celery.canvas",
        "celery.loaders.app",
        "kombu.transport.redis",
    ]
)
_FORK = multiprocessing.get_context("fork")


class Runner:
    """Runs one work in processes of their own, to its end or up to a point where `kill -9` ends it.

    Its first run is that of the process that all others are forked from, which so have learnt what takes long.
    """

    def __init__(self, work: Work) -> None:
        self._line, there = _FORKS.Pipe()
        self._nursery = _FORKS.Process(target=_serve, args=(work, dict(os.environ), there))
        # From wherever pytest was started, the new process finds the tests.
        with chdir(_ROOT):
            self._nursery.start()
        there.close()
        assert self._line.poll(PATIENCE_SECONDS), "it does not start"
        self._line.recv()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()
        self._nursery.join(1)
        self._nursery.kill()
        self._nursery.join()

    def run(self) -> list[str]:
        """Runs it to its end; returns the points that it passed."""
        *points, ending = self._run(None)
        assert ending == 0, f"it failed: {points[-1]}"
        return points

    def kill(self, at: str) -> list[str]:
        """Kills its process group at this point, or before this step; returns the points up to there."""
        *points, ending = self._run(at)
        assert ending == -signal.SIGKILL, f"it was not killed at {at} but ended: {points[-1]}"
        return points

    def _run(self, dies_at: str | None) -> Iterator[Any]:
        """Yields the points, and at last the exit code."""
        said: Any = None
        self._line.send(dies_at)
        while not isinstance(said, int):
            assert self._line.poll(PATIENCE_SECONDS), "it hangs"
            try:
                said = self._line.recv()
            except EOFError:
                # It was the first run.
                self._nursery.join()
                said = self._nursery.exitcode
            yield said


def _serve(work: Work, environment: Mapping[str, str], line: Connection) -> None:
    # A collection would touch, and so copy, all that was imported before the forks.
    gc.disable()
    os.environ.clear()
    os.environ.update(environment)
    follower = Follower(line)
    follower.install()
    line.send("ready")
    with suppress(EOFError):
        follower.follow(work, line.recv())
        engine().dispose()
        line.send(0)
        while True:
            dies_at = line.recv()
            # Celery hears of such a fork, and gives up its parent's connections.
            child = _FORK.Process(target=follower.follow, args=(work, dies_at))
            child.start()
            child.join(PATIENCE_SECONDS)
            child.kill()
            child.join()
            line.send(child.exitcode)


class Scenario(Protocol):
    """What a work begins with and has to end with."""

    def prepare(self) -> None:
        """Makes a fresh start."""

    def look(self, passed: Sequence[str]) -> None:
        """Looks at what a killed run left that had passed these points."""

    def recover(self) -> None:
        """Lets pass what a restart waits for."""

    def check(self) -> None:
        """Checks the end."""


def crash_table(work: Work, scenario: Scenario, *, crashes: int = 1) -> list[str]:
    """Kills the work at each of its points, runs it again, and checks the end; returns where it was killed, row by row.

    With two crashes, each different way that a run after a crash can go is also killed at each of its points.
    """
    rows: list[str] = []

    with Runner(work) as runner:

        def row(*killed_at: str) -> tuple[str, ...]:
            reported = ", then ".join(killed_at)
            commit_sites.killed_at.extend(killed_at)
            try:
                scenario.prepare()
                for point in killed_at:
                    with rolled_back():
                        passed = runner.kill(point)
                    scenario.look(passed)
                    scenario.recover()
                last = runner.run()
                scenario.check()
            except BaseException as error:
                error.add_note(f"killed at: {reported}")
                raise
            rows.append(reported)
            return tuple(last)

        scenario.prepare()
        points = runner.run()
        scenario.check()
        resumes: dict[tuple[str, ...], str] = {}
        for point in points:
            resume = row(point)
            # With an answer outstanding it need not go the same way again.
            if not is_answer_outstanding(point):
                resumes.setdefault(resume, point)
        # Where there was nothing to resume, it went as the first time.
        resumes.pop(tuple(points), None)
        for resume, first in resumes.items() if crashes > 1 else ():
            for point in resume:
                row(first, point)
    return rows
