"""Signals that end a command: raised once, held back where something is being started, and ignored where they were."""

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BEGINS = """
import os, signal
from workers.signals import stop_on_signals, uninterrupted
stop_on_signals()
"""


def runs(code: str, *before: str) -> tuple[int, str, str]:
    """Runs the code after the beginning; returns how it ended, and what it said."""
    command = [*before, sys.executable, "-u", "-c", _BEGINS + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.returncode, done.stdout, done.stderr


def test_only_the_first_signal_interrupts_and_later_ones_are_told_to_wait() -> None:
    code, out, err = runs(
        """
try:
    os.kill(os.getpid(), signal.SIGINT)
finally:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
    print("everything is stopped")
"""
    )
    assert (code, out) == (-signal.SIGINT, "everything is stopped\n")
    assert err.count("is being stopped, please wait") == 3


def test_what_is_being_started_is_known_before_it_is_interrupted() -> None:
    code, out, _ = runs(
        """
try:
    with uninterrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        print("started")
    print("not reached")
except KeyboardInterrupt:
    print("interrupted")
"""
    )
    assert (code, out) == (0, "started\ninterrupted\n")


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    code, out, err = runs("os.kill(os.getpid(), signal.SIGHUP)\nprint('alive')\n", "nohup")
    assert (code, out) == (0, "alive\n"), err


def test_what_a_test_starts_can_be_ended_where_signals_are_ignored() -> None:
    script = """
import subprocess, sys
from tests.processes import let_children_be_ended
signal.signal(signal.SIGINT, signal.SIG_IGN)
ignores = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"]
subprocess.run(ignores)
let_children_be_ended()
subprocess.run(ignores)
os.kill(os.getpid(), signal.SIGINT)
print("alive")
"""
    code, out, err = runs(script)
    assert (code, out.split()) == (0, ["True", "False", "alive"]), err
