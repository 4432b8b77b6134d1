"""Gorgias: HTTP integrations with a secret header; answers as messages of a ticket."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, ClassVar
from urllib.parse import quote

from desks.api import Api
from desks.config import DeskConfig
from desks.desk import SecretHeaderDesk, Setup
from desks.notices import Notice, Visibility
from desks.payload import TicketPayload, payload_template, read_payload
from desks.steps import (
    ADDRESSES_TOLD,
    AGENTS_ALONE_TOLD,
    KIND_LAST_TOLD,
    KINDS_TOLD,
    LABELS_TOLD,
    NOTE_TOLD,
    SAME_AGAIN_TOLD,
    made_up_secret,
    variable,
)
from desks.texts import as_html


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
            steps=(
                made_up_secret(self.config),
                f"Settings → Ticket fields → Create field: a text for the order's number, {NOTE_TOLD}, and a dropdown "
                f"for the kind of change with the values {KINDS_TOLD}.",
                ADDRESSES_TOLD,
                LABELS_TOLD,
                "Let agents alone fill these ticket fields in: no rule, flow or contact form may copy into them what a "
                f"customer has written. {AGENTS_ALONE_TOLD}",
                "Write the fields' numbers into `fields` as order, kind, note and so on, and print this again.",
                f"Settings → REST API: put the API key into {variable(self.config.token, 'token')}; `user` is the "
                "e-mail address of its account, in whose name answers are written, and `reply_from` the address of "
                "your e-mail integration.",
                "Settings → HTTP integration → Add: trigger on ticket updates, POST, application/json, the header and "
                "the URL, and the payload as request body.",
                f"Tell your agents: {KIND_LAST_TOLD} {SAME_AGAIN_TOLD}",
            ),
        )

    def api(self) -> Api:
        auth = (self.config.user, self.token or "")
        return Api(f"{self.config.url}/api", timeout=self.config.timeout_seconds, proxy=self.config.proxy, auth=auth)

    def whose_key(self, api: Api) -> str | None:
        # The user is one half of the credentials: an answer proves both.
        api.call("GET", "/account")
        return str(self.config.user)

    def has_answer(self, api: Api, notice: Notice) -> bool:
        query = {"ticket_id": notice.ticket or "", "order_by": "created_datetime:desc", "limit": "100"}
        messages = api.call("GET", "/messages", query=query)["data"]
        return any(message.get("external_id") == _external_id(notice) for message in messages)

    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        message = {
            "via": "api",
            "from_agent": True,
            "sender": {"email": self.config.user},
            "subject": notice.subject,
            "body_text": notice.signed_body,
            "body_html": as_html(notice.signed_body),
            "external_id": _external_id(notice),
        }
        if notice.visibility is Visibility.PUBLIC:
            to_customer = {"from": {"address": self.config.reply_from}, "to": [{"address": customer}]}
            message |= {"channel": "email", "receiver": {"email": customer}, "source": to_customer}
        else:
            message |= {"channel": "internal-note"}
        api.call("POST", f"{_path(notice)}/messages", message)

    def tag(self, api: Api, notice: Notice) -> None:
        api.call("POST", f"{_path(notice)}/tags", {"names": [notice.tag]})


def _external_id(notice: Notice) -> str:
    # Gorgias takes 255 characters.
    return notice.mark if len(notice.mark) <= 255 else sha256(notice.mark.encode()).hexdigest()


def _path(notice: Notice) -> str:
    return f"/tickets/{quote(notice.ticket or '', safe='')}"
