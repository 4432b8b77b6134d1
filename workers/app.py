"""The Celery app: `celery -A workers.app worker`, `celery -A workers.app beat`."""

import warnings
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import celeryd_init, setup_logging, worker_process_init

from tasks.database import engine
from workers.errors import UsageError
from workers.helpdesks import find_helpdesks
from workers.logs import configure_logs

# Root may be who runs us; with JSON alone accepted, what Celery warns of (pickle) cannot happen.
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("countermand", config_source="celeryconfig")
app.set_default()


@setup_logging.connect
def _log_our_way(**_: Any) -> None:
    configure_logs()


@celeryd_init.connect
def _refuse_a_desks_file_that_cannot_be_used(**_: Any) -> None:
    try:
        find_helpdesks()
    except UsageError as error:
        # Anything else than an exit would be logged by Celery and passed over.
        raise SystemExit(f"worker: {error}") from error


@worker_process_init.connect
def _leave_the_parents_connections(**_: Any) -> None:
    # A forked child must not talk on its parent's sockets, nor close them.
    engine().dispose(close=False)
