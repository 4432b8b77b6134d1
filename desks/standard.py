"""Any sender that speaks Standard Webhooks 1.0.0; its body is the contract's change request itself."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from configuration import ConfigurationError
from desks.api import Api
from desks.config import DeskConfig
from desks.desk import Desk, Setup, Unusable, Webhook
from desks.notices import Notice
from desks.payload import read_json
from desks.signatures import check_any, check_window, hmac_base64, moment_of_seconds, standard_secret

_ID, _TIMESTAMP, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


class StandardConfig(DeskConfig):
    """What the file says of such a sender: `url` is where answers are posted, `token` the secret that signs them."""

    # One sender may speak for several sources: then they are taken as they come.
    any_source: bool = False


class Standard(Desk):
    """One sender that signs as Standard Webhooks 1.0.0 says."""

    kind = "standard"
    config_type: ClassVar[type[DeskConfig]] = StandardConfig

    def __init__(self, name: str, config: Any, environ: Mapping[str, str]) -> None:
        super().__init__(name, config, environ)
        try:
            self._keys = [standard_secret(one) for one in self.secrets]
            self._signing_key = standard_secret(self.token) if self.token else b""
        except ValueError as error:
            raise ConfigurationError(f"desk {name}: a secret {error}") from error

    def verify(self, webhook: Webhook) -> None:
        """Checks base64(HMAC-SHA256(secret, id.timestamp.body)); Standard Webhooks, "Signature scheme"."""
        message_id, signed_at = webhook.header(_ID), webhook.header(_TIMESTAMP)
        # Only version 1 is symmetric; a sender that rotates its secret sends several.
        given = [one for one in webhook.header(_SIGNATURE).split(" ") if one.startswith("v1,")]
        message = f"{message_id}.{signed_at}.".encode("latin-1", "replace") + webhook.body
        check_any(given, [f"v1,{hmac_base64(key, message)}" for key in self._keys], f"header {_SIGNATURE}")
        check_window(moment_of_seconds(signed_at, _TIMESTAMP), webhook.received_at, self.tolerance)

    def read(self, webhook: Webhook) -> bytes:
        """Returns the body as it is. Raises Unusable for another source than ours."""
        if not self.config.any_source:
            event = read_json(webhook.body)
            if not (isinstance(event, dict) and event.get("source") == self.source):
                raise Unusable(f"`source` must be {self.source}, as the desks file has it for desk {self.name}")
        return webhook.body

    def setup(self) -> Setup:
        example = {
            "specversion": "1.0",
            "type": "order.change.requested",
            "source": self.source,
            "id": "a key that is new for each request and the same for its repeats",
            "time": "2026-11-23T09:00:00Z",
            "data": {"order": "536365", "kind": "cancel", "note": "why", "requester": "the customer's e-mail address"},
        }
        return Setup(
            headers={
                _ID: "an id of the delivery",
                _TIMESTAMP: "seconds since 1970",
                _SIGNATURE: f"v1, and the signature with {self.config.webhook_secret}; a library of Standard Webhooks",
            },
            payload=json.dumps(example, indent=2),
            steps=("Sign with any library of https://www.standardwebhooks.com.",),
        )

    def api(self) -> Api:
        return Api(self.config.url, timeout=self.config.timeout_seconds)

    def has_answer(self, api: Api, notice: Notice) -> bool:
        # There is no ticket to look at: the receiver knows a repeat by its `webhook-id`, the notice's mark.
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
        signature = hmac_base64(self._signing_key, f"{notice.mark}.{signed_at}.".encode() + content)
        headers = {
            "Content-Type": "application/json",
            _ID: notice.mark,
            _TIMESTAMP: signed_at,
            _SIGNATURE: f"v1,{signature}",
        }
        api.call("POST", "", content=content, headers=headers)

    def tag(self, api: Api, notice: Notice) -> None:
        """Does nothing: the tag is in the answer."""
