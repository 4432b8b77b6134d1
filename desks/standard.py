"""Any sender of Standard Webhooks 1.0.0; its body is the change request of the contract."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from configuration import ConfigurationError, secret
from desks.api import Api
from desks.config import DeskConfig
from desks.desk import Desk, Setup, Unusable, Webhook
from desks.notices import Notice
from desks.payload import read_json
from desks.signatures import check_any, check_window, hmac_base64, moment_of_seconds, standard_secret
from desks.steps import variable
from rules.model import Kind

_ID, _TIMESTAMP, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


class StandardConfig(DeskConfig):
    """The table of such a sender: answers are posted to `url` and signed with the secret in `token`."""

    # True for a sender that forwards the requests of several sources.
    any_source: bool = False


class Standard(Desk):
    """One sender that signs by Standard Webhooks 1.0.0."""

    kind = "standard"
    config_type: ClassVar[type[DeskConfig]] = StandardConfig
    signature_headers: ClassVar[Mapping[str, str]] = {
        _ID: "An id of the delivery.",
        _TIMESTAMP: "When it was signed, in seconds since 1970.",
        _SIGNATURE: "Standard Webhooks 1.0.0: `v1,` and base64 of HMAC-SHA256 with the desk's secret over id, "
        "timestamp and body, with dots between them. Of several, with spaces between them, one must fit.",
    }

    def __init__(self, name: str, config: Any, environ: Mapping[str, str]) -> None:
        super().__init__(name, config, environ)
        keys = {
            variable: _key(name, variable, value)
            for variable in (config.webhook_secret, config.webhook_secret_previous, config.token)
            if (value := secret(environ, variable))
        }
        self._keys = [keys[one] for one in (config.webhook_secret, config.webhook_secret_previous) if one in keys]
        self._signing_key = keys.get(config.token, b"")

    def verify(self, webhook: Webhook) -> None:
        """Checks base64(HMAC-SHA256(secret, id.timestamp.body)); Standard Webhooks, "Signature scheme"."""
        message_id, signed_at = webhook.header(_ID), webhook.header(_TIMESTAMP)
        # Only version 1 is symmetric; a sender that rotates its secret sends several.
        given = [one for one in webhook.header(_SIGNATURE).split(" ") if one.startswith("v1,")]
        message = f"{message_id}.{signed_at}.".encode("latin-1", "replace") + webhook.body
        check_any(given, [f"v1,{hmac_base64(key, message)}" for key in self._keys], f"header {_SIGNATURE}")
        check_window(moment_of_seconds(signed_at, _TIMESTAMP), webhook.received_at, self.tolerance)

    def read(self, webhook: Webhook) -> bytes:
        """Returns the body unchanged. Raises Unusable if its source is not the desk's."""
        if not self.config.any_source:
            event = read_json(webhook.body)
            if not (isinstance(event, dict) and event.get("source") == self.source):
                raise Unusable(f"`source` must be {self.source}, as in the desks file for desk {self.name}")
        return webhook.body

    def setup(self) -> Setup:
        example = {
            "specversion": "1.0",
            "type": "order.change.requested",
            "source": self.source,
            "id": "an id that is new for each request and the same for its repeats",
            "time": "2026-11-23T09:00:00Z",
            "data": {
                "order": "536365",
                "kind": "cancel",
                "ticket": "your own id for the customer's question",
                "note": "the reason",
                "requester": "the customer's e-mail address",
            },
        }
        return Setup(
            headers={
                _ID: "an id of the delivery",
                _TIMESTAMP: "seconds since 1970",
                _SIGNATURE: f"v1, and the signature with {self.config.webhook_secret}, by any library",
            },
            payload=json.dumps(example, indent=2),
            steps=(
                'Generate a secret with `echo "whsec_$(openssl rand -base64 32)"`, and put it into '
                f"{variable(self.config.webhook_secret, 'webhook_secret')}, here and at the sender.",
                "Let the sender post to the URL, signed with any library from https://www.standardwebhooks.com. `kind` "
                f"is one of: {', '.join(Kind)}. openapi.json has the whole schema.",
                "To receive the answers at `url`, signed in the same way, generate another secret and put it into "
                f"{variable(self.config.token, 'token')}. Only requests with a `ticket` are answered there.",
            ),
        )

    def api(self) -> Api:
        return Api(self.config.url, timeout=self.config.timeout_seconds, proxy=self.config.proxy)

    def is_ticket(self, ticket: str) -> bool:
        return True

    def has_answer(self, api: Api, notice: Notice) -> bool:
        # There is no ticket to read: the receiver recognises a repeat by its `webhook-id`, the notice's mark.
        return False

    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        answer = {
            "type": "order.change.answered",
            "timestamp": datetime.now(UTC).isoformat(),
            "data": {
                "source": notice.source,
                "id": notice.request_id,
                "ticket": notice.ticket,
                "outcome": notice.outcome,
                "visibility": notice.visibility,
                "subject": notice.subject,
                "body": notice.body,
                "tag": notice.tag,
            },
        }
        content = json.dumps(answer, ensure_ascii=False).encode()
        signed_at = str(int(datetime.now(UTC).timestamp()))
        # Standard Webhooks: the signed id must not contain a full stop.
        delivery = notice.mark.replace(".", "%2E")
        signature = hmac_base64(self._signing_key, f"{delivery}.{signed_at}.".encode() + content)
        headers = {
            "Content-Type": "application/json",
            _ID: delivery,
            _TIMESTAMP: signed_at,
            _SIGNATURE: f"v1,{signature}",
        }
        api.call("POST", "", content=content, headers=headers, reads_json=False)

    def tag(self, api: Api, notice: Notice) -> None:
        """Does nothing: the tag is in the answer."""


def _key(desk: str, variable: str, value: str) -> bytes:
    try:
        return standard_secret(value)
    except ValueError as error:
        raise ConfigurationError(f"desk {desk}: {variable} {error}") from error
