"""Chatwoot: signed account webhooks; answers as messages of a conversation."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from delivery.outcomes import NotDelivered
from desks.api import Api
from desks.config import DeskConfig
from desks.desk import Changed, Desk, Form, Ignored, Setup, Unusable, Webhook
from desks.notices import Notice, Visibility
from desks.payload import TicketPayload, fields_of, payload_of_fields
from desks.signatures import check_any, check_window, hmac_hex, moment_of_seconds
from desks.steps import ADDRESSES_HINT, KIND_LAST_HINT, KIND_LIST, LABELS_HINT, variable
from rules.mailboxes import same_mailbox

_SIGNATURE, _TIMESTAMP = "X-Chatwoot-Signature", "X-Chatwoot-Timestamp"
# Chatwoot returns twenty messages a page; a mark is looked for in the newest hundred.
_PAGES = 5
# Conversations on one page of the filter.
_FILTER_PAGE = 25
# A form is filled in while the conversation is active, or soon after.
_SILENT_BEFORE = timedelta(days=7)
# Channels where visitors claim their own identity, and may write the attributes of their conversation.
_CLAIMING = ("Channel::WebWidget", "Channel::Api")
_EMAIL = "Channel::Email"


class ChatwootConfig(DeskConfig):
    """The table of a Chatwoot account, with its number."""

    answering: ClassVar[tuple[str, ...]] = ("url", "token", "account")

    account: int | None = None
    # True believes every visitor of a website or API inbox.
    trust_unverified_visitors: bool = False


class Chatwoot(Desk):
    """One Chatwoot account (4.13 or newer: older ones do not sign)."""

    kind = "chatwoot"
    config_type: ClassVar[type[DeskConfig]] = ChatwootConfig
    reads_tickets: ClassVar[bool] = True
    asks_by_kind: ClassVar[bool] = True
    signature_headers: ClassVar[Mapping[str, str]] = {
        _SIGNATURE: "`sha256=` and hexadecimal HMAC-SHA256 with the desk's secret over the timestamp, a dot, and the "
        "body.",
        _TIMESTAMP: "When it was signed, in seconds since 1970.",
    }

    def verify(self, webhook: Webhook) -> None:
        """Checks `sha256=` and HMAC-SHA256(secret, timestamp + "." + body) in hexadecimal, and the time."""
        given, signed_at = webhook.header(_SIGNATURE), webhook.header(_TIMESTAMP)
        message = signed_at.encode("latin-1", "replace") + b"." + webhook.body
        expected = [f"sha256={hmac_hex(key.encode(), message)}" for key in self.secrets]
        check_any([given], expected, f"header {_SIGNATURE}")
        check_window(moment_of_seconds(signed_at, _TIMESTAMP), webhook.received_at, self.tolerance)

    def payload(self, value: Any) -> TicketPayload:
        """Reads `conversation_updated`; only a change of the kind asks for something.

        Chatwoot sends each attribute as soon as it is filled in, so an address could be half old and half new.
        """
        try:
            changes = [dict(change) for change in value.get("changed_attributes") or []]
            changed = [change["custom_attributes"] for change in changes if "custom_attributes" in change]
            if value["event"] != "conversation_updated" or not changed:
                raise Ignored("no change of a conversation's attributes")
            attributes = dict(value["custom_attributes"])
            kind = self._kind(attributes)
            if all(self._kind(dict(change["previous_value"] or {})) == kind for change in changed):
                raise Ignored("a change of attributes other than the kind")
            known = {
                "ticket": value["id"],
                "requester": self._requester(value),
                "language": (value.get("additional_attributes") or {}).get("conversation_language"),
                "time": _moment(value.get("updated_at")),
            }
        except (KeyError, TypeError, AttributeError, ValueError):
            raise Unusable(
                "expected Chatwoot's `conversation_updated`, with `id`, `meta.sender`, `custom_attributes` and "
                "`changed_attributes`"
            ) from None
        return payload_of_fields(attributes, self.config.fields, **known)

    def _requester(self, event: Mapping[str, Any]) -> Any:
        """Returns the contact's address; "" if the visitor may have entered it, and may have made the request.

        `hmac_verified` proves the contact's identifier, not its address. The event does not say who changed the
        attributes, so a visitor's choice of the kind looks like an agent's.
        """
        channel, email = event.get("channel"), event["meta"]["sender"].get("email")
        if self.config.trust_unverified_visitors:
            return email
        if not isinstance(channel, str) or channel in _CLAIMING:
            return ""
        # A widget can change a contact's address, but not the address that an e-mail conversation came from.
        source = str((event.get("contact_inbox") or {}).get("source_id"))
        is_changed = channel == _EMAIL and "@" in source and not same_mailbox(source, str(email or ""))
        return "" if isinstance(email, str) and is_changed else email

    def _requester_read(self, found: Mapping[str, Any]) -> Any:
        """Returns the contact's address in a conversation that was read; "" if nothing proves it.

        Unlike the event of a webhook, the API may not say which address an e-mail conversation came from.
        """
        channel = found["meta"]["channel"]
        if channel == _EMAIL and not (found.get("contact_inbox") or self.config.trust_unverified_visitors):
            return ""
        return self._requester({"channel": channel, "meta": found["meta"], "contact_inbox": found.get("contact_inbox")})

    def _kind(self, attributes: Mapping[str, Any]) -> Any:
        return fields_of(attributes, self.config.fields)["kind"]

    def setup(self) -> Setup:
        return Setup(
            headers={},
            payload=None,
            steps=(
                "Settings → Custom attributes → Conversation: a text countermand_order for the order number, a text "
                "countermand_note (a validated order is not cancelled without one), and a list countermand_kind with "
                f"the values {KIND_LIST}.",
                f"{ADDRESSES_HINT} Their keys begin with countermand_ too; name other keys in `fields`.",
                LABELS_HINT,
                f"Ask your agents to {KIND_LAST_HINT}",
                "Note: requests from a website or API inbox always go to a colleague, even with identity validation. A "
                "visitor can claim any address and write these attributes, and Chatwoot does not say who wrote them. "
                "Requests from other inboxes (e-mail, WhatsApp) are decided at once.",
                "Settings → Labels: create the labels countermand-applied, countermand-refused, countermand-unchanged, "
                "countermand-partly_applied, countermand-escalated.",
                "Profile settings of the agent that writes the answers → Access token: put it into "
                f"{variable(self.config.token, 'token')} (a bot's token may not read conversations). `account` is the "
                "number after /app/accounts/ in the URL of your Chatwoot.",
                "Settings → Integrations → Webhooks → Add: the URL and the event conversation_updated. Put its "
                f"secret into {variable(self.config.webhook_secret, 'webhook_secret')}.",
            ),
        )

    def api(self) -> Api:
        headers = {"api_access_token": self.token or ""}
        return Api(
            f"{self.config.url}/api/v1", timeout=self.config.timeout_seconds, proxy=self.config.proxy, headers=headers
        )

    def whose_key(self, api: Api) -> str | None:
        profile = api.call("GET", "/profile")
        if self.config.account not in [account["id"] for account in profile["accounts"]]:
            raise NotDelivered("GET /profile: the key to the API belongs to nobody in the account that `account` names")
        return str(profile["email"])

    def read_form(self, api: Api, ticket: str) -> Form:
        found = api.call("GET", self._path(ticket))
        known = {
            "ticket": found["id"],
            "requester": self._requester_read(found),
            "language": (found.get("additional_attributes") or {}).get("conversation_language"),
        }
        return Form(payload_of_fields(dict(found["custom_attributes"]), self.config.fields, **known))

    def list_changed(self, api: Api, since: datetime, cursor: str | None) -> Changed:
        # No list says when an attribute changed, so this asks for all conversations that have a kind and were active
        # lately. The newest come first, 25 a page.
        page = int(cursor or 1)
        conditions = [
            {
                "attribute_key": self.config.fields.get("kind", "countermand_kind"),
                "filter_operator": "is_present",
                "values": [],
                "query_operator": "AND",
            },
            {
                "attribute_key": "last_activity_at",
                "filter_operator": "is_greater_than",
                "values": [f"{since - _SILENT_BEFORE:%Y-%m-%d}"],
                "query_operator": None,
            },
        ]
        path = f"/accounts/{self.config.account}/conversations/filter"
        found = api.call("POST", path, {"payload": conditions}, query={"page": str(page)})["payload"]
        tickets = [str(one["id"]) for one in found if self._kind(dict(one["custom_attributes"]))]
        return Changed(tickets, str(page + 1) if len(found) >= _FILTER_PAGE else None)

    def has_answer(self, api: Api, notice: Notice) -> bool:
        before: dict[str, str] = {}
        for _ in range(_PAGES):
            messages = api.call("GET", f"{self._path(notice.ticket)}/messages", query=before)["payload"]
            if any(notice.mark in (message.get("content") or "") for message in messages):
                return True
            if not messages:
                break
            before = {"before": str(messages[0]["id"])}
        return False

    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        private = notice.visibility is Visibility.INTERNAL
        # In Markdown this is the definition of a link, which is never shown; elsewhere it is one short line.
        content = f"{notice.signed_body}: #"
        message = {"content": content, "message_type": "outgoing", "private": private}
        api.call("POST", f"{self._path(notice.ticket)}/messages", message)

    def tag(self, api: Api, notice: Notice) -> None:
        # Writing labels replaces all of them, so the existing ones are read first.
        labels = api.call("GET", f"{self._path(notice.ticket)}/labels")["payload"]
        if notice.tag not in labels:
            api.call("POST", f"{self._path(notice.ticket)}/labels", {"labels": [*labels, notice.tag]})

    def _path(self, ticket: str | None) -> str:
        return f"/accounts/{self.config.account}/conversations/{quote(ticket or '', safe='')}"


def _moment(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return ""
