"""Keeping the processes alive: one supervisord for all of them, which starts again whatever dies."""

import configparser
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from workers.errors import CommandError

# A task gets ten seconds to end its slice (celeryconfig); supervisord waits a little longer before it kills.
_STOP_SECONDS = 15
_CONFIG = "supervisord.conf"


def programs(concurrency: int = 2) -> dict[str, list[str]]:
    """Returns the commands of all processes, by name."""
    celery = [sys.executable, "-m", "celery", "-A", "workers.app", "--quiet", "--skip-checks"]
    # Without gossip, mingle and heartbeat a worker talks to its broker about doorbells alone.
    worker = ["worker", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO"]
    return {
        "worker": [*celery, *worker, "-Q", "changes,effects", "-n", "worker@%h", "-c", str(concurrency)],
        # Apart, so that a slow warehouse holds up no decision; one, since a partner gets one interchange at a time.
        "exporter": [*celery, *worker, "-Q", "export", "-n", "exporter@%h", "-c", "1"],
        "beat": [*celery, "beat", "--loglevel=INFO", "--pidfile="],
        "intake": [sys.executable, "-m", "workers.intake"],
        "http": [sys.executable, "-m", "workers.http"],
    }


def end_earlier(home: Path) -> None:
    """Ends the supervisord that a killed `up` of this home has left running, and all it runs.

    Only whoever holds the home's lock may ask: then its own `up` is gone.
    """
    config = str(home / _CONFIG)
    left = [one for one in psutil.process_iter(["cmdline"]) if config in (one.info["cmdline"] or ())]
    for process in left:
        process.terminate()
    _, alive = psutil.wait_procs(left, timeout=_STOP_SECONDS + 10)
    if alive:
        raise CommandError(f"process {alive[0].pid} was left by an earlier run in {home} and does not stop")


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
        stdout=subprocess.DEVNULL if log_folder else sys.stderr,
        # In a session of its own: a terminal's Ctrl-C reaches us, and we pass it on once.
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS + 10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise CommandError(f"supervisord (process {process.pid}) did not stop and was killed") from None


def _config(home: Path, commands: Mapping[str, list[str]], log_folder: Path | None) -> str:
    config = configparser.RawConfigParser()
    config["supervisord"] = {
        "nodaemon": "true",
        "logfile": "/dev/null" if log_folder is None else _escaped(str(log_folder / "supervisord.log")),
        "logfile_maxbytes": "0",
        "pidfile": _escaped(str(home / "supervisord.pid")),
        # Starts and expected ends are said by the processes themselves; a death is a warning.
        "loglevel": "warn" if log_folder is None else "info",
        # Said aloud, so that it does not warn of what was chosen: whoever starts us is who we run as.
        "user": str(os.geteuid()),
    }
    for name, command in commands.items():
        log = "/dev/stdout" if log_folder is None else _escaped(str(log_folder / f"{name}.log"))
        config[f"program:{name}"] = {
            "command": _escaped(" ".join(f'"{word}"' for word in command)),
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
