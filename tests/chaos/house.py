"""The house under test: `countermand up` with all its processes, its partners and its desks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGSTOP
from typing import Any

import psutil

from tests.chaos.servers import a_port, ended, signal_group
from tests.chaos.traffic import TICKETS
from tests.helpdesks.server import serving
from tests.helpdesks.standard import FakeStandard
from tests.helpdesks.zendesk import FakeZendesk
from tests.integration.sftp_server import PASSWORD, USER, Warehouse
from tests.partners_file import north, south, toml
from tests.processes import await_that, countermand, environment, running_up
from workers.supervisor import programs

PATIENCE_SECONDS = 300.0
# Of requests for unknown orders: the contract's quarter of an hour is too long to wait for.
_UNKNOWN_SECONDS = "15"


class SouthernWarehouse(Warehouse):
    """The SFTP server, which does not compare what it gets with one certain file."""

    def watch(self, step: str) -> None:
        """Does nothing."""


class House:
    """A running Countermand between the servers, two warehouses and two desks."""

    def __init__(self, folder: Path, database_url: str, broker_url: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.port = a_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.zendesk, self.standard = FakeZendesk(), FakeStandard()
        for ticket in TICKETS:
            self.zendesk.fill_in(str(ticket))
        self.warehouse = SouthernWarehouse(folder / "south")
        # A link, so that something else can be put there at one stroke.
        self.north, self.real_north = folder / "north", folder / "real-north"
        self.real_north.mkdir()
        self.north.symlink_to(self.real_north)
        self.env = environment(
            COUNTERMAND_HOME=str(self.home),
            COUNTERMAND_DATABASE_URL=database_url,
            COUNTERMAND_BROKER_URL=broker_url,
            COUNTERMAND_PARTNERS=str(folder / "partners.toml"),
            COUNTERMAND_DESKS=str(folder / "desks.toml"),
            COUNTERMAND_PATIENCE_SECONDS=_UNKNOWN_SECONDS,
            COUNTERMAND_EXPORT_SECONDS="1",
            COUNTERMAND_SWEEP_SECONDS="0.5",
            SOUTH_PASSWORD=PASSWORD,
            **self.zendesk.environment,
            **self.standard.environment,
        )

    @contextmanager
    def running(self) -> Iterator["House"]:
        """Runs everything for the block."""
        with ExitStack() as stack:
            stack.enter_context(self.warehouse.running())
            desks = {
                desk.kind: {**desk.table(stack.enter_context(serving(desk))), "timeout_seconds": 2}
                for desk in (self.zendesk, self.standard)
            }
            (self.folder / "desks.toml").write_text(_toml("desks", desks), "utf-8")
            (self.folder / "partners.toml").write_text(toml(self._partners()), "utf-8")
            self._up = psutil.Process(stack.enter_context(running_up(self.home, self.port, self.env)).pid)
            yield self

    def _partners(self) -> dict[str, dict[str, Any]]:
        sftp = {
            "host": "127.0.0.1",
            "port": self.warehouse.port,
            "user": USER,
            "password": "SOUTH_PASSWORD",
            "host_key": self.warehouse.host_key,
            "outbox": self.warehouse.drop.name,
            "timeout_seconds": 3,
        }
        few = {"orders_per_interchange": 8}
        return {"NORTH": north(self.north, **few), "SOUTH": south(self.folder, directory=None, sftp=sftp, **few)}

    def kill(self, program: str, last_words: Callable[[], None] = lambda: None) -> None:
        """Kills a program with all that it started; its supervisor starts it again.

        It stands still before: from then on nothing of it begins anything, and `last_words` can look at what it holds.
        """
        process = self._await(program)
        signal_group(process, SIGSTOP)
        last_words()
        signal_group(process, SIGKILL)
        await_that(lambda: ended(process), f"{program} is dead", PATIENCE_SECONDS)

    def kill_a_child(self, program: str) -> None:
        """Kills one process of a worker's pool, where it has one by now."""
        with suppress(psutil.Error):
            for child in self._await(program).children()[:1]:
                child.kill()

    def everything_runs(self) -> bool:
        """True if every program runs."""
        return all(self._find(program) for program in programs())

    def run(self, *arguments: str) -> tuple[int, str]:
        """Runs a command; returns its exit code and what it printed."""
        done = countermand(*arguments, env=self.env)
        return done.returncode, done.stdout.decode() or done.stderr.decode()

    def _await(self, program: str) -> psutil.Process:
        await_that(lambda: self._find(program) is not None, f"{program} runs", PATIENCE_SECONDS)
        return self._find(program) or self._await(program)

    def _find(self, program: str) -> psutil.Process | None:
        [supervisord, *_] = self._up.children() or [self._up]
        command = programs()[program][1:]
        for process in supervisord.children():
            with suppress(psutil.Error):
                # Only a program's own process is a child of the supervisor; before its exec it is called otherwise.
                if process.cmdline()[1:] == command:
                    return process
        return None


def _toml(name: str, tables: dict[str, dict[str, Any]]) -> str:
    return toml(tables).replace("[partners.", f"[{name}.")
