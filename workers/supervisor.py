"""Keeps the processes alive: one supervisord for all of them, which restarts those that die.

It writes their output to files, so that a slow reader of our log cannot hold them up.
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

# A task gets ten seconds to finish (celeryconfig); supervisord waits a little longer before it kills the process.
_STOP_SECONDS = 15
# So that a partner that does not answer does not hold up the others.
_EXPORTERS = 2
# The intake's decisions come first. Effects and periodic checks use the processor time that it leaves; not so the
# exporter, because cut-offs must be kept.
_LATER = ["nice", "-n", "10"]
_PRIORITY = {"worker": _LATER, "answerer": _LATER, "beat": _LATER}
_CONFIG = "supervisord.conf"
# The name under which supervisord's own output is shown.
SUPERVISORD = "supervisord"


def programs(concurrency: int = 2) -> dict[str, list[str]]:
    """Returns the commands of all processes, by name."""
    # One more answerer, because reading tickets must not hold up answers.
    at_once = {"worker": concurrency, "answerer": concurrency + 1, "exporter": _EXPORTERS}
    # Without -P Python would import from the current folder.
    run = [sys.executable, "-P", "-m", "cli.run"]
    return {
        name: [*run, name, *(["--concurrency", str(at_once[name])] if name in at_once else [])]
        for name in ("worker", "answerer", "exporter", "beat", "intake", "http")
    }


def connections(concurrency: int = 2) -> dict[str, int]:
    """Returns how many connections to the database each program holds at most.

    Each process has one; each exporter has another for prerendering, and HTTP has a few.
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
    """Ends the supervisord that a killed `up` of this home has left running, and its processes.

    The caller must hold the home's lock, which proves that the earlier `up` is gone.
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
    """A supervisord and its processes, run as `account` if there is one."""

    def __init__(self, home: Path, config: str, log_folder: Path, account: Account | None) -> None:
        self._home, self._log_folder, self._account = home, log_folder, account
        self._config = home / _CONFIG
        self._config.write_text(config)
        self._process: subprocess.Popen[bytes] | None = None
        # Set once supervisord has ended.
        self.ended = threading.Event()

    @property
    def pid(self) -> int:
        """The id of the running supervisord, or of the last one."""
        assert self._process is not None  # noqa: S101  # for the type checker
        return self._process.pid

    def start(self) -> None:
        """Starts it, after ending processes that an earlier one has left."""
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
        """Returns the variables that name a home which libraries may read: root's is closed to the account."""
        if not self._account:
            return {}
        return {"HOME": str(self._home), "USER": self._account.name, "LOGNAME": self._account.name}

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self.ended.set()

    def stop(self) -> None:
        """Ends its processes and then supervisord itself."""
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
    """Runs these processes during the block and restarts those that die; ends them in order afterwards.

    Each writes to its own file in `log_folder` (default: `log` in the home). `without` names the environment variables
    that each process does not get.
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
    """Opens a log file without following links, because another user may own its folder."""
    return os.open(name, flags | os.O_NOFOLLOW, 0o600)


def _end_session(home: Path, session: int) -> None:
    """Ends the remaining processes of a supervisord's session: it may have died before its children."""
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
        # Process ids are reused; the environment identifies our processes.
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
        # The processes log starts and normal ends themselves; a crash is a warning.
        "loglevel": "warn",
    }
    if is_root():
        # Explicit, else supervisord warns that it runs as root.
        config["supervisord"]["user"] = str(account.uid if account else 0)
    for name, command in commands.items():
        hidden = [word for variable in sorted(without.get(name, ())) for word in ("-u", variable)]
        words = [*(["env", *hidden] if hidden else []), *_PRIORITY.get(name, ()), *command]
        config[f"program:{name}"] = {
            "command": _escaped(" ".join(f'"{word}"' for word in words)),
            # Names the sessions in the database.
            "environment": f'PGAPPNAME="countermand-{name}"',
            "autorestart": "true",
            "startsecs": "1",
            # An outage of the broker or the database must not make it give up, even after an hour.
            "startretries": "1000000",
            "stopwaitsecs": str(_STOP_SECONDS),
            # Killing a worker also kills its pool.
            "stopasgroup": "false",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": _escaped(str(log_of(log_folder, name))),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "1",
        }
    # One group, so that all stop at the same time; supervisord stops groups one after the other.
    config["group:countermand"] = {"programs": ",".join(commands)}
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def _escaped(value: str) -> str:
    # supervisord expands %(name)s in values.
    return value.replace("%", "%%")
