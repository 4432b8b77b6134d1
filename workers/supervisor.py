"""Keeping the processes alive: one supervisord for all of them, which starts again whatever dies."""

import configparser
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from tasks.database import CONNECTIONS

# A task gets ten seconds to end its slice (celeryconfig); supervisord waits a little longer before it kills.
_STOP_SECONDS = 15
# So that one partner which hangs holds up no other.
_EXPORTERS = 2
# Whoever waits, waits for the intake to decide. What follows decisions, and the sweeps, which look for what was left
# lying, may take what processors that leaves; but not the exporter, for a cut-off does not wait.
_LATER = ["nice", "-n", "10"]
_PRIORITY = {"worker": _LATER, "answerer": _LATER, "beat": _LATER}
_CONFIG, _PID = "supervisord.conf", "supervisord.pid"


def programs(concurrency: int = 2) -> dict[str, list[str]]:
    """Returns the commands of all processes, by name."""
    celery = [sys.executable, "-m", "celery", "-A", "workers.app", "--quiet", "--skip-checks"]
    # Without gossip, mingle and heartbeat a worker talks to its broker about doorbells alone.
    worker = ["worker", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO"]
    return {
        "worker": [*celery, *worker, "-Q", "changes,effects", "-n", "worker@%h", "-c", str(concurrency)],
        # Apart, so that a slow helpdesk holds up no decision; one more, for reading tickets must not hold up answers.
        "answerer": [*celery, *worker, "-Q", "answers,tickets", "-n", "answerer@%h", "-c", str(concurrency + 1)],
        # Apart, so that a slow warehouse holds up no decision.
        "exporter": [*celery, *worker, "-Q", "export", "-n", "exporter@%h", "-c", str(_EXPORTERS)],
        "beat": [*celery, "beat", "--loglevel=INFO", "--pidfile="],
        "intake": [sys.executable, "-m", "workers.intake"],
        "http": [sys.executable, "-m", "workers.http"],
    }


def connections(concurrency: int = 2) -> dict[str, int]:
    """Returns how many connections to the database each program holds at most.

    A process has one, what renders ahead of one that exports another, and HTTP a few.
    """
    return {
        "worker": concurrency,
        "answerer": concurrency + 1,
        "exporter": 2 * _EXPORTERS,
        "beat": 0,
        "intake": 1,
        "http": CONNECTIONS,
    }


def end_earlier(home: Path) -> None:
    """Ends the supervisord that a killed `up` of this home has left running, and all it runs.

    Only whoever holds the home's lock may ask: then its own `up` is gone.
    """
    try:
        session = int((home / _PID).read_text())
    except (FileNotFoundError, ValueError):
        return
    with suppress(psutil.NoSuchProcess):
        supervisord = psutil.Process(session)
        if _belongs_to(supervisord, home, session):
            supervisord.terminate()
            with suppress(psutil.TimeoutExpired):
                supervisord.wait(_STOP_SECONDS + 10)
    _end_session(home, session)


@contextmanager
def supervised(
    home: Path, commands: Mapping[str, list[str]], *, log_folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs these processes, restarted when they die, for the block; ends them in order when it is left.

    They write to our standard error, or each to a file in `log_folder`.
    """
    config = home / _CONFIG
    config.write_text(_config(home, commands, log_folder))
    process = subprocess.Popen(  # noqa: S603  # our own command
        [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config)],
        stdin=subprocess.DEVNULL,
        # Through us: given a file of ours by its name, supervisord would write over what stands in it.
        stdout=subprocess.DEVNULL if log_folder else subprocess.PIPE,
        # In a session of its own: a terminal's Ctrl-C reaches us, and we pass it on once.
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    if process.stdout is not None:
        threading.Thread(target=_pass_on, args=(process.stdout,), daemon=True).start()
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS + 10)
        except subprocess.TimeoutExpired:
            process.kill()
        _end_session(home, process.pid)


def _pass_on(output: IO[bytes]) -> None:
    for line in output:
        # Whoever read our log may have gone: that must not end what writes it.
        with suppress(OSError, ValueError):
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()


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


def _config(home: Path, commands: Mapping[str, list[str]], log_folder: Path | None) -> str:
    config = configparser.RawConfigParser()
    config["supervisord"] = {
        "nodaemon": "true",
        "logfile": "/dev/null" if log_folder is None else _escaped(str(log_folder / "supervisord.log")),
        "logfile_maxbytes": "0",
        "pidfile": _escaped(str(home / _PID)),
        # Starts and expected ends are said by the processes themselves; a death is a warning.
        "loglevel": "warn" if log_folder is None else "info",
        # Said aloud, so that it does not warn of what was chosen: whoever starts us is who we run as.
        "user": str(os.geteuid()),
    }
    for name, command in commands.items():
        words = [*_PRIORITY.get(name, ()), *command]
        log = "/dev/stdout" if log_folder is None else _escaped(str(log_folder / f"{name}.log"))
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
            "stdout_logfile": log,
            "stdout_logfile_maxbytes": "0" if log_folder is None else "10MB",
        }
    # One group, so that all are told to stop at once; supervisord stops groups one after the other.
    config["group:countermand"] = {"programs": ",".join(commands)}
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def _escaped(value: str) -> str:
    # supervisord expands %(name)s in values.
    return value.replace("%", "%%")
