"""Crash points that nobody lists: whoever follows a work on its way meets them, and can kill it at one of them.

A point lies between two steps: it is after the one and before the other, as nothing that anybody else could see
happens in between. A step is a commit, a wake-up, a command to the broker, a request to an SFTP server or waiting for
its answer, a call to a desk, and each call by which `edi/transports/` asks the operating system for something. A new
step in the product adds its points by itself. A commit is named by what it does (`confirm: commit`), any other step by
its function in the product.
"""

import io
import os
import posix
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import paramiko  # type: ignore[import-untyped]  # publishes no types
import redis
from celery import Celery
from redis.client import Pipeline

from database.transactions import engine
from desks.api import Api
from desks.channels import LogChannel
from edi.transports.sftp_packets import Packet
from edi.transports.sftp_session import Session
from tests.race.commit_sites import commit_at
from tests.rooms import ROOMS

# A function of a module that a new process can import.
Work: TypeAlias = Callable[[], object]

_ROOT = Path(__file__).parents[2]
_PRODUCT = tuple(f"{_ROOT / room}/" for room in ROOMS)
# What these do is done for a caller, which is named instead.
_PASSED_OVER = (str(_ROOT / "database" / "transactions.py"), str(_ROOT / "tasks" / "running" / "wakeups.py"))
_TRANSPORTS = f"{_ROOT / 'edi' / 'transports'}/"
_FILES = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.TextIOWrapper)
_ASKS_NOBODY = {"fspath", "urandom", "fileno"}
_LOGIN = (
    (paramiko.Transport, "start_client"),
    (paramiko.Transport, "auth_password"),
    (paramiko.Transport, "open_session"),
    (paramiko.Channel, "invoke_subsystem"),
)
_ARROW = " → "
_COMMIT = "commit"
_THEN = ", then "
_ANSWER_TO = "the answer to "


class Follower:
    """Notes the points that this process passes, and kills it at one of them."""

    def __init__(self, trail: Connection) -> None:
        self._trail = trail
        self._depth = 0
        self._asked = ""

    def follow(self, work: Work, dies_at: str | None) -> None:
        """Does the work in a process group of its own."""
        os.setsid()
        self._dies_at = dies_at
        self._passed: Counter[str] = Counter()
        self._step = self._last = "the beginning"
        try:
            sys.setprofile(self._watch)
            work()
            sys.setprofile(None)
            self._pass("the end")
        except BaseException:  # noqa: BLE001  # told to the process of the test
            sys.setprofile(None)
            self._trail.send(traceback.format_exc())
            raise SystemExit(1) from None

    def install(self) -> None:
        """What is replaced here stays replaced till the process ends."""
        self._around(engine().dialect, "do_commit", lambda *_: _COMMIT)
        self._around(Celery, "send_task", lambda _, wakeup, **__: f"waking {wakeup}")
        self._around(redis.Redis, "execute_command", lambda _, command, *__, **___: f"the broker's {command}")
        self._around(Pipeline, "execute", lambda pipeline, *_: " and ".join(self._commands(pipeline)))
        self._around(LogChannel, "deliver", lambda *_, **__: "telling the log")
        self._around(Api, "call", lambda _, method, *__, **___: f"the desk's {method}")
        self._around(Session, "_send", self._request)
        self._around(Session, "_receive", lambda _: f"{_ANSWER_TO}{self._asked}")
        for owner, name in _LOGIN:
            self._around(owner, name, lambda *_, name=name, **__: f"SSH {name}")

    def _commands(self, pipeline: Any) -> Iterator[str]:
        for (command, *_), _ in pipeline.command_stack:
            yield f"the broker's {command}"

    def _request(self, _: Session, packet: bytes) -> str:
        self._asked = Packet(packet[0]).name
        return f"sending {self._asked}"

    def _around(self, owner: Any, name: str, reported: Callable[..., str]) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def followed(*args: Any, **kwargs: Any) -> Any:
            with self._inside(reported(*args, **kwargs)):
                return original(*args, **kwargs)

        setattr(owner, name, followed)

    @contextmanager
    def _inside(self, what: str) -> Iterator[None]:
        self._enter(what)
        try:
            yield
        finally:
            self._leave()

    def _watch(self, frame: FrameType, happens: str, called: Any) -> None:
        """Sees every call of a function that is not written in Python."""
        if happens not in ("c_call", "c_return", "c_exception") or not _asks_the_system(called):
            return
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return  # the first import of a module
        caller = _product(frame)
        if caller is None or not caller.f_code.co_filename.startswith(_TRANSPORTS):
            return
        if happens == "c_call":
            self._enter(called.__qualname__, frame)
        else:
            self._leave()

    def _enter(self, what: str, frame: FrameType | None = None) -> None:
        """Only the outermost of nested steps counts: what happens within it is the work of others."""
        self._depth += 1
        if self._depth == 1:
            self._pass(_named(what, frame or sys._getframe()))

    def _leave(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._last = self._step

    def _pass(self, step: str) -> None:
        self._passed[step] += 1
        self._step = step if self._passed[step] == 1 else f"{step}, {self._passed[step]}"
        point = f"{self._last}{_ARROW}{self._step}"
        self._trail.send(point)
        if self._dies_at in (point, self._step):
            os.killpg(0, signal.SIGKILL)


def _asks_the_system(called: Any) -> bool:
    owner = getattr(called, "__self__", None)
    return (owner is posix or called is open or isinstance(owner, _FILES)) and called.__name__ not in _ASKS_NOBODY


def _product(frame: FrameType | None) -> FrameType | None:
    while frame and (
        not frame.f_code.co_filename.startswith(_PRODUCT) or frame.f_code.co_filename.startswith(_PASSED_OVER)
    ):
        frame = frame.f_back
    return frame


def _named(what: str, frame: FrameType) -> str:
    caller = _product(frame)
    if caller is None:
        return f"test: {what}"
    file = caller.f_code.co_filename
    where = f"{Path(file).stem}.{caller.f_code.co_qualname}"
    if what != _COMMIT:
        return f"{where}: {what}"
    # What a test does in the middle of the product's work is no site of the product.
    return commit_at(file, caller.f_lineno) or f"{where}: another's commit"


def has_passed(step: str, points: Sequence[str]) -> bool:
    """True if the step was done when the last of these points was reached."""
    return any(point.startswith(f"{step}{_ARROW}") for point in points)


def steps_in(table: Sequence[str]) -> set[str]:
    """Returns every step that the rows of a crash table name."""
    return {step for row in table for point in row.split(_THEN) for step in point.split(_ARROW)}


def is_answer_outstanding(point: str) -> bool:
    """True if a request is on its way at this point: the other side may still carry it out once we are dead."""
    return f": {_ANSWER_TO}" in point.partition(_ARROW)[2]
