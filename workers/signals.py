"""Signals that end a command: the first one raises KeyboardInterrupt, later ones only print that it is stopping."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from workers.logs import in_json, line

# Ctrl-C, `kill`, and the end of the terminal.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class _Interruption:
    """Whether a signal has come, whether it was raised, and how many blocks hold it back."""

    came: bool = False
    was_raised: bool = False
    held_back: int = 0


_interruption = _Interruption()


def stop_on_signals() -> None:
    """Makes SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt once; an ignored signal (`nohup`) stays ignored."""
    _interruption.came = _interruption.was_raised = False
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delays the interruption until the block ends, so that what the block starts can be stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _interruption.held_back += 1
    try:
        yield
    finally:
        _interruption.held_back -= 1
        _raise_once()


def _stop(_number: int, _frame: FrameType | None) -> None:
    if _interruption.was_raised:
        # Not through a stream, which may be in the middle of a line.
        with suppress(OSError):
            os.write(2, _wait().encode())
    _interruption.came = True
    _raise_once()


def _wait() -> str:
    message = "is being stopped, please wait"
    return f"{line(f'countermand {message}', process='up')}\n" if in_json() else f"countermand: {message}\n"


def _raise_once() -> None:
    if _interruption.came and not _interruption.was_raised and not _interruption.held_back:
        _interruption.was_raised = True
        raise KeyboardInterrupt
