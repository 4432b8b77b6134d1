"""Six configured desks, and deliveries as each of them sends and signs them; nothing here uses the code under test.

Only `configured` and `a_desk` open the desks by it.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest

from configuration.settings import settings
from desks.desk import Desk, Webhook
from desks.registry import Helpdesks, open_desks
from tasks.helpdesks import helpdesks, store_texts
from tests.builders import EMAIL, a_request

BOT = "countermand@acme.example"

# The desks file of the tests. The secrets are in `<NAME>_SECRET` and `<NAME>_SECRET_PREVIOUS`.
TABLES: dict[str, dict[str, Any]] = {
    "zendesk": {"source": "zendesk:acme", "url": "https://zendesk.example", "user": BOT, "token": "TOKEN"},
    "freshdesk": {"source": "freshdesk:acme"},
    "gorgias": {"source": "gorgias:acme"},
    "zammad": {"source": "zammad:acme"},
    "chatwoot": {"source": "chatwoot:acme"},
    "shop": {"source": "shop", "desk": "standard"},
}
DESKS = tuple(TABLES)
UNSIGNED = ("freshdesk", "gorgias")
# Whose signature says when it was made.
TIMED = ("zendesk", "chatwoot", "shop")

_SHIPPING = ("name", "company", "line1", "line2", "postal_code", "city", "region", "country", "phone")


def a_secret(desk: str, which: str = "current") -> str:
    """Returns a secret of a desk, `current` or `previous`."""
    key = hashlib.sha256(f"{desk} {which}".encode()).digest()
    return f"whsec_{base64.b64encode(key).decode()}" if desk == "shop" else key.hex()


def environment() -> dict[str, str]:
    """Returns the variables that the desks file names."""
    secrets = {
        f"{desk.upper()}_SECRET{suffix}": a_secret(desk, which)
        for desk in DESKS
        for suffix, which in (("", "current"), ("_PREVIOUS", "previous"))
    }
    return {**secrets, "TOKEN": "a-token-of-the-api"}


def desks_file(changes: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Returns the desks file; `changes` are keys of its tables that are to be other than in `TABLES`."""
    lines = []
    for desk, table in TABLES.items():
        variables = {
            "webhook_secret": f"{desk.upper()}_SECRET",
            "webhook_secret_previous": f"{desk.upper()}_SECRET_PREVIOUS",
        }
        lines.append(f"[desks.{desk}]")
        lines += [
            f"{key} = {_toml(value)}" for key, value in {**variables, **table, **(changes or {}).get(desk, {})}.items()
        ]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ "
            + ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {_toml(one)}" for key, one in value.items())
            + " }"
        )
    # TOML writes plain texts, numbers and truth as JSON does.
    return json.dumps(value, ensure_ascii=False)


