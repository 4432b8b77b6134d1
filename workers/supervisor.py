"""Keeping the processes alive: one supervisord for all of them, which starts again whatever dies.

It writes what they print to files, so that nobody who reads our log, or does not, can hold them up.
"""

import configparser
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from database.transactions import CONNECTIONS
from workers.accounts import Account, is_root
from workers.signals import uninterrupted

# A task gets ten seconds to end its slice (celeryconfig); supervisord waits a little longer before it kills.
_STOP_SECONDS = 15
# So that one partner which hangs holds up no other.
_EXPORTERS = 2
# Whoever waits, waits for the intake to decide. What follows decisions, and the sweeps, which look for what was left
# lying, may take what processors that leaves; but not the exporter, for a cut-off does not wait.
_LATER = ["nice", "-n", "10"]
_PRIORITY = {"worker": _LATER, "answerer": _LATER, "beat": _LATER}
_CONFIG = "supervisord.conf"
# What supervisord itself says, beside what each program does.
SUPERVISORD = "supervisord"


def programs(concurrency: int = 2) -> dict[str, list[str]]:
    """Returns the commands of all processes, by name."""
    # One answerer more, for reading tickets must not hold up answers.
    at_once = {"worker": concurrency, "answerer": concurrency + 1, "exporter": _EXPORTERS}
    # Without -P Python would import from the folder that we were started in.
    run = [sys.executable, "-P", "-m", "cli.run"]
    return {
        name: [*run, name, *(["--concurrency", str(at_once[name])] if name in at_once else [])]
        for name in ("worker", "answerer", "exporter", "beat", "intake", "http")
    }


def connections(concurrency: int = 2) -> dict[str, int]:
    """Returns how many connections to the database each program holds at most.

    A process has one, what renders ahead of one that exports another, and HTTP a few.
    """
    return {
        "worker": concurrency,
        "answerer": concurrency + 1,
        "exporter": 2 * _EXPORTERS,
        "beat": 1,
        "intake": 1,
        "http": CONNECTIONS,
    }


def log_of(folder: Path, program: str) -> Path:
    """Returns the file that a program's output goes to."""
    return folder / f"{program}.log"


def end_earlier(home: Path) -> None:
    """Ends the supervisord that a killed `up` of this home has left running, and all it runs.

    Only whoever holds the home's lock may ask: then its own `up` is gone.
    """
    try:
        session = int(_pid_file(home).read_text())
    except (FileNotFoundError, ValueError):
        return
    with suppress(psutil.NoSuchProcess):
        supervisord = psutil.Process(session)
        if _belongs_to(supervisord, home, session):
            supervisord.terminate()
            with suppress(psutil.TimeoutExpired):
                supervisord.wait(_STOP_SECONDS + 10)
    _end_session(home, session)


def _pid_file(home: Path) -> Path:
    return home / "log" / "supervisord.pid"


class Supervisor:
    """A supervisord and what it runs, as the user of `account` if there is one."""

    def __init__(self, home: Path, config: str, log_folder: Path, account: Account | None) -> None:
        self._home, self._log_folder, self._account = home, log_folder, account
        self._config = home / _CONFIG
        self._config.write_text(config)
        self._process: subprocess.Popen[bytes] | None = None
        # Set once supervisord has ended.
        self.ended = threading.Event()

    @property
    def pid(self) -> int:
        """The process that runs now, or ran last."""
        assert self._process is not None  # noqa: S101  # for the type checker
        return self._process.pid

    def start(self) -> None:
        """Starts it, after ending what an earlier one has left."""
        if self._process is not None:
            _end_session(self._home, self._process.pid)
        with uninterrupted(), open(log_of(self._log_folder, SUPERVISORD), "ab", opener=_of_ours) as output:
            if self._account:
                os.fchown(output.fileno(), self._account.uid, self._account.gid)
            self.ended.clear()
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # In a session of its own: a terminal's Ctrl-C reaches us, and we pass it on once.
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._at_home()},
                **(self._account.options() if self._account else {}),
            )
        threading.Thread(target=self._await_end, args=(self._process,), daemon=True).start()

    def _at_home(self) -> dict[str, str]:
        """Libraries look for files of theirs in the user's home: not in ours, where they may not look."""
        if not self._account:
            return {}
        return {"HOME": str(self._home), "USER": self._account.name, "LOGNAME": self._account.name}

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self.ended.set()

    def stop(self) -> None:
        """Ends it, and all that it runs, in order."""
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        if not self.ended.wait(_STOP_SECONDS + 10):
            process.kill()
            self.ended.wait()
        _end_session(self._home, process.pid)


