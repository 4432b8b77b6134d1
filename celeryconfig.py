"""Celery's configuration. Celery carries doorbells only; PostgreSQL holds the work. Each line has its reason."""

from tasks.doorbells import EXPIRES_SECONDS, Doorbell
from tasks.settings import settings
from tasks.sweeps import Slots

_settings = settings()

# Where the doorbells go; the same broker that the change requests come in by.
broker_url = _settings.broker_url
# A worker that starts before its broker waits for it, and so does one whose broker restarts.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# A broker that does not answer at all is given up for now, and tried again.
broker_connection_timeout = 5

# Named one by one: a worker without its tasks would take doorbells and drop them.
imports = ("tasks.changes", "tasks.effects", "tasks.answers", "tasks.notes", "tasks.export", "tasks.receipts")

# Four queues, so that each kind of work can be given processes of its own (workers/supervisor.py does so for what
# waits for others: the answers and the export).
task_routes = {
    Doorbell.APPLY_CHANGES: {"queue": "changes"},
    Doorbell.PARK_UNKNOWN: {"queue": "changes"},
    Doorbell.RESTOCK: {"queue": "effects"},
    Doorbell.NOTIFY: {"queue": "effects"},
    Doorbell.EFFECTS: {"queue": "effects"},
    Doorbell.NOTE: {"queue": "effects"},
    Doorbell.ANSWER: {"queue": "answers"},
    Doorbell.EXPORT: {"queue": "export"},
    Doorbell.READ_INBOXES: {"queue": "export"},
}

# The result of a doorbell is in the tables; a result backend would be a second truth.
task_ignore_result = True
# A doorbell is answered again when its worker died in the middle: every task is idempotent.
task_acks_late = True
# Worker loss counts as a try, so that a task that kills its process does not come back for ever.
task_retry_on_worker_lost = True
# A task that takes minutes hangs, and gives its process back; those that wait for nobody have closer limits.
task_time_limit = 300

# Doorbells are short, so fetching many at once costs no fairness.
worker_prefetch_multiplier = 16
# Nobody looks at other workers' events and heartbeats; without them the broker is left to the doorbells.
worker_enable_remote_control = False
worker_send_task_events = False
# Our own logging (structlog) is set up by the worker.
worker_hijack_root_logger = False
# A Ctrl-C or SIGTERM gives a running task time to end its transaction.
worker_soft_shutdown_timeout = 10.0

# JSON alone: a pickled message from a shared broker would be code.
accept_content = ["json"]
task_serializer = "json"

if (broker_url or "").startswith("redis"):
    broker_transport_options = {
        # Apart from everything else in a shared Redis; the stream of change requests has a name of its own.
        "global_keyprefix": "countermand:celery:",
        # A doorbell whose worker died rings again after a minute, not after the default hour.
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

# The sweeps: whatever a lost doorbell left lying is found within seconds.
_sweeps = {
    Doorbell.APPLY_CHANGES: _settings.sweep_seconds,
    Doorbell.RESTOCK: _settings.sweep_seconds,
    Doorbell.NOTIFY: _settings.sweep_seconds,
    Doorbell.ANSWER: _settings.sweep_seconds,
    Doorbell.PARK_UNKNOWN: _settings.sweep_seconds * 5,
    Doorbell.EXPORT: _settings.export_seconds,
    Doorbell.READ_INBOXES: _settings.export_seconds,
}
# All at once they would take the processors from decisions: each has its share of the shortest interval.
_share = min(_sweeps.values()) / len(_sweeps)
beat_schedule = {
    doorbell.value: {
        "task": doorbell,
        "schedule": Slots(seconds, offset=place * _share),
        "options": {"expires": EXPIRES_SECONDS},
    }
    for place, (doorbell, seconds) in enumerate(_sweeps.items())
}
# The schedule is here and holds no state worth a file of its own; what cannot be rung is told in a line.
beat_scheduler = "workers.beat:Scheduler"
# Beat wakes up at least this often, so that a schedule of seconds is kept.
beat_max_loop_interval = 1
