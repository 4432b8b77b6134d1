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
    """What the file says of a Gorgias: also in whose name we write, and from which address replies come."""

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
        """Reads our template without a `time`: all that Gorgias could tell is when the customer wrote last.

        Every later word of his would make the form that stands there a new request, newer than another ticket's.
        """
        return read_payload({**value, "time": ""} if isinstance(value, dict) else value)

    def setup(self) -> Setup:
        template = payload_template(
            {
                "ticket": '"{{ticket.id}}"',
                "requester": '"{{ticket.customer.email}}"',
                "language": '"{{ticket.language}}"',
            },
            # Gorgias keeps the body as JSON and fills in its texts: quotes and line breaks survive.
            lambda name: f'"{{{{ticket.custom_fields[{name}].value}}}}"',
            self.config.fields,
        )
        return Setup(
            headers={self.header: f"the value of {self.config.webhook_secret}"},
            payload=template,
            ticket_payload=TICKET_PAYLOAD.format("{{ticket.id}}"),
            steps=(
                made_up_secret(self.config),
                f"Settings → Ticket fields → Create field: a text for the order's number, {NOTE_FIELD}, and a dropdown "
                f"for the kind of change with the values {KIND_LIST}.",
                ADDRESSES_HINT,
                LABELS_HINT,
                "Let agents alone fill these ticket fields in: no rule, flow or contact form may copy into them what a "
                f"customer has written. {AGENTS_ONLY_WARNING}",
                "Write the fields' numbers into `fields` as order, kind, note and so on, and print this again.",
                f"Settings → REST API: put the API key into {variable(self.config.token, 'token')}; `user` is the "
                "e-mail address of its account, in whose name answers are written, and `reply_from` the address of "
                "your e-mail integration.",
                "Settings → HTTP integration → Add: trigger on ticket updates, POST, application/json, the header and "
                "the URL, and the payload as request body.",
                f"Tell your agents: {KIND_LAST_HINT} {SAME_AGAIN_HINT}",
            ),
        )

    def api(self) -> Api:
        auth = (self.config.user, self.token or "")
        return Api(f"{self.config.url}/api", timeout=self.config.timeout_seconds, proxy=self.config.proxy, auth=auth)

    def whose_key(self, api: Api) -> str | None:
        # The user is one half of the credentials: an answer proves both.
        api.call("GET", "/account")
        return str(self.config.user)

    def read_form(self, api: Api, ticket: str) -> Form:
        found = api.call("GET", _path(ticket))
        # The ticket has its fields too, in a shape that no document shows.
        fields = a_list(api.call("GET", f"{_path(ticket)}/custom-fields"))
        values = {str(one["field"]["id"]): one["value"] for one in fields}
        customer = found["customer"] or {}
        known = {"ticket": found["id"], "requester": customer.get("email"), "language": found.get("language")}
        form = payload_of_fields(values, self.config.fields, **known)
        return Form(form, moment(found["updated_datetime"]))

    def list_changed(self, api: Api, since: datetime, cursor: str | None) -> Changed:
        # There is no list of what has changed since: the newest changes come first, as far back as that.
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
        # A note stands beside any conversation.
        return api.call("GET", _path(notice.ticket)) if notice.visibility is Visibility.PUBLIC else None

    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        is_public = notice.visibility is Visibility.PUBLIC
        if is_public and ticket["channel"] not in _BY_MAIL:
            # An e-mail would reach him as well, but not in the conversation in which he waits, and from nowhere else is
            # it known by which of its integrations a chat or an SMS goes on.
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
        text = for_a_colleague(notice.body, f"he writes by {channel}, and Countermand answers by e-mail alone")
        _expect_note(api.call("POST", f"{_path(notice.ticket)}/messages", self._message(notice, text) | _NOTE))

    def _message(self, notice: Notice, text: str) -> dict[str, Any]:
        return {
            "via": "api",
            "from_agent": True,
            "sender": {"email": self.config.user},
            "subject": notice.subject,
            "body_text": text,
            "body_html": as_html(text),
            # The mark, which is not shown.
            "external_id": _external_id(notice),
        }

    def tag(self, api: Api, notice: Notice) -> None:
        api.call("POST", f"{_path(notice.ticket)}/tags", {"names": [notice.tag]})


def _expect_note(written: Mapping[str, Any]) -> None:
    if written.get("public") is not False:
        raise Misdelivered("Gorgias has made the internal note public")


def _external_id(notice: Notice) -> str:
    # Gorgias takes 255 characters.
    return notice.mark if len(notice.mark) <= 255 else sha256(notice.mark.encode()).hexdigest()


def _path(ticket: str | None) -> str:
    return f"/tickets/{quote(ticket or '', safe='')}"
