"""Gorgias: HTTP integrations with a secret header; answers as messages of a ticket."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, ClassVar
from urllib.parse import quote

from desks.api import Api, a_list
from desks.channels import Misdelivered
from desks.config import DeskConfig
from desks.desk import Changed, Form, SecretHeaderDesk, Setup
from desks.handover import for_a_colleague
from desks.notices import Notice, Visibility
from desks.pages import PAGE_SIZE, moment
from desks.payload import TICKET_PAYLOAD, TicketPayload, payload_of_fields, payload_template, read_payload
from desks.steps import (
    ADDRESSES_HINT,
    AGENTS_ONLY_WARNING,
    KIND_LAST_HINT,
    KIND_LIST,
    LABELS_HINT,
    NOTE_FIELD,
    SAME_AGAIN_HINT,
    made_up_secret,
    variable,
)
from desks.texts import as_html

# The channels whose customers are answered by e-mail.
_BY_MAIL = ("email", "contact_form", "help-center", "api")
_NOTE: dict[str, Any] = {"channel": "internal-note", "public": False}


class GorgiasConfig(DeskConfig):
    """The table of a Gorgias account, with the agent that writes and the address that replies come from."""

    answering: ClassVar[tuple[str, ...]] = ("url", "token", "user", "reply_from")

    # The agent's e-mail address; `token` is the REST API key of that account.
    user: str | None = None
    # The address of the account's e-mail integration.
    reply_from: str | None = None


class Gorgias(SecretHeaderDesk):
    """One Gorgias account."""

    kind = "gorgias"
    config_type: ClassVar[type[DeskConfig]] = GorgiasConfig
    template_fields: ClassVar[Sequence[str]] = ("order", "kind")
    reads_tickets: ClassVar[bool] = True
    escapes_html: ClassVar[bool] = True

    def payload(self, value: Any) -> TicketPayload:
        """Reads our template without a `time`: Gorgias only knows when the customer last wrote.

        With it, every later message would turn the form on the ticket into a new request, newer than another ticket's.
        """
        return read_payload({**value, "time": ""} if isinstance(value, dict) else value)

    def setup(self) -> Setup:
        template = payload_template(
            {
                "ticket": '"{{ticket.id}}"',
                "requester": '"{{ticket.customer.email}}"',
                "language": '"{{ticket.language}}"',
            },
            # Gorgias parses the body before it fills in the texts, so quotes and line breaks are harmless.
            lambda name: f'"{{{{ticket.custom_fields[{name}].value}}}}"',
            self.config.fields,
        )
        return Setup(
            headers={self.header: f"the value of {self.config.webhook_secret}"},
            payload=template,
            ticket_payload=TICKET_PAYLOAD.format("{{ticket.id}}"),
            steps=(
                made_up_secret(self.config),
                f"Settings → Ticket fields → Create field: a text for the order number, {NOTE_FIELD}, and a dropdown "
                f"for the kind of change with the values {KIND_LIST}.",
                ADDRESSES_HINT,
                LABELS_HINT,
                "Let only agents fill in these ticket fields: no rule, flow or contact form may copy into them what a "
                f"customer has written. {AGENTS_ONLY_WARNING}",
                "Write the fields' numbers into `fields` as order, kind, note and so on, and run this command again.",
                f"Settings → REST API: put the API key into {variable(self.config.token, 'token')}; `user` is the "
                "e-mail address of its account, which writes the answers, and `reply_from` is the address of "
                "your e-mail integration.",
                "Settings → HTTP integration → Add: trigger on ticket updates, POST, application/json, the header and "
                "the URL, and the payload as request body.",
                f"Ask your agents to {KIND_LAST_HINT} {SAME_AGAIN_HINT}",
            ),
        )

    def api(self) -> Api:
        auth = (self.config.user, self.token or "")
        return Api(f"{self.config.url}/api", timeout=self.config.timeout_seconds, proxy=self.config.proxy, auth=auth)

    def whose_key(self, api: Api) -> str | None:
        # The user is one half of the credentials, so a response proves both.
        api.call("GET", "/account")
        return str(self.config.user)

    def read_form(self, api: Api, ticket: str) -> Form:
        found = api.call("GET", _path(ticket))
        # The ticket contains its fields too, but that form is not documented.
        fields = a_list(api.call("GET", f"{_path(ticket)}/custom-fields"))
        values = {str(one["field"]["id"]): one["value"] for one in fields}
        customer = found["customer"] or {}
        known = {"ticket": found["id"], "requester": customer.get("email"), "language": found.get("language")}
        form = payload_of_fields(values, self.config.fields, **known)
        return Form(form, moment(found["updated_datetime"]))

    def list_changed(self, api: Api, since: datetime, cursor: str | None) -> Changed:
        # Gorgias has no filter by time, so this reads the newest changes first, back to `since`.
        query = {"order_by": "updated_datetime:desc", "limit": str(PAGE_SIZE), "trashed": "false"}
        page = api.call("GET", "/tickets", query=query | ({"cursor": cursor} if cursor else {}))
        found = [one for one in page["data"] if moment(one["updated_datetime"]) >= since]
        is_last = len(found) < len(page["data"])
        return Changed([str(one["id"]) for one in found], None if is_last else page["meta"]["next_cursor"])

    def has_answer(self, api: Api, notice: Notice) -> bool:
        query = {"ticket_id": notice.ticket or "", "order_by": "created_datetime:desc", "limit": "100"}
        messages = api.call("GET", "/messages", query=query)["data"]
        return any(message.get("external_id") == _external_id(notice) for message in messages)

    def read_ticket(self, api: Api, notice: Notice) -> Any:
        # A note can be added to any conversation.
        return api.call("GET", _path(notice.ticket)) if notice.visibility is Visibility.PUBLIC else None

    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        is_public = notice.visibility is Visibility.PUBLIC
        if is_public and ticket["channel"] not in _BY_MAIL:
            # An e-mail would not arrive in the conversation where the customer waits, and nothing says through which
            # integration a chat or an SMS continues.
            self._hand_over(api, notice, ticket["channel"])
            return
        to_customer: dict[str, Any] = {
            "channel": "email",
            "public": True,
            "receiver": {"email": customer},
            "source": {"from": {"address": self.config.reply_from}, "to": [{"address": customer}]},
        }
        message = self._message(notice, notice.body) | (to_customer if is_public else _NOTE)
        written = api.call("POST", f"{_path(notice.ticket)}/messages", message)
        if not is_public:
            _expect_note(written)

    def _hand_over(self, api: Api, notice: Notice, channel: str) -> None:
        """Writes the answer as a note, and asks a colleague to send it to the customer by another channel."""
        text = for_a_colleague(notice.body, f"the customer writes by {channel}, and Countermand answers only by e-mail")
        _expect_note(api.call("POST", f"{_path(notice.ticket)}/messages", self._message(notice, text) | _NOTE))

    def _message(self, notice: Notice, text: str) -> dict[str, Any]:
        return {
            "via": "api",
            "from_agent": True,
            "sender": {"email": self.config.user},
            "subject": notice.subject,
            "body_text": text,
            "body_html": as_html(text),
            # The mark. It is not shown.
            "external_id": _external_id(notice),
        }

    def tag(self, api: Api, notice: Notice) -> None:
        api.call("POST", f"{_path(notice.ticket)}/tags", {"names": [notice.tag]})


def _expect_note(written: Mapping[str, Any]) -> None:
    if written.get("public") is not False:
        raise Misdelivered("Gorgias has made the internal note public")


def _external_id(notice: Notice) -> str:
    # Gorgias accepts 255 characters.
    return notice.mark if len(notice.mark) <= 255 else sha256(notice.mark.encode()).hexdigest()


def _path(ticket: str | None) -> str:
    return f"/tickets/{quote(ticket or '', safe='')}"
