"""Freshdesk: webhooks of automation rules, with a secret header; answers as replies and notes (API v2)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any, ClassVar
from urllib.parse import quote

from delivery.outcomes import Refused
from desks.api import Api, a_list
from desks.channels import Forbidden
from desks.config import DeskConfig
from desks.desk import Changed, Form, SecretHeaderDesk, Setup
from desks.liquid import LiquidConfig, liquid_template
from desks.notices import Notice, Visibility
from desks.pages import PAGE_SIZE, Listed, moment, next_by_change, zulu
from desks.payload import TICKET_PAYLOAD, asks_for_something, payload_of_fields
from desks.steps import (
    ADDRESSES_HINT,
    AGENTS_ONLY_WARNING,
    KIND_LIST,
    LABELS_HINT,
    NOTE_FIELD,
    OWN_ACCOUNT_HINT,
    SAME_AGAIN_HINT,
    made_up_secret,
    variable,
)
from desks.texts import as_html

_PAGE = 100


class Freshdesk(SecretHeaderDesk):
    """One Freshdesk account."""

    kind = "freshdesk"
    config_type: ClassVar[type[DeskConfig]] = LiquidConfig
    template_fields: ClassVar[Sequence[str]] = ("order", "kind")
    reads_tickets: ClassVar[bool] = True
    escapes_html: ClassVar[bool] = True

    def setup(self) -> Setup:
        template = liquid_template(
            self.config,
            {"ticket": "ticket.id", "requester": "ticket.requester.email"},
            "ticket.{}",
        )
        return Setup(
            headers={self.header: f"the value of {self.config.webhook_secret}"},
            payload=template,
            ticket_payload=TICKET_PAYLOAD.format("{{ticket.id}}"),
            steps=(
                made_up_secret(self.config),
                f"Admin → Workflows → Ticket fields: a single-line text for the order number, {NOTE_FIELD}, and a "
                f"drop-down for the kind of change with the choices {KIND_LIST}.",
                ADDRESSES_HINT,
                LABELS_HINT,
                "In each of these fields, under Behavior for customers: untick Displayed to customers and Customers "
                f"can edit. {AGENTS_ONLY_WARNING}",
                "Write the fields' names (such as cf_order) into `fields` as order, kind, note and so on, and run "
                "this command again.",
                "Profile settings of the agent that writes the answers → View API key: put it into "
                f"{variable(self.config.token, 'token')}. Use {OWN_ACCOUNT_HINT}.",
                "Admin → Workflows → Automations → Ticket updates: a rule for changes of these fields that were not "
                "made by that agent. Action: Trigger webhook, POST, the URL and the header, JSON, content Advanced: "
                "the payload.",
                f"For your agents: {SAME_AGAIN_HINT}",
            ),
        )

    def api(self) -> Api:
        # The API key is the user name, and the password does not matter.
        auth = (self.token or "", "X")
        return Api(f"{self.config.url}/api/v2", timeout=self.config.timeout_seconds, proxy=self.config.proxy, auth=auth)

    def whose_key(self, api: Api) -> str | None:
        return str(api.call("GET", "/agents/me")["contact"]["email"])

    def read_form(self, api: Api, ticket: str) -> Form:
        found = api.call("GET", _path(ticket), query={"include": "requester"})
        known = {
            "ticket": found["id"],
            "requester": found["requester"]["email"],
            "language": _language(api, found["requester_id"]),
        }
        form = payload_of_fields(found["custom_fields"], self.config.fields, **known)
        return Form(form, moment(found["updated_at"]))

    def list_changed(self, api: Api, since: datetime, cursor: str | None) -> Changed:
        def ask(begins: datetime, page: int) -> Sequence[Listed]:
            query = {
                "updated_since": zulu(begins),
                "order_by": "updated_at",
                "order_type": "asc",
                "per_page": str(PAGE_SIZE),
                "page": str(page),
            }
            return [self._listed(one) for one in a_list(api.call("GET", "/tickets", query=query))]

        return Changed(*next_by_change(since, cursor, ask))

    def _listed(self, found: Mapping[str, Any]) -> Listed:
        may_ask = asks_for_something(found["custom_fields"], self.config.fields)
        return Listed(str(found["id"]), moment(found["updated_at"]), may_ask)

    def has_answer(self, api: Api, notice: Notice) -> bool:
        # Always oldest first, so the newest are on the last page.
        for page in count(1):
            query = {"page": str(page), "per_page": str(_PAGE)}
            found = a_list(api.call("GET", f"{_path(notice.ticket)}/conversations", query=query))
            if any(notice.mark in (one.get("body_text") or "") for one in found):
                return True
            if len(found) < _PAGE:
                break
        return False

    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        # Visible, because nothing documents that hidden content is kept, and we look for the mark in `body_text`.
        body = as_html(notice.body, notice.mark)
        if notice.visibility is Visibility.PUBLIC:
            api.call("POST", f"{_path(notice.ticket)}/reply", {"body": body})
        else:
            api.call("POST", f"{_path(notice.ticket)}/notes", {"body": body, "private": True})

    def tag(self, api: Api, notice: Notice) -> None:
        # Freshdesk has no call that adds one tag. Writing replaces all tags, so the existing ones are read first.
        tags = api.call("GET", _path(notice.ticket))["tags"]
        if notice.tag not in tags:
            api.call("PUT", _path(notice.ticket), {"tags": [*tags, notice.tag]})


def _path(ticket: str | None) -> str:
    return f"/tickets/{quote(ticket or '', safe='')}"


def _language(api: Api, requester: int) -> str | None:
    try:
        language = api.call("GET", f"/contacts/{requester:d}").get("language")
    except (Refused, Forbidden):
        # The requester is an agent and not a contact, or the key may not see contacts.
        return None
    return language if isinstance(language, str) else None
