"""The Celery app of the worker, the answerer, the exporter and beat; `cli.run` starts each of them."""

import gc
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from celery import Celery
from celery.exceptions import CPendingDeprecationWarning
from celery.loaders.app import AppLoader
from celery.platforms import SecurityWarning
from celery.signals import celeryd_after_setup, celeryd_init, setup_logging, worker_process_init

from configuration import ConfigurationError
from database.transactions import engine, expect_usable
from tasks.helpdesks import helpdesks
from tasks.partners import address_check, partners
from workers.logs import configure_logs, end_with

# Root may be who runs us; with JSON alone accepted, what Celery warns of (pickle) cannot happen.
warnings.filterwarnings("ignore", category=SecurityWarning)


class Loader(AppLoader):  # type: ignore[misc]  # Celery is untyped
    """Imports what is installed: Celery's own looks in the current folder first, where anything may lie."""

    def import_from_cwd(self, module: str, imp: Callable[..., Any] | None = None, package: str | None = None) -> Any:
        """Imports a module, and not from the current folder."""
        return (imp or self.import_module)(module, package=package)


app = Celery("countermand", config_source="celeryconfig", loader=Loader)
app.set_default()


@setup_logging.connect
def _log_our_way(**_: Any) -> None:
    configure_logs()


@celeryd_init.connect
def _refuse_what_cannot_be_used(options: Mapping[str, Any] | None = None, **_: Any) -> None:
    queues = _queues((options or {}).get("queues"))
    try:
        # Each needs the file, and the secrets, of its own work alone.
        if queues != {"export"}:
            helpdesks()
            address_check()
        if not queues or "export" in queues:
            partners()
        expect_usable()
    except ConfigurationError as error:
        # Anything else than an exit would be logged by Celery and passed over.
        end_with(f"worker: {error}", 2)


@celeryd_after_setup.connect
def _say_once_that_the_broker_is_lost(**_: Any) -> None:
    # At every loss of the broker: that a task in hand is not cancelled then is what we want, a delivery least of all.
    # Celery's own filter, which shows it always, is set up with its logging; the later one comes first.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning, message=r"\s*In Celery 5\.1 we introduced")


def _queues(named: str | Iterable[str] | None) -> set[str]:
    return set(named.split(",") if isinstance(named, str) else named or ())


@worker_process_init.connect
def _leave_the_parents_connections(**_: Any) -> None:
    # A forked child must not talk on its parent's sockets, nor close them.
    engine().dispose(close=False)


@worker_process_init.connect
def _collect_no_garbage_among_what_was_imported(**_: Any) -> None:
    # A hundred thousand objects that stay, and were looked through again and again (docs/performance-log.md).
    gc.freeze()
