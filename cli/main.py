"""Where the command begins and ends: its sub-commands, and how an error becomes one line and an exit code."""

import errno
import io
import logging
import sys

from rich.console import Console
from sqlalchemy.exc import DBAPIError
from typer import Typer, TyperException

from cli import (
    dead_letters,
    decisions,
    demonstration,
    desks,
    interchanges,
    operations,
    orders,
    partners,
    pulls,
    reprocessing,
    requests,
)
from configuration import ConfigurationError
from configuration.outages import describe_broker_fault
from database.faults import OURS_TO_MEND, Fault, classify, describe_fault, sqlstate
from workers.broker import BROKER_OUTAGES
from workers.embedded import ServiceError
from workers.logs import configure_logs, without_secrets

# Errors of the operating system that are about files, not about a service.
_OF_FILES = (
    errno.ENOSPC,
    errno.EACCES,
    errno.EROFS,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EEXIST,
)

cli = Typer(
    name="countermand",
    help="Cancels orders and corrects addresses until the order goes to the warehouse by EDI, and never after.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.add_typer(orders.cli)
cli.add_typer(requests.cli)
cli.add_typer(dead_letters.cli)
pulls.add_to(desks.cli)
cli.add_typer(desks.cli)
cli.add_typer(partners.cli)
cli.add_typer(interchanges.cli)
for command in (*demonstration.COMMANDS, *operations.COMMANDS, *reprocessing.COMMANDS, *decisions.COMMANDS):
    cli.command()(command)


def main() -> None:
    """Runs the command. Exit 0 done, 1 something to report, 2 wrong usage or bad input, 3 a service is away."""
    # JSON is UTF-8 whatever the terminal's locale is.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    # Standard output belongs to the answer; what a command logs on its way goes to standard error.
    configure_logs(level=logging.WARNING)
    sys.exit(_run())


def _run() -> int:
    try:
        return cli(standalone_mode=False) or 0
    except TyperException as error:
        return _print_error(error.format_message().replace(": Value error, ", ": "), error.exit_code)
    except ServiceError as error:
        return _print_error(str(error), 3)
    except ConfigurationError as error:
        return _print_error(str(error), 2)
    except DBAPIError as error:
        if classify(error) is Fault.PERMANENT:
            return _print_error(f"the database refused a statement: {_first_line(error.orig)}", 3)
        return _print_error(describe_fault(error), 2 if sqlstate(error) in OURS_TO_MEND else 3)
    except OSError as error:
        if error.errno in _OF_FILES:
            return _print_error(f"cannot write or read: {error}", 2)
        return _print_error(f"a service cannot be reached: {_first_line(error)}", 3)
    except BROKER_OUTAGES as error:
        return _print_error(describe_broker_fault(error), 3)
    except KeyboardInterrupt:
        return _print_error("interrupted", 130)


def _first_line(error: object) -> str:
    return str(error).partition("\n")[0]


def _print_error(message: str, code: int) -> int:
    if message:
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"countermand: {without_secrets(message)}", markup=False
        )
    return code
