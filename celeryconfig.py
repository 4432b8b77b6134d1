"""Celery's configuration. Celery carries only wake-ups, PostgreSQL holds the work. Each line gives its reason."""

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
    # Celery would print its whole stack; this reports an invalid setting without its value.
    sys.stderr.write(f"celery: {error}\n")
    raise SystemExit(2) from error

# The broker of the wake-ups, which also receives the change requests.
broker_url = _settings.broker_url
broker_use_ssl: dict[str, Any] | bool = False
if broker_url:
    try:
        _broker = parse_broker_url(broker_url)
    except ConfigurationError as _error:
        # Any other exception would make Celery print a traceback.
        sys.stderr.write(f"celery: {_error}\n")
        raise SystemExit(2) from None
    # Celery would read the options in its own way, and verify no certificate.
    broker_url, broker_use_ssl = _broker.without_options, _broker.kombu_tls
# A worker that starts before its broker waits for it, and so does one whose broker restarts.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# A refusal by the broker (such as a queue in exclusive use) does not end a worker either: it would restart again and
# again.
broker_channel_error_retry = True
# A connection to a broker that does not answer is given up, and tried again.
broker_connection_timeout = 5

# Listed one by one: a worker without its tasks would receive wake-ups and drop them.
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
# Also listed one by one, with their types: else RabbitMQ's default would decide the type.
task_queues = wake_up_queues(of_rabbitmq=not _is_redis)
task_routes = {wakeup: {"queue": queue} for wakeup, queue in QUEUE_OF.items()}
# Every message has a route; if one had none, this keeps Celery from making a queue of another type for it.
task_default_queue = "changes"
# A queue of RabbitMQ may have a type that Celery does not expect.
worker_consumer = "workers.consumer:Consumer"

# The result of a wake-up is in the tables; a result backend would be a second truth.
task_ignore_result = True
# A wake-up is delivered again if its worker dies while the task runs; every task is idempotent.
task_acks_late = True
# Worker loss counts as a try, so that a task that kills its process does not come back for ever.
task_retry_on_worker_lost = True
# Ends a task that hangs, so that its process is free again; tasks that wait for no other system have shorter limits.
task_time_limit = 300

# Wake-ups are short, so fetching many at once costs no fairness.
worker_prefetch_multiplier = 16
# Unchanged after a loss of the broker: a prefetch count per consumer cannot be raised later (workers/consumer).
worker_enable_prefetch_count_reduction = False
# Nothing uses remote control or workers' events; without them the broker carries only wake-ups.
worker_enable_remote_control = False
worker_send_task_events = False
# Our own logging (structlog) is set up by the worker.
worker_hijack_root_logger = False
# A Ctrl-C or SIGTERM gives a running task time to end its transaction.
worker_soft_shutdown_timeout = 10.0

# Only JSON: a pickled message from a shared broker could run code.
accept_content = ["json"]
task_serializer = "json"

if _is_redis:
    broker_transport_options = {
        # Separates our keys from others in a shared Redis; the stream of change requests has its own name.
        "global_keyprefix": "countermand:celery:",
        # A wake-up whose worker died is delivered again after a minute, not after the default hour.
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

# Regular wake-ups: they find work whose own wake-up was lost, within seconds.
_sweeps = {
    WakeUp.APPLY_CHANGES: _settings.sweep_seconds,
    WakeUp.RESTOCK: _settings.sweep_seconds,
    WakeUp.NOTIFY: _settings.sweep_seconds,
    WakeUp.ANSWER: _settings.sweep_seconds,
    WakeUp.PARK_UNKNOWN: _settings.sweep_seconds * 5,
    WakeUp.READ_TICKETS: _settings.sweep_seconds,
    # Each desk configures how often its tickets are listed; this is only how soon that begins after a start.
    WakeUp.LIST_TICKETS: _settings.sweep_seconds * 5,
    WakeUp.EXPORT: _settings.export_seconds,
    WakeUp.READ_INBOXES: _settings.export_seconds,
}
# Each queue also gets heartbeats.
_queues = list(dict.fromkeys(route["queue"] for route in task_routes.values()))
# Spread over the shortest interval: all at once they would take processor time from decisions.
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
# Keeps no schedule file, because the schedule is here, and logs a wake-up that cannot be sent in one line.
beat_scheduler = "workers.beat:Scheduler"
# Beat checks at least this often, so that schedules of seconds are kept.
beat_max_loop_interval = 1
