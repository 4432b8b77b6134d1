"""Celery's consumer, adapted to RabbitMQ queues of other types than Celery expects, and to unusable queues."""

from collections.abc import Callable, Iterator
from itertools import chain, repeat
from time import monotonic, sleep
from typing import Any

import celery.worker.consumer
from celery.worker.state import maybe_shutdown

from configuration.outages import Outage, UnusableQueue, describe_broker_fault
from tasks.running.queues import WakeUpQueue, check_wake_up_queue

# If a connection ends sooner, the broker has refused something.
_STEADY_SECONDS = 5.0


class Consumer(celery.worker.consumer.Consumer):  # type: ignore[misc]  # Celery is untyped
    """Celery's consumer of messages, except that it waits for an unusable queue instead of ending."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._unusable = Outage("cannot listen to the broker's queues, it is tried again", over="listens again")
        self._pauses, self._connected_at = _pauses(), 0.0
        super().__init__(*arguments, **options)

    def connection_for_read(self, heartbeat: float | None = None) -> Any:
        """Connects; with RabbitMQ it returns once each of its queues can be used."""
        connection = super().connection_for_read(heartbeat)
        if connection.transport.driver_type == "amqp":
            # Sets the prefetch count per consumer: quorum queues refuse one per channel, classic queues accept both.
            connection.transport.qos_semantics_matches_spec = lambda _: True
            self._wait_for_queues(connection)
        self._connected_at = monotonic()
        return connection

    def _wait_for_queues(self, connection: Any) -> None:
        queues = [queue for queue in self.app.amqp.queues.consume_from.values() if isinstance(queue, WakeUpQueue)]
        is_logged = False
        for pause in _pauses():
            try:
                for queue in queues:
                    check_wake_up_queue(connection, queue)
            except (UnusableQueue, *connection.channel_errors) as error:
                self._unusable.note(error, describe_broker_fault(error))
                is_logged = True
                _pause(pause)
            else:
                if is_logged:
                    self._unusable.end()
                return

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Pauses if the broker refuses something, such as a queue in exclusive use: Celery would reconnect at once."""
        if monotonic() - self._connected_at < _STEADY_SECONDS:
            self._unusable.note(exc, describe_broker_fault(exc))
            _pause(next(self._pauses))
        else:
            self._pauses = _pauses()
        super().on_connection_error_after_connected(exc)


def _pauses() -> Iterator[float]:
    return chain((1.0, 2.0, 5.0, 10.0, 30.0), repeat(60.0))


def _pause(seconds: float, wait: Callable[[float], None] = sleep) -> None:
    until = monotonic() + seconds
    while monotonic() < until:
        # A worker that receives a stop signal stops within half a second.
        maybe_shutdown()
        wait(0.5)
