"""A standard error that hardly blocks its writer, and a stream that turns printed lines into log events."""

import io
import math
import os
import select
import stat
import threading
import time
from collections.abc import Callable
from typing import TextIO, cast

# How long we wait for a slow reader before lines are dropped.
_PATIENCE_SECONDS = 0.2
# How long we do not wait at all after lines were dropped: logging must not slow the work down.
_NO_PATIENCE_SECONDS = 10.0


class Unblocked(io.TextIOBase):
    """Writes whole lines to a file descriptor, or drops them if they are not read; never raises, and hardly ever waits.

    Dropped lines are counted, and reported once reading resumes, in the line that `describe_dropped` makes.
    """

    def __init__(self, fd: int, describe_dropped: Callable[[int], str], patience: float = _PATIENCE_SECONDS) -> None:
        self._fd, self._describe_dropped, self._patience = fd, describe_dropped, patience
        self._dropped, self._dropped_at = 0, -math.inf
        # The end of a line that was written only in part.
        self._unfinished = b""
        self._lock = threading.Lock()
        # In a child forked while another thread writes, the lock would stay locked forever.
        os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def write(self, text: str, /) -> int:
        """Writes the text, after the report of dropped lines if one is due, or drops the text or its last lines."""
        with self._lock:
            is_patient = time.monotonic() - self._dropped_at > _NO_PATIENCE_SECONDS
            until = time.monotonic() + (self._patience if is_patient else 0)
            self._unfinished = self._left_of(self._unfinished, until)
            report = self._describe_dropped(self._dropped) if self._dropped else ""
            data = f"{report}{text}".encode(errors="backslashreplace")
            left = data if self._unfinished else self._left_of(data, until)
            if len(left) == len(data):
                self._drop(text.count("\n"))
            else:
                # The rest of a partly written line is kept; the lines after it are dropped.
                self._dropped = 0
                begun = left.find(b"\n") + 1 if data[len(data) - len(left) - 1 :][:1] != b"\n" else 0
                self._unfinished = left[:begun]
                self._drop(left[begun:].count(b"\n"))
        return len(text)

    def _drop(self, lines: int) -> None:
        if lines:
            self._dropped += lines
            self._dropped_at = time.monotonic()

    def _left_of(self, data: bytes, until: float) -> bytes:
        """Returns what could not be written by then, because the pipe or the disk is full or the reader has gone."""
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                if not self._can_go_on(until):
                    break
            except OSError:
                break
        return data

    def _can_go_on(self, until: float) -> bool:
        waiting = select.poll()
        waiting.register(self._fd, select.POLLOUT)
        return bool(waiting.poll(max(0.0, until - time.monotonic()) * 1000))

    def writable(self) -> bool:
        """Returns True."""
        return True


class LineLogger(io.TextIOBase):
    """A stream that logs each line written to it, because libraries print to the standard streams."""

    def __init__(self, log: Callable[[str], object], fd: int) -> None:
        self._log, self._fd = log, fd
        self._line = ""

    def write(self, text: str, /) -> int:
        """Logs each line that is complete, without those that are blank."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.strip():
                self._log(line.strip())
        return len(text)

    def fileno(self) -> int:
        """Returns the descriptor that the log goes to."""
        return self._fd

    def writable(self) -> bool:
        """Returns True."""
        return True


def unblocked(stream: TextIO, describe_dropped: Callable[[int], str], patience: float = _PATIENCE_SECONDS) -> TextIO:
    """Returns a stream to the same place as `stream` that hardly waits; `stream` itself where it is in memory."""
    try:
        fd = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return stream
    return cast(TextIO, Unblocked(_nonblocking(fd), describe_dropped, patience))


def _nonblocking(fd: int) -> int:
    """Returns a new non-blocking descriptor of the same pipe or terminal; other processes share the given one.

    A file is not reopened: it never waits for a reader, and writing would start at its beginning.
    """
    kind = os.fstat(fd).st_mode
    if not (stat.S_ISFIFO(kind) or os.isatty(fd)):
        return fd
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        # There is no /proc, or the terminal belongs to another user.
        return fd
