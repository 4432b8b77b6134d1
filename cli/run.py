"""One process by its name, in the foreground: `python -P -m cli.run worker`.

Nothing is imported from the current folder: Python's `-P` leaves it out, and so does our Celery
loader (`workers.app`). Each process imports what it needs alone.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType

import structlog

from configuration import ConfigurationError
from workers.errors import CommandError
from workers.logs import configure_logs, log_what_is_printed

_log = structlog.get_logger()

# Without gossip, mingle and heartbeat a worker talks to its broker about wake-ups alone.
_WORKER = ("worker", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO")


def _celery(*arguments: str) -> None:
    from workers.app import app

    app.start(["--quiet", "--skip-checks", *arguments])


def _consumer(name: str, queues: str, concurrency: int) -> None:
    _celery(*_WORKER, "-Q", queues, "-n", f"{name}@%h", "-c", str(concurrency))


def _beat(_: int) -> None:
    _celery("beat", "--loglevel=INFO", "--pidfile=")


def _intake(_: int) -> None:
    from workers.intake import main

    main()


def _http(_: int) -> None:
    from web.__main__ import main

    main()


# What runs each process, given how many tasks it may do at once.
PROCESSES: Mapping[str, Callable[[int], None]] = {
    "worker": partial(_consumer, "worker", "changes,effects"),
    # Apart, so that a slow helpdesk holds up no decision.
    "answerer": partial(_consumer, "answerer", "answers,tickets"),
    # Apart, so that a slow warehouse holds up no decision.
    "exporter": partial(_consumer, "exporter", "export"),
    "beat": _beat,
    "intake": _intake,
    "http": _http,
}


def _log_what_ended_us(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _log.critical("the process ends by an error", exc_info=(kind, error, trace))


def main() -> None:
    """Runs the process that the command line names. Exits with 2 when its configuration cannot be used."""
    parser = argparse.ArgumentParser(prog="python -P -m cli.run", description="Runs one process in the foreground.")
    parser.add_argument("name", choices=PROCESSES)
    parser.add_argument("--concurrency", type=int, default=2, help="tasks at once, of those that work off a queue")
    chosen = parser.parse_args()
    configure_logs(process=chosen.name)
    log_what_is_printed()
    sys.excepthook = _log_what_ended_us
    try:
        PROCESSES[chosen.name](chosen.concurrency)
    except (CommandError, ConfigurationError) as error:
        _log.error("cannot start", error=str(error))  # it is the user's to mend
        raise SystemExit(getattr(error, "exit_code", 2)) from error


if __name__ == "__main__":
    main()
