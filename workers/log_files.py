"""Shows the log files of all processes as one log; each line names its process."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pydantic_core import from_json

from workers import logs

# How often log files are read while they grow, and at most while they do not.
_SOON_SECONDS, _LATER_SECONDS = 0.1, 1.0
# An older warning does not explain a problem of now.
_EXPLAINS_SECONDS = 120.0
# How much of one file is shown before the next one is read.
_MOST_BYTES = 1 << 20
# supervisord's own lines: a date, a time, a level.
_SUPERVISORDS = re.compile(r"[\d-]{10} [\d:,]{12} (CRIT|ERRO|WARN|INFO|DEBG) (.*)")
_LEVELS = {"CRIT": "critical", "ERRO": "error", "WARN": "warning"}
_BAD = ("warning", "error", "critical")


class Followed:
    """A log file that a process appends to, and that is rotated when it is long."""

    def __init__(self, path: Path, program: str) -> None:
        self._path, self.program = path, program
        self._file: BinaryIO | None = None
        self._half = b""
        # The program's last line, and its last warning or error.
        self._last = self._last_bad = ""
        self._bad_since = 0.0
        # Lines of an earlier run were shown then.
        if self._open():
            assert self._file is not None  # noqa: S101  # for the type checker
            self._file.seek(0, 2)

    def close(self) -> None:
        """Closes it."""
        if self._file is not None:
            self._file.close()

    def last_words(self) -> str:
        """Returns the program's recent warning or error, else its last line: it may explain a lack of progress."""
        is_new = time.monotonic() - self._bad_since < _EXPLAINS_SECONDS
        return (self._last_bad if is_new else "") or self._last or "nothing"

    def read(self) -> list[str]:
        """Returns the new lines, formatted for display."""
        if self._file is None and not self._open():
            return []
        assert self._file is not None  # noqa: S101  # for the type checker
        data = self._file.read(_MOST_BYTES)
        lost = [] if data else self._follow_rotation()
        *lines, self._half = (self._half + data).split(b"\n")
        return lost + [shown for line in lines if (shown := self._shown(line.decode(errors="replace").rstrip()))]

    def _open(self) -> bool:
        with suppress(FileNotFoundError):
            self._file = _opened(self._path)
        return self._file is not None

    def _follow_rotation(self) -> list[str]:
        """Switches to the new file if ours was rotated; returns a warning if a whole file between them was missed."""
        assert self._file is not None  # noqa: S101  # for the type checker
        ours, before = _number(self._file.fileno()), self._path.with_name(f"{self._path.name}.1")
        if _number(self._path) in (ours, None):
            return []
        was_just_exchanged = _number(before) in (ours, None)
        self._file.close()
        self._file = None
        if was_just_exchanged:
            return []
        self._file = _opened(before)
        return [self._framed("lines of the log were lost, they were not read in time", "warning")]

    def _shown(self, text: str) -> str:
        if not text:
            return ""
        level, message = _parsed(text)
        self._last = message
        if level in _BAD or level == "":
            self._last_bad, self._bad_since = message, time.monotonic()
        if not logs.in_json():
            return self._framed(text, level)
        # Our own lines name their process.
        return text if text.startswith('{"') else self._framed(message, level or "info")

    def _framed(self, event: str, level: str) -> str:
        if logs.in_json():
            return logs.line(event, process=self.program, level=level)
        return f"{self.program:<11} | {event}"


def _parsed(text: str) -> tuple[str, str]:
    """Returns the level of a line, empty if it has none, and its message."""
    if found := _SUPERVISORDS.match(text):
        return _LEVELS.get(found[1], "info"), found[2]
    if text.startswith('{"'):
        with suppress(ValueError, AttributeError):
            event = from_json(text)
            error = event.get("error") or str(event.get("exception", "")).rstrip().rpartition("\n")[2]
            return str(event.get("level", "info")), f"{event.get('event')}{f': {error}' if error else ''}"
    return "", text


def _opened(path: Path) -> BinaryIO:
    # Follows no link: the folder may belong to a user with fewer permissions than ours.
    return open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW))


def _number(file: int | Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def shown(files: Iterable[Followed], write: Callable[[str], object]) -> Iterator[None]:
    """Shows what is written to these files for the block, to its last line."""
    followed, over = list(files), threading.Event()

    def show() -> bool:
        lines = [line for file in followed for line in file.read()]
        if lines:
            write("".join(f"{line}\n" for line in lines))
        return bool(lines)

    def follow() -> None:
        pause = _SOON_SECONDS
        while not over.wait(pause):
            pause = _SOON_SECONDS if show() else min(2 * pause, _LATER_SECONDS)
        while show():
            pass

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for file in followed:
            file.close()
