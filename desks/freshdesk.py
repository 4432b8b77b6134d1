"""Freshdesk: webhooks of automation rules, with a secret header; answers as replies and notes (API v2)."""

from collections.abc import Sequence
from itertools import count
from typing import Any, ClassVar
from urllib.parse import quote

from desks.api import Api, a_list
from desks.config import DeskConfig
from desks.desk import SecretHeaderDesk, Setup
from desks.liquid import LiquidConfig, liquid_template
from desks.notices import Notice, Visibility
from desks.steps import (
    ADDRESSES_TOLD,
    AGENTS_ALONE_TOLD,
    KINDS_TOLD,
    LABELS_TOLD,
    NOTE_TOLD,
    OWN_ACCOUNT_TOLD,
    SAME_AGAIN_TOLD,
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
            steps=(
                made_up_secret(self.config),
                f"Admin → Workflows → Ticket fields: a single-line text for the order's number, {NOTE_TOLD}, and a "
                f"drop-down for the kind of change with the choices {KINDS_TOLD}.",
                ADDRESSES_TOLD,
                LABELS_TOLD,
                "In each of these fields, under Behavior for customers: neither Displayed to customers nor Customers "
                f"can edit. {AGENTS_ALONE_TOLD}",
                "Write the fields' names (such as cf_order) into `fields` as order, kind, note and so on, and print "
                "this again.",
                "Profile settings of the agent in whose name answers are written → View API key: put it into "
                f"{variable(self.config.token, 'token')}. Let it be {OWN_ACCOUNT_TOLD}.",
                "Admin → Workflows → Automations → Ticket updates: a rule for changes of these fields that are not "
                "made by that agent. Action: Trigger webhook, POST, the URL and the header, JSON, content Advanced: "
                "the payload.",
                f"Tell your agents: {SAME_AGAIN_TOLD}",
            ),
        )

    def api(self) -> Api:
        # The API key is the user; what stands for the password does not matter.
        auth = (self.token or "", "X")
        return Api(f"{self.config.url}/api/v2", timeout=self.config.timeout_seconds, proxy=self.config.proxy, auth=auth)

    def whose_key(self, api: Api) -> str | None:
        return str(api.call("GET", "/agents/me")["contact"]["email"])

    def has_answer(self, api: Api, notice: Notice) -> bool:
        # Oldest first, without a way to turn it round: the newest are on the last page.
        for page in count(1):
            query = {"page": str(page), "per_page": str(_PAGE)}
            found = a_list(api.call("GET", f"{_path(notice)}/conversations", query=query))
            if any(notice.mark in (one.get("body_text") or "") for one in found):
                return True
            if len(found) < _PAGE:
                break
        return False

    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        body = as_html(notice.signed_body)
        if notice.visibility is Visibility.PUBLIC:
            api.call("POST", f"{_path(notice)}/reply", {"body": body})
        else:
            api.call("POST", f"{_path(notice)}/notes", {"body": body, "private": True})

    def tag(self, api: Api, notice: Notice) -> None:
        # Freshdesk has no call that adds one tag: all are written, so those that are there are read first.
        tags = api.call("GET", _path(notice))["tags"]
        if notice.tag not in tags:
            api.call("PUT", _path(notice), {"tags": [*tags, notice.tag]})


def _path(notice: Notice) -> str:
    return f"/tickets/{quote(notice.ticket or '', safe='')}"
