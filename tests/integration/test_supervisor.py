"""The supervisor: what a killed `up` leaves behind, and the priorities of its processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import psutil
import pytest

from workers.supervisor import end_earlier, programs, supervised

pytestmark = pytest.mark.usefixtures("system")

_SUPERVISING = """
import signal, sys
from pathlib import Path
from workers.supervisor import supervised
with supervised(Path(sys.argv[1]), {"nap": ["sleep", "600"]}) as supervisord:
    print(supervisord.pid, flush=True)
    signal.pause()
"""


def runs(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


@pytest.fixture
def left_behind(home: Path) -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """A supervisord and what it runs, whose `up` was killed."""
    home.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _SUPERVISING, str(home)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as up:
        assert up.stdout is not None
        supervisord = psutil.Process(int(up.stdout.readline()))
        try:
            for _ in range(1000):
                if naps := [one for one in supervisord.children() if one.cmdline() == ["sleep", "600"]]:
                    break
                Event().wait(0.01)
        finally:
            up.send_signal(signal.SIGKILL)
    yield supervisord, naps[0]
    for process in (supervisord, naps[0]):
        if runs(process):
            process.kill()


def test_what_a_killed_up_has_left_running_is_ended(
    home: Path, left_behind: tuple[psutil.Process, psutil.Process]
) -> None:
    assert [runs(process) for process in left_behind] == [True, True]
    end_earlier(home)
    assert [runs(process) for process in left_behind] == [False, False]


def test_what_follows_decisions_leaves_the_processors_to_the_intake_and_the_export(home: Path) -> None:
    home.mkdir()
    ours = os.nice(0)
    later = min(ours + 10, 19)
    expected = {"intake": ours, "http": ours, "exporter": ours, "worker": later, "answerer": later, "beat": later}
    assert expected.keys() == programs().keys()
    commands = {name: ["sleep", str(600 + place)] for place, name in enumerate(expected)}
    names = {tuple(command): name for name, command in commands.items()}
    with supervised(home, commands, log_folder=home) as supervisord:
        for _ in range(1000):
            running = psutil.Process(supervisord.pid).children()
            # Before it is the program it is `nice`, and before that supervisord.
            started = {tuple(one.cmdline()): one.nice() for one in running}
            found = {names[command]: nice for command, nice in started.items() if command in names}
            if len(found) == len(expected):
                break
            Event().wait(0.01)
    assert found == expected