@contextmanager
def configured(
    monkeypatch: pytest.MonkeyPatch, folder: Path, changes: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[Helpdesks]:
    """Points this process, and those it starts, at the desks file, for the block."""
    file = folder / "desks.toml"
    file.write_text(desks_file(changes))
    for name, value in {**environment(), "COUNTERMAND_DESKS": str(file)}.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    helpdesks.cache_clear()
    store_texts.cache_clear()
    yield helpdesks()
    settings.cache_clear()
    helpdesks.cache_clear()
    store_texts.cache_clear()


def a_desk(folder: Path, name: str, *, environ: Mapping[str, str] | None = None, **changes: Any) -> Desk:
    """Opens one desk; `environ` overrides secrets, `changes` keys of its table."""
    file = folder / "desks.toml"
    file.write_text(desks_file({name: changes}))
    return open_desks(file, {**environment(), **(environ or {})}).desks[name]


# What is sent


def a_payload(desk: str, **asked: Any) -> dict[str, Any]:
    """Returns what a desk sends when a customer asks; `asked` are fields of our template, None leaves one out."""
    given = {
        "ticket": "88121",
        "requester": EMAIL,
        "author": EMAIL,
        "time": "2026-11-23T09:00:00Z",
        "order": "1001",
        "kind": "cancel",
        "note": "Ordered twice",
        **asked,
    }
    given = {name: value for name, value in given.items() if value is not None}
    match desk:
        case "zendesk":
            return given
        case "freshdesk" | "gorgias":
            return _without(given, "author", "time")
        case "zammad":
            return _of_zammad(given)
        case "chatwoot":
            return _of_chatwoot(given)
        case _:
            return _of_a_shop(given)


def _without(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}


def _fields(given: Mapping[str, Any]) -> dict[str, Any]:
    plain = {f"countermand_{name}": given[name] for name in ("order", "kind", "note") if name in given}
    addresses = given.get("addresses", {})
    return plain | {
        f"countermand_{role}_{field}": addresses.get(role, {}).get(field, "")
        for role in ("shipping", "billing")
        for field in _SHIPPING
    }


def _of_zammad(given: Mapping[str, Any]) -> dict[str, Any]:
    ticket = {
        "id": int(given["ticket"]) if given["ticket"].isdecimal() else given["ticket"],
        "number": "66001",
        "state": "open",
        "customer": {"id": 7, "email": given.get("requester"), "active": True},
        "updated_by": {"id": 7, "email": given.get("author")},
        "updated_at": "2026-11-23T09:10:00.000Z",
        **_fields(given),
    }
    article = {
        "id": 9,
        "sender": "Customer",
        "body": "Please cancel",
        "created_by": {"id": 7, "email": given.get("author")},
        "created_at": given.get("time"),
    }
    return {"ticket": ticket, "article": article}


def _of_chatwoot(given: Mapping[str, Any]) -> dict[str, Any]:
    fields = _fields(given)
    moment = datetime.fromisoformat(given.get("time", "2026-11-23T09:00:00Z"))
    return {
        "event": "conversation_updated",
        "id": int(given["ticket"]) if given["ticket"].isdecimal() else given["ticket"],
        "channel": "Channel::Email",
        "contact_inbox": {"id": 7, "source_id": given.get("requester"), "hmac_verified": False},
        "status": "open",
        "labels": [],
        "custom_attributes": fields,
        "additional_attributes": {},
        "meta": {"sender": {"id": 7, "email": given.get("requester"), "type": "contact"}, "hmac_verified": False},
        "messages": [{"id": 5, "content": "Please cancel", "message_type": 0, "private": False}],
        "updated_at": moment.timestamp(),
        "changed_attributes": [
            {"custom_attributes": {"previous_value": {}, "current_value": fields}},
            {"updated_at": {"previous_value": 1, "current_value": 2}},
        ],
    }


def _of_a_shop(given: Mapping[str, Any]) -> dict[str, Any]:
    data = _without(given, "id", "time", "author", "order", "kind")
    event = {"id": given.get("id", "shop-1"), "source": "shop", "time": given.get("time", "2026-11-23T09:00:00Z")}
    return a_request(given["order"], given["kind"], **{"note": None, "requester": None, **data, **event})


# How it is signed


def signature(desk: str, body: bytes, *, secret: str | None = None, stamp: str = "", message_id: str = "msg_1") -> str:
    """Returns the value of the desk's header that proves a body, by the scheme that the desk documents."""
    key = (a_secret(desk) if secret is None else secret).encode()
    signed_at = stamp.encode("latin-1", "replace")
    match desk:
        case "zendesk":
            return base64.b64encode(hmac.digest(key, signed_at + body, "sha256")).decode()
        case "zammad":
            return "sha1=" + hmac.digest(key, body, "sha1").hex()
        case "chatwoot":
            return "sha256=" + hmac.digest(key, signed_at + b"." + body, "sha256").hex()
        case "shop":
            raw_key = base64.b64decode(key.removeprefix(b"whsec_"))
            message = message_id.encode("latin-1", "replace") + b"." + signed_at + b"." + body
            return "v1," + base64.b64encode(hmac.digest(raw_key, message, "sha256")).decode()
        case _:
            return key.decode()


PROOF = {
    "zendesk": "X-Zendesk-Webhook-Signature",
    "freshdesk": "X-Countermand-Secret",
    "gorgias": "X-Countermand-Secret",
    "zammad": "X-Hub-Signature",
    "chatwoot": "X-Chatwoot-Signature",
    "shop": "webhook-signature",
}
STAMP = {
    "zendesk": "X-Zendesk-Webhook-Signature-Timestamp",
    "chatwoot": "X-Chatwoot-Timestamp",
    "shop": "webhook-timestamp",
}


def stamp_of(desk: str, moment: datetime) -> str:
    """Writes a moment as the desk's time header has it; empty for a desk without one."""
    if desk == "zendesk":
        return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return str(int(moment.timestamp())) if desk in TIMED else ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of a desk, signed."""

    desk: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """Where it is sent."""
        return f"/webhooks/{self.desk}"

    def webhook(self, received_at: datetime) -> Webhook:
        """Returns it as the desk's module gets it."""
        return Webhook({name.lower(): value for name, value in self.headers.items()}, self.body, received_at)

    def with_headers(self, **changes: str | None) -> Self:
        """Returns it with other headers, `_` for `-`; None takes one away."""
        changed = {name.replace("_", "-").lower(): value for name, value in changes.items()}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in changed}
        return replace(self, headers=kept | {name: value for name, value in changed.items() if value is not None})


def sign(
    desk: str,
    body: bytes,
    *,
    secret: str | None = None,
    at: datetime | None = None,
    stamp: str | None = None,
    message_id: str = "msg_1",
) -> Delivery:
    """Signs a body: with the current secret and now, unless told otherwise; `stamp` is the time header's own text."""
    signed_at = stamp_of(desk, at or datetime.now(UTC)) if stamp is None else stamp
    headers = {PROOF[desk]: signature(desk, body, secret=secret, stamp=signed_at, message_id=message_id)}
    if desk in STAMP:
        headers[STAMP[desk]] = signed_at
    if desk == "shop":
        headers["webhook-id"] = message_id
    return Delivery(desk, headers, body)


def a_delivery(desk: str, **asked: Any) -> Delivery:
    """Returns a signed delivery of what a customer asks, as `a_payload` has it."""
    return sign(desk, json.dumps(a_payload(desk, **asked)).encode())
