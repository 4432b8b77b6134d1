"""Chatwoot: signed account webhooks; answers as messages of a conversation."""

from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote

from desks.api import Api
from desks.config import DeskConfig
from desks.desk import Desk, Ignored, Setup, Unusable, Webhook
from desks.notices import Notice, Visibility
from desks.payload import TicketPayload, payload_of_fields
from desks.signatures import check_any, check_window, hmac_hex, moment_of_seconds

_SIGNATURE, _TIMESTAMP = "X-Chatwoot-Signature", "X-Chatwoot-Timestamp"
# Chatwoot hands messages out twenty at a time; the mark is under the newest ones or it is nowhere.
_PAGES = 5


class ChatwootConfig(DeskConfig):
    """What the file says of a Chatwoot: also the number of the account."""

    answering: ClassVar[tuple[str, ...]] = ("url", "token", "account")

    account: int | None = None


class Chatwoot(Desk):
    """One Chatwoot account (4.13 or newer: older ones do not sign)."""

    kind = "chatwoot"
    config_type: ClassVar[type[DeskConfig]] = ChatwootConfig

    def verify(self, webhook: Webhook) -> None:
        """Checks `sha256=` and HMAC-SHA256(secret, timestamp + "." + body) in hexadecimal, and the time."""
        given, signed_at = webhook.header(_SIGNATURE), webhook.header(_TIMESTAMP)
        message = signed_at.encode("latin-1", "replace") + b"." + webhook.body
        expected = [f"sha256={hmac_hex(key.encode(), message)}" for key in self.secrets]
        check_any([given], expected, f"header {_SIGNATURE}")
        check_window(moment_of_seconds(signed_at, _TIMESTAMP), webhook.received_at, self.tolerance)

    def payload(self, value: Any) -> TicketPayload:
        """Reads `conversation_updated`; only a change of the conversation's attributes asks for something."""
        try:
            changed = {name for change in value.get("changed_attributes") or [] for name in change}
            if value["event"] != "conversation_updated" or "custom_attributes" not in changed:
                raise Ignored("no change of a conversation's attributes")
            known = {
                "ticket": value["id"],
                "requester": value["meta"]["sender"].get("email"),
                "language": (value.get("additional_attributes") or {}).get("conversation_language"),
                "time": _moment(value.get("updated_at")),
            }
            attributes = dict(value["custom_attributes"])
        except (KeyError, TypeError, AttributeError, ValueError):
            raise Unusable(
                "expected Chatwoot's `conversation_updated`, with `id`, `meta.sender`, `custom_attributes` and "
                "`changed_attributes`"
            ) from None
        payload = payload_of_fields(attributes, self.config.fields, **known)
        if payload is None:
            raise Ignored("a conversation without an order change")
        return payload

    def setup(self) -> Setup:
        return Setup(
            headers={},
            payload=None,
            steps=(
                "Settings → Integrations → Webhooks → Add: the URL, event conversation_updated; put the webhook's "
                f"secret into the variable {self.config.webhook_secret}.",
                "Settings → Custom attributes → Conversation: countermand_order, countermand_kind, countermand_note, "
                "countermand_shipping_name and so on, or any other names, given in `fields`.",
                "Settings → Labels: make the labels countermand-applied, countermand-refused, countermand-unchanged, "
                "countermand-partly_applied, countermand-escalated.",
                "`token` is the access token of an agent (Profile settings); one of a bot may not read conversations.",
            ),
        )

    def api(self) -> Api:
        url = f"{self.config.url}/api/v1/accounts/{self.config.account}"
        return Api(url, timeout=self.config.timeout_seconds, headers={"api_access_token": self.token or ""})

    def has_answer(self, api: Api, notice: Notice) -> bool:
        before: dict[str, str] = {}
        for _ in range(_PAGES):
            messages = api.call("GET", f"{_path(notice)}/messages", query=before)["payload"]
            if any(notice.mark in (message.get("content") or "") for message in messages):
                return True
            if not messages:
                break
            before = {"before": str(messages[0]["id"])}
        return False

    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        private = notice.visibility is Visibility.INTERNAL
        message = {"content": notice.signed_body, "message_type": "outgoing", "private": private}
        api.call("POST", f"{_path(notice)}/messages", message)

    def tag(self, api: Api, notice: Notice) -> None:
        # Writing labels replaces them all, so those that are there are read first.
        labels = api.call("GET", f"{_path(notice)}/labels")["payload"]
        if notice.tag not in labels:
            api.call("POST", f"{_path(notice)}/labels", {"labels": [*labels, notice.tag]})


def _path(notice: Notice) -> str:
    return f"/conversations/{quote(notice.ticket or '', safe='')}"


def _moment(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return ""
