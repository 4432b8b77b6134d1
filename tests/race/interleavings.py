"""Every order of the steps of a few sessions that can make a difference, each run from a fresh start.

Two steps that commute (no lock and no commit of the one concerns the other) are run in one of their two orders. A
session that is blocked is passed by until it is free again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from tasks.database import engine
from tests.race.gates import Session, State, Step, Work, observing


class Race:
    """Sessions by name, and what was let go so far; a session that is blocked cannot be let go."""

    def __init__(self, index: int, sessions: Mapping[str, Session]) -> None:
        self.index = index
        self.sessions = sessions
        self.schedule: list[tuple[str, Step]] = []
        self._free_before: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        """What the named session's function returned."""
        return self.sessions[name].result

    @property
    def commits(self) -> list[str]:
        """The sessions in the sequence of their commits."""
        return [name for name, step in self.schedule if step.commits]

    def free(self) -> list[str]:
        """The sessions that can be let go."""
        return [name for name, session in self.sessions.items() if session.state is State.AT_GATE]

    def step(self, name: str) -> None:
        """Lets one session go, and sees whom that unblocks."""
        session, self._free_before = self.sessions[name], set(self.free())
        assert name in self._free_before, f"{name} cannot be let go: is the scenario the same each time?"
        assert session.next is not None
        self.schedule.append((name, session.next))
        session.step()
        while any(one.state is State.BLOCKED and one.look() is not State.BLOCKED for one in self.sessions.values()):
            pass
        for one in self.sessions.values():
            if one.error:
                raise one.error

    def choices(self, *, reduced: bool) -> list[str]:
        """The sessions worth letting go next: not those whose step could as well have come before the last one."""
        free = self.free()
        return [name for name in free if not (reduced and self._is_run_already(name))] or free[:1]

    def _is_run_already(self, name: str) -> bool:
        if not self.schedule or name not in self._free_before:
            return False
        (last, step), names = self.schedule[-1], list(self.sessions)
        following = self.sessions[name].next
        assert following is not None
        return names.index(name) < names.index(last) and step.commutes_with(following)

    def __str__(self) -> str:
        return "\n".join(f"{name}: {step.name}" for name, step in self.schedule)


@contextmanager
def race(works: Mapping[str, Work], observer: Connection, index: int = 0) -> Iterator[Race]:
    """Sessions at their first gates. What is not finished at the end of the block is rolled back."""
    sessions: dict[str, Session] = {}
    this = Race(index, sessions)
    try:
        for name, work in works.items():
            sessions[name] = Session(work, engine(), observer)
        yield this
    except BaseException as error:
        error.add_note(f"in this order:\n{this}")
        raise
    finally:
        for session in sessions.values():
            session.abandon()
        for session in sessions.values():
            session.join()


def explore(
    scenario: Callable[[int], Mapping[str, Work]], check: Callable[[Race], None], *, reduced: bool = True
) -> Sequence[str]:
    """Sets a scenario up, runs and checks it for every order of its sessions' steps; returns these orders.

    `scenario` gets the index of the run and must lead to the same steps each time. Sessions go through PostgreSQL
    one at a time, so every run can be repeated: it is given by the names in the sequence in which they were let go.
    """
    runs: list[str] = []
    pending: list[tuple[str, ...]] = [()]
    with observing() as observer:
        while pending:
            prefix = pending.pop()
            with race(scenario(len(runs)), observer, len(runs)) as this:
                while choices := this.choices(reduced=reduced):
                    done = tuple(name for name, _ in this.schedule)
                    if len(done) < len(prefix):
                        choices = [prefix[len(done)]]
                    pending += [(*done, other) for other in choices[1:]]
                    this.step(choices[0])
                waiting = [name for name, session in this.sessions.items() if session.state is State.BLOCKED]
                assert not waiting, f"{waiting} wait for one another"
                check(this)
            runs.append(str(this))
    assert len(set(runs)) == len(runs), "an order was run twice"
    return runs
