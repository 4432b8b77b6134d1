"""The Celery app of the worker, the answerer, the exporter and beat; `cli.run` starts each of them."""

import gc
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from celery import Celery
from celery.exceptions import CPendingDeprecationWarning
from celery.loaders.app import AppLoader
from celery.platforms import SecurityWarning
from celery.signals import celeryd_after_setup, celeryd_init, setup_logging, worker_process_init

from configuration import ConfigurationError
from configuration.outages import describe_broker_fault
from database.transactions import engine, expect_usable
from tasks.helpdesks import helpdesks
from tasks.partners import address_check, partners
from workers.logs import configure_logs, end_with

# Celery warns of pickled messages when it runs as root; we accept only JSON.
warnings.filterwarnings("ignore", category=SecurityWarning)


class Loader(AppLoader):  # type: ignore[misc]  # Celery is untyped
    """Imports installed modules only: Celery's own loader looks first in the current folder, whatever it holds."""

    def import_from_cwd(self, module: str, imp: Callable[..., Any] | None = None, package: str | None = None) -> Any:
        """Imports a module, but not from the current folder."""
        return (imp or self.import_module)(module, package=package)


# What kombu logs when the connection ends before it could acknowledge or reject a message.
_LOST_ACKNOWLEDGEMENTS = ("Couldn't ack %r, reason:%r", "Couldn't reject %r, reason: %r")
_DELIVERED_AGAIN = "a wake-up could not be acknowledged, the broker delivers it again: %s"

app = Celery("countermand", config_source="celeryconfig", loader=Loader)
app.set_default()


@setup_logging.connect
def _use_our_logging(**_: Any) -> None:
    configure_logs()


@celeryd_init.connect
def _refuse_what_cannot_be_used(options: Mapping[str, Any] | None = None, **_: Any) -> None:
    queues = _queues((options or {}).get("queues"))
    try:
        # Each process has only the files and secrets that its own work needs.
        if queues != {"export"}:
            helpdesks()
            address_check()
        if not queues or "export" in queues:
            partners()
        expect_usable()
    except ConfigurationError as error:
        # Celery would log any other exception and carry on.
        end_with(f"worker: {error}", 2)


@celeryd_after_setup.connect
def _log_a_lost_broker_briefly(**_: Any) -> None:
    # At every loss Celery warns that it does not cancel running tasks; we do not want it to, least of all during a
    # delivery. This filter must come after the one that Celery adds with its logging, because the latest filter wins.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning, message=r"\s*In Celery 5\.1 we introduced")
    logging.getLogger("celery.worker.request").addFilter(shorten_lost_acknowledgement)


def shorten_lost_acknowledgement(record: logging.LogRecord) -> bool:
    """Turns kombu's critical traceback for a lost acknowledgement into a warning of one line.

    Nothing is lost: the broker delivers the wake-up again.
    """
    error = record.exc_info[1] if record.exc_info else None
    if record.msg in _LOST_ACKNOWLEDGEMENTS and isinstance(error, Exception):
        record.msg, record.args = _DELIVERED_AGAIN, (describe_broker_fault(error),)
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        record.exc_info = record.exc_text = None
    return True


def _queues(named: str | Iterable[str] | None) -> set[str]:
    return set(named.split(",") if isinstance(named, str) else named or ())


@worker_process_init.connect
def _leave_the_parents_connections(**_: Any) -> None:
    # A forked child must neither use nor close its parent's sockets.
    engine().dispose(close=False)


@worker_process_init.connect
def _exempt_imports_from_garbage_collection(**_: Any) -> None:
    # Else the collector would visit the hundred thousand objects of imported modules again and again
    # (docs/performance-log.md).
    gc.freeze()
