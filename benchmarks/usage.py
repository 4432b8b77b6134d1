"""What each process has used, read from /proc by psutil."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

SERVICES = {"postgres": "postgres", "valkey-server": "valkey"}


def cpu_seconds(processes: Iterable[tuple[str, psutil.Process]]) -> dict[str, float]:
    """Returns the CPU seconds of these so far, by name, with those of children that have ended."""
    used: dict[str, float] = {}
    for name, process in processes:
        # One may just have ended; its parent has them from then on.
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            # As a backend whose client has gone.
            ended = times.children_user + times.children_system
            used[name] = used.get(name, 0.0) + times.user + times.system + ended
    return used


def per_1000(now: Mapping[str, float], before: Mapping[str, float], count: int) -> dict[str, float]:
    """Returns what each has used since `before`, for each 1,000 of `count`."""
    return {name: (used - before[name]) / count * 1000 for name, used in now.items()}


def services(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Yields the processes of the services that this one has started in a home, by the names of their programs."""
    for process in psutil.Process().children():
        if process.name() in SERVICES and Path(process.cwd()).is_relative_to(home.resolve()):
            for one in (process, *process.children(recursive=True)):
                yield SERVICES[process.name()], one


class Processes:
    """The processes of a measurement by the names of their programs, and the services that they use."""

    def __init__(self, commands: Mapping[str, list[str]], supervisord: psutil.Process, home: Path) -> None:
        self._names = {tuple(command): name for name, command in commands.items()}
        self._supervisord = supervisord
        self._home = home

    def cpu_seconds(self) -> dict[str, float]:
        """Returns the CPU seconds of each program so far, with those of its children."""
        return cpu_seconds(self._all())

    def cpu_per_1000(self, before: Mapping[str, float], requests: int) -> dict[str, float]:
        """Returns the CPU seconds of each program per 1,000 requests since `before`."""
        return per_1000(self.cpu_seconds(), before, requests)

    def rss_megabytes(self) -> dict[str, float]:
        """Returns the resident memory of each program, but for PostgreSQL: its processes share most of theirs."""
        resident: dict[str, float] = {}
        for name, process in self._all():
            if name != "postgres":
                resident[name] = resident.get(name, 0.0) + process.memory_info().rss / 2**20
        return resident

    @contextmanager
    def suspended(self, name: str) -> Iterator[None]:
        """Holds a program (not its children) for the block: what is published meanwhile is a backlog."""
        process = next(process for program, process in self._all() if program == name)
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    def _all(self) -> Iterator[tuple[str, psutil.Process]]:
        yield "supervisord", self._supervisord
        for process in self._supervisord.children(recursive=True):
            name = self._names.get(tuple(process.cmdline()))
            if name is not None:
                yield name, process
        yield from services(self._home)
