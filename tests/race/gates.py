"""Gates instead of sleeps, after PostgreSQL's isolationtester: sessions that a test lets go step by step.

A session runs a real function in a transaction of its own and stops before each statement and before COMMIT. That it
waits for another is seen in PostgreSQL, from outside.
"""

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text

from database.tables import metadata
from database.transactions import engine

Work: TypeAlias = Callable[[Connection], Any]

_ROOT = Path(__file__).parents[2]
_PRODUCT = tuple(f"{_ROOT / room}/" for room in ("database", "orders", "edi", "tasks"))
_NAMED = re.compile(r"(?:FROM|JOIN|INTO|UPDATE)\s+([\w, ]+)")
_FIRST_FROM = re.compile(r"\A.*?FROM\s+(\w+(?:, \w+)*)", re.DOTALL)
_JOINED = re.compile(r"\bJOIN\b|FROM\s+\w+\s+AS\b")
_WRITTEN = re.compile(r"(?:INTO|UPDATE|DELETE FROM)\s+(\w+)")
_LOCKING = re.compile(r"FOR (?:NO KEY )?UPDATE(?: OF (?P<of>\w+)\b(?!,))?(?: SKIP LOCKED)?")
_MOMENT = re.compile(r"(?:clock|statement)_timestamp")
_MOMENTS = frozenset({"clock", "begin"})
_POLL_SECONDS = 0.005
_PATIENCE_POLLS = 6000


class State(Enum):
    """Where a session is: at a gate, waiting in PostgreSQL for another, or finished."""

    AT_GATE = auto()
    BLOCKED = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """One statement or COMMIT: the tables that it looks at, and those in which it locks or (COMMIT) shows rows."""

    name: str
    sees: frozenset[str]
    locks: frozenset[str]
    commits: bool = False

    def commutes_with(self, other: "Step") -> bool:
        """True if it makes no difference which of the two comes first. In doubt it says no."""
        shows = self.commits and self.locks & other.sees
        is_shown = other.commits and other.locks & self.sees
        return not (self.locks & other.locks or shows or is_shown)


def step_of(statement: str, held: frozenset[str], *, begins: bool) -> Step:
    """Reads a statement of a session that already holds row locks in these tables."""
    sees, written = _tables(_NAMED, statement), _tables(_WRITTEN, statement)
    verb, locking = statement.split(None, 1)[0], _LOCKING.search(statement)
    locks = frozenset[str]()
    if "advisory" in statement:
        locks = frozenset({"advisory locks"})
    elif locking:
        # Without OF the rows of its FROM are locked, not those of the sub-queries in its WHERE.
        named = sees if _JOINED.search(statement, 0, locking.start()) else _tables(_FIRST_FROM, statement)
        locks = frozenset({locking["of"]}) if locking["of"] else named
    elif verb != "SELECT":
        # Ours update the rows that they have locked before, if they have locked any in that table.
        locks = written - held if verb == "UPDATE" else written
    reported = (f"{_caller()}:", verb, ", ".join(sorted(sees)), locking[0] if locking else "")
    locks |= _moments(statement, verb, written, begins)
    return Step(" ".join(part for part in reported if part), sees | locks, locks)


def _tables(pattern: re.Pattern[str], statement: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", " ".join(pattern.findall(statement)))).intersection(metadata.tables)


def _moments(statement: str, verb: str, written: frozenset[str], begins: bool) -> frozenset[str]:
    """Moments are compared with one another (by the audit too), so taking them commutes as little as taking locks."""
    # The rows of these two get a moment by default that is compared with another session's; those of others are not.
    # now() is when the transaction began, and decides which of the requests that others accept are due. A claim that
    # begins with how it is to be planned asks for it later; whoever accepts begins with that too, and does not.
    if verb == "INSERT" and "change_request" in written:
        return _MOMENTS
    if _MOMENT.search(statement) or (verb == "INSERT" and "interchange" in written):
        return frozenset({"clock"})
    asks = begins and "advisory" not in statement and re.search(r"now\(\)|set_config", statement)
    return frozenset({"begin"}) if asks else frozenset()


def _caller() -> str:
    """The product's function that the statement stands in."""
    frame = sys._getframe()
    while frame.f_back and not frame.f_code.co_filename.startswith(_PRODUCT):
        frame = frame.f_back
    return frame.f_code.co_name if frame.f_back else "test"


class _Abandoned(BaseException):
    pass


class Session:
    """A function in a transaction and a thread of its own, which goes on only when it is let."""

    def __init__(self, work: Work, database: Engine, observer: Connection) -> None:
        self.next: Step | None = None
        self.state = State.AT_GATE
        self.result: Any = None
        self.error: BaseException | None = None
        self._work, self._database, self._observer = work, database, observer
        self._pid = 0
        self._held: frozenset[str] = frozenset()
        self._shown: frozenset[str] = frozenset()
        self._arrived, self._may_go, self._abandoned = threading.Event(), threading.Semaphore(0), False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.look()

    def step(self) -> State:
        """Lets it go; returns once it is at its next gate, blocked in PostgreSQL, or done."""
        self._arrived.clear()
        self._may_go.release()
        return self.look()

    def look(self) -> State:
        """Returns where it is, once that is certain."""
        for _ in range(_PATIENCE_POLLS):
            if self._arrived.wait(0 if self.state is State.BLOCKED else _POLL_SECONDS):
                self.state = State.AT_GATE if self.next else State.DONE
                return self.state
            self.state = State.BLOCKED if self._is_blocked() else State.AT_GATE
            if self.state is State.BLOCKED:
                return self.state
        raise AssertionError(f"neither back nor blocked: {self.next}")

    def abandon(self) -> None:
        """Rolls it back, wherever it is."""
        self._abandoned = True
        self._may_go.release()
        if not self._arrived.is_set():
            self._observer.execute(text("SELECT pg_cancel_backend(:pid)"), {"pid": self._pid})

    def join(self) -> None:
        """Waits for the end of its thread."""
        self._thread.join(_POLL_SECONDS * _PATIENCE_POLLS)

    def _is_blocked(self) -> bool:
        blockers = text("SELECT cardinality(pg_blocking_pids(:pid))")
        return bool(self._observer.execute(blockers, {"pid": self._pid}).scalar_one())

    def _run(self) -> None:
        try:
            with self._database.begin() as connection:
                self._pid = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
                event.listen(connection, "before_cursor_execute", self._before_statement)
                event.listen(connection, "commit", self._before_commit)
                self.result = self._work(connection)
        except BaseException as error:  # noqa: BLE001  # handed to the test's thread
            self.error = error
        finally:
            self.next = None
            self._arrived.set()

    def _before_statement(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        step = step_of(statement, self._held, begins=self.next is None)
        self._shown |= step.locks - _MOMENTS
        if _LOCKING.search(statement):
            self._held |= step.locks
        self._wait_at(step)

    def _before_commit(self, _connection: Connection) -> None:
        self._wait_at(Step("COMMIT", frozenset(), self._shown, commits=True))

    def _wait_at(self, step: Step) -> None:
        self.next = step
        self._arrived.set()
        self._may_go.acquire()
        if self._abandoned:
            raise _Abandoned


@contextmanager
def observing() -> Iterator[Connection]:
    """A connection that sees who waits for whom, and takes no part."""
    outside = create_engine(engine().url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with outside.connect() as connection:
        yield connection
