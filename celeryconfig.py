"""Celery's configuration. Celery carries wake-ups only; PostgreSQL holds the work. Each line has its reason."""

import sys
from datetime import UTC, datetime
from typing import Any

from configuration import ConfigurationError
from configuration.broker_url import parse_broker_url
from configuration.settings import settings
from tasks.running.progress import ASKED_SECONDS
from tasks.running.queues import QUEUE_OF, wake_up_queues
from tasks.running.slots import FixedSlotSchedule
from tasks.running.wakeups import EXPIRES_SECONDS, WakeUp

try:
    _settings = settings()
except ConfigurationError as error:
    # Celery would add its whole stack. A wrong setting is told without its value.
    sys.stderr.write(f"celery: {error}\n")
    raise SystemExit(2) from error

# Where the wake-ups go; the same broker that the change requests come in by.
broker_url = _settings.broker_url
broker_use_ssl: dict[str, Any] | bool = False
if broker_url:
    try:
        _broker = parse_broker_url(broker_url)
    except ConfigurationError as _error:
        # Anything else than an exit would be a traceback of Celery's.
        sys.stderr.write(f"celery: {_error}\n")
        raise SystemExit(2) from None
    # The rest of a URL Celery would read in a way of its own, and not verify a certificate.
    broker_url, broker_use_ssl = _broker.without_options, _broker.kombu_tls
# A worker that starts before its broker waits for it, and so does one whose broker restarts.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# What a broker refuses (a queue that somebody else keeps for himself) ends no worker either: it would start again and
# again.
broker_channel_error_retry = True
# A broker that does not answer at all is given up for now, and tried again.
broker_connection_timeout = 5

# Named one by one: a worker without its tasks would take wake-ups and drop them.
imports = (
    "tasks.changes",
    "tasks.effects",
    "tasks.answers",
    "tasks.notes",
    "tasks.tickets",
    "tasks.pulling",
    "tasks.export",
    "tasks.receipts",
    "tasks.heartbeat",
)

_is_redis = (broker_url or "").startswith("redis")
# Named one by one too, each with its type: else RabbitMQ's default decides what they are.
task_queues = wake_up_queues(of_rabbitmq=not _is_redis)
task_routes = {wakeup: {"queue": queue} for wakeup, queue in QUEUE_OF.items()}
# No message is without a route; were one, no queue of another make would be made for it.
task_default_queue = "changes"
# A queue of RabbitMQ may be of a make that Celery does not expect.
worker_consumer = "workers.consumer:Consumer"

# The result of a wake-up is in the tables; a result backend would be a second truth.
task_ignore_result = True
# A wake-up is answered again when its worker died in the middle: every task is idempotent.
task_acks_late = True
# Worker loss counts as a try, so that a task that kills its process does not come back for ever.
task_retry_on_worker_lost = True
# A task that takes minutes hangs, and gives its process back; those that wait for nobody have closer limits.
task_time_limit = 300

# Wake-ups are short, so fetching many at once costs no fairness.
worker_prefetch_multiplier = 16
# After a loss of the broker as many as before: a prefetch of each consumer cannot be raised later (workers/consumer).
worker_enable_prefetch_count_reduction = False
# Nobody looks at other workers' events and heartbeats; without them the broker is left to the wake-ups.
worker_enable_remote_control = False
worker_send_task_events = False
# Our own logging (structlog) is set up by the worker.
worker_hijack_root_logger = False
# A Ctrl-C or SIGTERM gives a running task time to end its transaction.
worker_soft_shutdown_timeout = 10.0

# JSON alone: a pickled message from a shared broker would be code.
accept_content = ["json"]
task_serializer = "json"

if _is_redis:
    broker_transport_options = {
        # Apart from everything else in a shared Redis; the stream of change requests has a name of its own.
        "global_keyprefix": "countermand:celery:",
        # A wake-up whose worker died rings again after a minute, not after the default hour.
        "visibility_timeout": 60,
        # A half-open connection must not hang a publisher for ever.
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
    }
else:
    broker_transport_options = {
        # The publisher learns that the broker has the message.
        "confirm_publish": True,
        # A half-open connection, or a broker that blocks publishers, must not hang one for ever.
        "read_timeout": 30,
        "write_timeout": 30,
    }

# The sweeps: whatever a lost wake-up left lying is found within seconds.
_sweeps = {
    WakeUp.APPLY_CHANGES: _settings.sweep_seconds,
    WakeUp.RESTOCK: _settings.sweep_seconds,
    WakeUp.NOTIFY: _settings.sweep_seconds,
    WakeUp.ANSWER: _settings.sweep_seconds,
    WakeUp.PARK_UNKNOWN: _settings.sweep_seconds * 5,
    WakeUp.READ_TICKETS: _settings.sweep_seconds,
    # Each desk says itself how often its tickets are listed; this is how soon that is noticed after a start.
    WakeUp.LIST_TICKETS: _settings.sweep_seconds * 5,
    WakeUp.EXPORT: _settings.export_seconds,
    WakeUp.READ_INBOXES: _settings.export_seconds,
}
# Each queue is asked for a sign of life too.
_queues = list(dict.fromkeys(route["queue"] for route in task_routes.values()))
# All at once they would take the processors from decisions: each has its share of the shortest interval.
_share = min(_sweeps.values()) / (len(_sweeps) + len(_queues))
beat_schedule = {
    wakeup.value: {
        "task": wakeup,
        "schedule": FixedSlotSchedule(seconds, offset=place * _share),
        "options": {"expires": EXPIRES_SECONDS},
    }
    for place, (wakeup, seconds) in enumerate(_sweeps.items())
} | {
    f"{WakeUp.HEARTBEAT}.{queue}": {
        "task": WakeUp.HEARTBEAT,
        "schedule": FixedSlotSchedule(ASKED_SECONDS, offset=place * _share),
        # For the first time as soon as beat starts.
        "last_run_at": datetime.fromtimestamp(0, UTC),
        "options": {"queue": queue, "expires": EXPIRES_SECONDS},
    }
    for place, queue in enumerate(_queues, len(_sweeps))
}
# The schedule is here and holds no state worth a file of its own; what cannot be rung is told in a line.
beat_scheduler = "workers.beat:Scheduler"
# Beat wakes up at least this often, so that a schedule of seconds is kept.
beat_max_loop_interval = 1
