"""The HTTP side, in OpenAPI 3.1: webhooks in, decisions to read, whether the process is well."""

from importlib.metadata import version
from typing import Any

from desks.payload import NamedTicket, TicketPayload
from orders.messages import MAX_MESSAGE_BYTES, ChangeMessage
from orders.views import RequestShown
from tools.specs.desks import DESKS, PAYLOADS
from tools.specs.examples import ANSWERS, NAMED_TICKET
from tools.specs.schemas import schemas_of
from web import models

_BODIES = (ChangeMessage, TicketPayload, NamedTicket)
_ANSWERS = (
    models.Accepted,
    models.Noted,
    models.Decision,
    models.Ignored,
    models.DeadLettered,
    models.Error,
    RequestShown,
    models.Health,
    models.Ready,
)
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}}

_ABOUT = """\
Helpdesks bring change requests here, and whoever knows the API token reads what became of them. The same requests come
over a message broker: asyncapi.yaml.

(`source`, `id`) is the key of a request, for ever: what is sent again is answered with the first decision. A request is
kept once 202 is answered. After 408, 500, 503 or no answer at all send it again as it was: that never does harm.

Whatever answers GET answers HEAD as well.
"""


def openapi() -> dict[str, Any]:
    """Returns the description of the HTTP side."""
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Countermand: webhooks and decisions",
            "version": version("countermand"),
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [
            {"url": "http://127.0.0.1:8000", "description": "COUNTERMAND_HTTP_HOST and COUNTERMAND_HTTP_PORT."}
        ],
        "paths": {
            "/webhooks/{desk}": {"post": _receive_webhook()},
            "/requests/{source}/{id}": {"get": _read_request()},
            "/healthz": {"get": _healthz()},
            "/readyz": {"get": _readyz()},
        },
        "components": {
            "schemas": dict(sorted({**schemas_of([*_BODIES, *_ANSWERS]), **PAYLOADS}.items())),
            "securitySchemes": _security_schemes(),
        },
    }


def _receive_webhook() -> dict[str, Any]:
    return {
        "operationId": "receiveWebhook",
        "summary": "Takes what a helpdesk sends.",
        "description": "The body is read as JSON whatever its content type is said to be. What is signed and cannot be "
        "read is kept as a dead letter.",
        "parameters": [
            _in_path("desk", "The desk's name in the desks file.", pattern="^[a-z0-9][a-z0-9-]*$", maxLength=64)
        ],
        # One of them, by the kind of the desk; of each all headers.
        "security": _any_desk(),
        "requestBody": {
            "required": True,
            "description": f"What the kind of desk sends; at most {MAX_MESSAGE_BYTES:,} bytes.",
            "content": {
                "application/json": {
                    "schema": {"anyOf": [_ref(body) for body in _bodies()]},
                    "examples": {
                        **{kind: {"value": one.example} for kind, one in DESKS.items()},
                        "ticket": {"value": NAMED_TICKET},
                    },
                }
            },
        },
        "responses": {
            "200": _answer(
                "Not taken anew: a request that is known with the same data, a delivery that asks for nothing, or one "
                "out of which no change request can be read. That is kept as a dead letter, with a note to colleagues "
                "on its ticket.",
                models.Decision,
                models.Ignored,
                models.DeadLettered,
            ),
            "202": _answer(
                "The request is kept: committed, and to be decided. Or the ticket is, which was named alone: its form "
                "is to be read by the desk's API.",
                models.Accepted,
                models.Noted,
            ),
            "401": _unauthorized(
                "The delivery is not proved to come from this desk, or was signed at another time than now.",
                '`Webhook realm="…"`, with the name of the desk.',
            ),
            "404": _error("No desk of this name is configured."),
            "408": _error("The body did not arrive in time."),
            "409": _error("The key is known with other data. The first request stays; this one is a dead letter."),
            "413": _error(f"The body has more than {MAX_MESSAGE_BYTES:,} bytes."),
            **_faults(),
        },
    }


def _bodies() -> list[str]:
    return list(dict.fromkeys(body for desk in DESKS.values() for body in desk.bodies))


def _any_desk() -> list[dict[str, Any]]:
    # Two that cannot sign have the same scheme.
    distinct = dict.fromkeys(tuple(desk.headers) for desk in DESKS.values())
    return [{scheme: [] for scheme in schemes} for schemes in distinct]


def _read_request() -> dict[str, Any]:
    return {
        "operationId": "readRequest",
        "summary": "Tells what became of a request.",
        "parameters": [
            _in_path("source", "The request's source, percent-encoded: a slash in it as %2F."),
            _in_path("id", "The request's id, percent-encoded: a slash in it as %2F."),
        ],
        "security": [{"apiToken": []}],
        "responses": {
            "200": _answer("The request, its decision, effects and notification.", RequestShown),
            "401": _unauthorized(
                "The API token is missing or another; or none is set, and reading is off.", "`Bearer`."
            ),
            "404": _error("This request is not known."),
            "429": {
                **_error("Too many wrong API tokens come from this address; none of it is looked at for a moment."),
                "headers": _RETRY_AFTER,
            },
            **_faults(),
        },
    }


def _healthz() -> dict[str, Any]:
    return {
        "operationId": "healthz",
        "summary": "Tells that the process lives.",
        "security": [],
        "responses": {"200": _answer("It lives.", models.Health)},
    }


def _readyz() -> dict[str, Any]:
    away = _answer(
        "The database takes no writes, the broker does not answer, or some process does not get on.",
        models.Ready,
    )
    return {
        "operationId": "readyz",
        "summary": "Tells whether this process could do its work, and whether the others get on.",
        "security": [],
        "responses": {
            "200": _answer("The database takes writes, the broker answers, and all processes get on.", models.Ready),
            "503": away,
        },
    }


def _security_schemes() -> dict[str, Any]:
    headers = {
        scheme: {"type": "apiKey", "in": "header", "name": name, "description": description}
        for desk in DESKS.values()
        for scheme, (name, description) in desk.headers.items()
    }
    token = {"type": "http", "scheme": "bearer", "description": "COUNTERMAND_API_TOKEN, or the previous one."}
    return {**headers, "apiToken": token}


def _in_path(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", **schema},
    }


def _answer(description: str, *kinds: type[Any]) -> dict[str, Any]:
    names = [kind.__name__ for kind in kinds]
    return {
        "description": description,
        "content": {
            "application/json": {
                "schema": _ref(names[0]) if len(names) == 1 else {"oneOf": [_ref(name) for name in names]},
                "examples": {name: {"value": ANSWERS[name]} for name in names},
            }
        },
    }


def _unauthorized(description: str, challenge: str) -> dict[str, Any]:
    header = {"description": challenge, "schema": {"type": "string"}}
    return {**_error(description), "headers": {"WWW-Authenticate": header}}


def _error(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(models.Error.__name__)}}}


def _faults() -> dict[str, Any]:
    away = _error(
        "The database is away or too slow, and what was sent may have been taken; or too many requests are being "
        "answered. Retry-After says when to send it again: a repeat does no harm."
    )
    return {
        "500": _error("A fault of ours. Sending it again does no harm."),
        "503": {**away, "headers": _RETRY_AFTER},
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
