"""The queues that carry wake-ups. On RabbitMQ missing ones are declared and existing ones are used as they are."""

import re
from typing import Any

import kombu
from amqp.exceptions import NotFound, PreconditionFailed

from configuration.outages import UnusableQueue
from tasks.running.wakeups import WakeUp

# Five, so that each kind of work can have processes of its own. workers/supervisor.py gives them to the work that waits
# for other systems: answers, tickets and export.
QUEUE_OF = {
    WakeUp.APPLY_CHANGES: "changes",
    WakeUp.PARK_UNKNOWN: "changes",
    WakeUp.RESTOCK: "effects",
    WakeUp.NOTIFY: "effects",
    WakeUp.EFFECTS: "effects",
    WakeUp.NOTE: "effects",
    WakeUp.ANSWER: "answers",
    WakeUp.READ_TICKETS: "tickets",
    WakeUp.LIST_TICKETS: "tickets",
    WakeUp.EXPORT: "export",
    WakeUp.READ_INBOXES: "export",
}
# Explicit, because the virtual host's default may be a quorum queue or a stream.
_CLASSIC = {"x-queue-type": "classic"}
_DIFFERENCE = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' for (?P<what>queue|exchange) '(?P<of>[^']*)'.*?: "
    r"received (?P<ours>.*) but current is (?P<found>.*)",
    re.DOTALL,
)
_VALUE = re.compile(r"(?:the value )?'(?P<value>.*?)'(?: of type '(?P<type>\w+)')?", re.DOTALL)


class Difference:
    """The first argument in which an existing queue or exchange of RabbitMQ differs from our declaration."""

    def __init__(self, refused: PreconditionFailed) -> None:
        match = _DIFFERENCE.search(str(refused))
        self.name = match["name"] if match else ""
        self.of = f"{match['what']} {match['of']}" if match else ""
        self.ours, self.found = (_value(match[side]) if match else None for side in ("ours", "found"))
        self._refused = refused

    def __str__(self) -> str:
        if not self.name:
            return str(self._refused)
        return f"{self.of} has {self.name} {_shown(self.found)}, expected {_shown(self.ours)}"


def _value(text: str) -> Any:
    match = _VALUE.fullmatch(text.strip())
    if match is None:
        return None
    value, kind = match["value"], match["type"] or "longstr"
    return value if kind == "longstr" or not value.lstrip("-").isdecimal() else int(value)


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


class WakeUpQueue(kombu.Queue):  # type: ignore[misc]  # kombu is untyped
    """A RabbitMQ queue for wake-ups: an existing one is used as it is."""

    def queue_declare(self, nowait: bool = False, passive: bool = False, channel: Any = None) -> Any:
        """Declares the queue unless it exists; returns RabbitMQ's counts of its messages and consumers."""
        channel = channel or self.channel
        if not passive and not _exists(channel, self.name):
            return super().queue_declare(nowait, False, channel)
        return super().queue_declare(nowait, True, channel)


def _exists(channel: Any, name: str) -> bool:
    # On a channel of its own, because RabbitMQ closes the channel when the queue is missing.
    with channel.connection.channel() as own:
        try:
            own.queue_declare(name, passive=True)
        except NotFound:
            return False
    return True


def wake_up_queues(*, of_rabbitmq: bool) -> list[kombu.Queue]:
    """Returns the queues that carry wake-ups."""
    kind, arguments = (WakeUpQueue, _CLASSIC) if of_rabbitmq else (kombu.Queue, None)
    names = dict.fromkeys(QUEUE_OF.values())
    return [kind(name, kombu.Exchange(name), routing_key=name, queue_arguments=arguments) for name in names]


def check_wake_up_queue(connection: Any, queue: kombu.Queue) -> None:
    """Declares a RabbitMQ queue unless it exists. Raises UnusableQueue for one that no worker can consume."""
    with connection.channel() as channel:
        queue(channel).declare()
    with connection.channel() as channel:
        try:
            kombu.Queue.queue_declare(queue(channel))
        except PreconditionFailed as refused:
            difference = Difference(refused)
            if (difference.name, difference.found) == ("x-queue-type", "stream"):
                raise UnusableQueue(
                    f"RabbitMQ's {difference}: it carries nothing but wake-up messages, so delete it with "
                    f"`rabbitmqctl delete_queue {queue.name}`, and it is declared again"
                ) from refused
