"""The change requests as they come over the brokers, in AsyncAPI 3.1."""

from importlib.metadata import version
from typing import Any

from orders.messages import MAX_MESSAGE_BYTES, ChangeMessage
from tools.specs.examples import EVENTS
from tools.specs.schemas import schemas_of
from tools.specs.words import DEAD_LETTERS
from workers.broker import CHANGE_QUEUE, DEAD_LETTER_QUEUE, FIELD, GROUP, QUEUE, STREAM

CONTENT_TYPE = "application/cloudevents+json"

_ABOUT = f"""\
Countermand takes requests to change or cancel orders, as CloudEvents 1.0 in structured JSON, and decides each of
them once.

## The idempotency key

(`source`, `id`) is the key of a request, for ever. The same key with the same `data` is a repeat: the first
decision stands, and nothing happens a second time. The same key with other `data` is a conflict: the first request
stays as it is, the message goes to the dead letters. Whoever does not know whether a request has arrived publishes
it again, as it was. `data` are the same if they are the same JSON, however it is written; null is the same as left
out.

What was accepted is never lost: in the end it is decided, or set aside for a person to see. Requests for one order
are decided in the sequence in which they were accepted.

## Dead letters

A message that cannot be taken is kept with its bytes and a reason, stops nobody, and is acknowledged like any
other. `countermand dead-letters list`, `show`, `repair` and `requeue` are for them.

{{dead_letters}}

## What the schemas cannot say

A message has at most {MAX_MESSAGE_BYTES:,} bytes, in UTF-8 without a byte order mark. Attributes of the event
beside those of ChangeMessage are passed over.
"""

_STREAM = f"""\
A stream of Redis or Valkey. Add an entry with the field `{FIELD}`, which holds the event as JSON:
`XADD {STREAM} * {FIELD} '{{"specversion": "1.0", …}}'`. An entry without that field is a dead letter.

The stream is Countermand's own: its consumer group `{GROUP}` acknowledges an entry after the commit, and
deletes it then. Do not trim it. The server needs an append-only file and `noeviction`.
"""

_QUEUE = f"""\
A quorum queue of RabbitMQ; the body of a message is the event as JSON, neither compressed nor encoded. Publish
to the default exchange with the queue's name as routing key, persistent, and wait for the broker's confirm.
Headers and properties are not looked at.

Countermand declares the queue with the arguments of `x-queue-arguments`. What RabbitMQ itself gives up (since version 4
after 20 deliveries; before, only if a policy sets a `delivery-limit`) it moves to the queue
`{DEAD_LETTER_QUEUE.name}`, and from there the intake takes it to the dead letters. What an older RabbitMQ
has delivered 20 times the intake puts aside itself.
"""


def asyncapi() -> dict[str, Any]:
    """Returns the description of what comes over the brokers."""
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Countermand: change requests",
            "version": version("countermand"),
            "description": _ABOUT.format(dead_letters=_dead_letters()),
            "license": {"name": "MIT"},
            "externalDocs": {"description": "CloudEvents", "url": "https://cloudevents.io"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "stream": _server("redis", 6379, "Redis 6.2 or newer, or Valkey; with TLS as `rediss://`."),
            "queue": {
                **_server("amqp", 5672, "RabbitMQ 3.10 or newer; with TLS as `amqps://`."),
                "protocolVersion": "0.9.1",
            },
        },
        "channels": {
            "stream": _channel(STREAM, "stream", _STREAM, **{"x-field": FIELD, "x-consumer-group": GROUP}),
            "queue": _channel(
                QUEUE, "queue", _QUEUE, bindings=_queue(), **{"x-queue-arguments": dict(CHANGE_QUEUE.queue_arguments)}
            ),
        },
        "operations": {
            "receiveFromStream": _receive("stream", "Acknowledged and deleted after the commit."),
            "receiveFromQueue": {
                **_receive("queue", "Acknowledged after the commit."),
                "bindings": {"amqp": {"ack": True, "bindingVersion": "0.3.0"}},
            },
        },
        "components": {
            "messages": {"changeRequest": _message()},
            "schemas": schemas_of([ChangeMessage]),
            "securitySchemes": {
                "password": {"type": "userPassword", "description": "Where the broker asks for it; part of the URL."}
            },
        },
    }


def _dead_letters() -> str:
    rows = [f"| `{reason}` | {words} |" for reason, words in DEAD_LETTERS.items()]
    return "\n".join(["| reason | when |", "|---|---|", *rows])


def _server(protocol: str, port: int, description: str) -> dict[str, Any]:
    return {
        "host": "{host}:{port}",
        "protocol": protocol,
        "description": f"{description} One of the two, named by `COUNTERMAND_BROKER_URL`.",
        "variables": {"host": {"default": "localhost"}, "port": {"default": str(port)}},
        "security": [{"$ref": "#/components/securitySchemes/password"}],
    }


def _channel(address: str, server: str, description: str, **more: Any) -> dict[str, Any]:
    return {
        "address": address,
        "description": description,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {"changeRequest": {"$ref": "#/components/messages/changeRequest"}},
        **more,
    }


def _queue() -> dict[str, Any]:
    queue = {"name": CHANGE_QUEUE.name, "durable": CHANGE_QUEUE.durable, "exclusive": False, "autoDelete": False}
    return {"amqp": {"is": "queue", "queue": queue, "bindingVersion": "0.3.0"}}


def _receive(channel: str, description: str) -> dict[str, Any]:
    return {
        "action": "receive",
        "summary": "Takes a change request.",
        "description": description,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/changeRequest"}],
    }


def _message() -> dict[str, Any]:
    return {
        "name": "order.change.requested",
        "title": "Change request",
        "summary": "What a customer or an agent wants changed of one order.",
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": "#/components/schemas/ChangeMessage"},
        "examples": [{"name": name, "summary": summary, "payload": event} for name, (summary, event) in EVENTS.items()],
    }
