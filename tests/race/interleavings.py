"""Every order of the steps of a few sessions that can make a difference, each run from a fresh start.

Of orders that differ only in steps that commute (no lock and no commit of the one concerns the other) one is run: the
"sleep sets" of model checkers. A session that is blocked is passed by until it is free again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, TypeAlias

from sqlalchemy import Connection

from database.transactions import engine
from tests.race.gates import Session, State, Step, Work, observing

# Sessions whose next step is not worth letting go: it comes here in another run, and commutes with all that came since.
Asleep: TypeAlias = Mapping[str, Step]
_SEED = 20261123


class Race:
    """Sessions by name, and what was let go so far; a session that is blocked cannot be let go."""

    def __init__(self, index: int, sessions: Mapping[str, Session], may_fail: tuple[type[Exception], ...]) -> None:
        self.index = index
        self.sessions = sessions
        self.schedule: list[tuple[str, Step]] = []
        self._may_fail = may_fail

    def __getitem__(self, name: str) -> Any:
        """What the named session's function returned."""
        return self.sessions[name].result

    @property
    def commits(self) -> list[str]:
        """The sessions in the sequence of their commits."""
        return [name for name, step in self.schedule if step.commits]

    @property
    def failures(self) -> dict[str, BaseException]:
        """The sessions that failed, in a way in which they may."""
        return {name: session.error for name, session in self.sessions.items() if session.error}

    def free(self) -> dict[str, Step]:
        """The sessions that can be let go, with their next steps."""
        sessions = self.sessions.items()
        return {name: one.next for name, one in sessions if one.state is State.AT_GATE and one.next}

    def step(self, name: str) -> None:
        """Lets one session go, and sees whom that unblocks."""
        free = self.free()
        assert name in free, f"{name} cannot be let go: is the scenario the same each time?"
        self.schedule.append((name, free[name]))
        self.sessions[name].step()
        while any(one.state is State.BLOCKED and one.look() is not State.BLOCKED for one in self.sessions.values()):
            pass
        for one in self.sessions.values():
            if one.error and not isinstance(one.error, self._may_fail):
                raise one.error

    def __str__(self) -> str:
        return "\n".join(f"{name}: {step.name}" for name, step in self.schedule)


@contextmanager
def race(
    works: Mapping[str, Work], observer: Connection, index: int = 0, may_fail: tuple[type[Exception], ...] = ()
) -> Iterator[Race]:
    """Sessions at their first gates. What is not finished at the end of the block is rolled back."""
    sessions: dict[str, Session] = {}
    this = Race(index, sessions, may_fail)
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


class _Explorer:
    """The orders that are still to be run: each begins with these sessions, and then leaves those asleep."""

    def __init__(self, *, reduced: bool, at_random: bool) -> None:
        self.pending: list[tuple[tuple[str, ...], Asleep]] = [((), {})]
        self._reduced = reduced
        self._random = Random(_SEED) if at_random else None  # noqa: S311  # repeats itself, hides nothing

    def run(self, this: Race) -> None:
        """Lets the sessions of a race go to their end; what else could have come next is run later."""
        prefix, asleep = self.pending.pop(self._random.randrange(len(self.pending)) if self._random else -1)
        for name in prefix:
            this.step(name)
        while free := this.free():
            # If all are asleep this order is one too many, yet it is finished: what was set up for it must not stay.
            chosen, *others = [name for name in free if name not in asleep] or list(free)[:1]
            self._branch(this, others, free, {**asleep, chosen: free[chosen]})
            asleep = self._still_asleep(asleep, free[chosen])
            this.step(chosen)

    def _branch(self, this: Race, others: Sequence[str], free: Mapping[str, Step], asleep: Asleep) -> None:
        begun = tuple(name for name, _ in this.schedule)
        for other in others:
            self.pending.append(((*begun, other), self._still_asleep(asleep, free[other])))
            asleep = {**asleep, other: free[other]}

    def _still_asleep(self, asleep: Asleep, step: Step) -> Asleep:
        return {name: one for name, one in asleep.items() if self._reduced and one.commutes_with(step)}


def explore(
    scenario: Callable[[int], Mapping[str, Work]],
    check: Callable[[Race], None],
    *,
    reduced: bool = True,
    may_fail: tuple[type[Exception], ...] = (),
    at_most: int | None = None,
) -> Sequence[str]:
    """Sets a scenario up, runs and checks it for every order of its sessions' steps; returns these orders.

    With `at_most`, so many of them, taken at random and the same each time.

    `scenario` gets the index of the run and must lead to the same steps each time. Sessions go through PostgreSQL
    one at a time, so every run can be repeated: it is given by the names in the sequence in which they were let go.
    """
    runs: list[str] = []
    explorer = _Explorer(reduced=reduced, at_random=at_most is not None)
    with observing() as observer:
        while explorer.pending and (at_most is None or len(runs) < at_most):
            with race(scenario(len(runs)), observer, len(runs), may_fail) as this:
                explorer.run(this)
                waiting = [name for name, session in this.sessions.items() if session.state is State.BLOCKED]
                assert not waiting, f"{waiting} wait for one another"
                check(this)
            runs.append(str(this))
    assert len(set(runs)) == len(runs), "an order was run twice"
    return runs