@contextmanager
def supervised(
    home: Path,
    commands: Mapping[str, list[str]],
    *,
    log_folder: Path | None = None,
    without: Mapping[str, Collection[str]] | None = None,
    account: Account | None = None,
) -> Iterator[Supervisor]:
    """Runs these processes, restarted when they die, for the block; ends them in order when it is left.

    Each writes to a file of its own in `log_folder` (`log` in the home). `without` names, for each, the variables of
    our environment that it does not get.
    """
    folder = log_folder or home / "log"
    for made in (folder, _pid_file(home).parent):
        made.mkdir(mode=0o700, exist_ok=True)
    supervisor = Supervisor(home, _config(home, commands, folder, without or {}, account), folder, account)
    try:
        supervisor.start()
        yield supervisor
    finally:
        supervisor.stop()


def _of_ours(name: str, flags: int) -> int:
    """Opens a file in a folder of whoever owns that, through no link."""
    return os.open(name, flags | os.O_NOFOLLOW, 0o600)


def _end_session(home: Path, session: int) -> None:
    """Ends what is left of the session that a supervisord of this home began: it may have died before its children."""
    left = [process for process in psutil.process_iter() if _belongs_to(process, home, session)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(left, timeout=_STOP_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _belongs_to(process: psutil.Process, home: Path, session: int) -> bool:
    try:
        # Numbers are used again; a process of ours says whose it is.
        return os.getsid(process.pid) == session and process.environ().get("COUNTERMAND_HOME") == str(home.resolve())
    except (psutil.Error, OSError):
        return False


def _config(
    home: Path,
    commands: Mapping[str, list[str]],
    log_folder: Path,
    without: Mapping[str, Collection[str]],
    account: Account | None,
) -> str:
    config = configparser.RawConfigParser()
    config["supervisord"] = {
        "nodaemon": "true",
        "silent": "true",
        "logfile": _escaped(str(log_of(log_folder, SUPERVISORD))),
        "logfile_maxbytes": "1MB",
        "logfile_backups": "1",
        "pidfile": _escaped(str(_pid_file(home))),
        # Starts and expected ends are said by the processes themselves; a death is a warning.
        "loglevel": "warn",
    }
    if is_root():
        # Said aloud, so that it does not warn of what was chosen.
        config["supervisord"]["user"] = str(account.uid if account else 0)
    for name, command in commands.items():
        hidden = [word for variable in sorted(without.get(name, ())) for word in ("-u", variable)]
        words = [*(["env", *hidden] if hidden else []), *_PRIORITY.get(name, ()), *command]
        config[f"program:{name}"] = {
            "command": _escaped(" ".join(f'"{word}"' for word in words)),
            # By this the database knows whose a session is.
            "environment": f'PGAPPNAME="countermand-{name}"',
            "autorestart": "true",
            "startsecs": "1",
            # A broker or database that is away for an hour must not make it give up.
            "startretries": "1000000",
            "stopwaitsecs": str(_STOP_SECONDS),
            # A worker that is killed takes its pool with it.
            "stopasgroup": "false",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": _escaped(str(log_of(log_folder, name))),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "1",
        }
    # One group, so that all are told to stop at once; supervisord stops groups one after the other.
    config["group:countermand"] = {"programs": ",".join(commands)}
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def _escaped(value: str) -> str:
    # supervisord expands %(name)s in values.
    return value.replace("%", "%%")
