"""Freshdesk: webhooks of automation rules, with a secret header; answers as replies and notes (API v2)."""

from itertools import count
from typing import Any, ClassVar
from urllib.parse import quote

from desks.api import Api
from desks.config import DeskConfig
from desks.desk import SecretHeaderDesk, Setup
from desks.liquid import LiquidConfig, liquid_template
from desks.notices import Notice, Visibility
from desks.texts import as_html

_PAGE = 100


class Freshdesk(SecretHeaderDesk):
    """One Freshdesk account."""

    kind = "freshdesk"
    config_type: ClassVar[type[DeskConfig]] = LiquidConfig

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
                "Admin → Workflows → Automations → Ticket updates: a rule for changes of your order-change fields that "
                "are not made by the account whose API key we use.",
                "Action: Trigger webhook, POST, the URL and the header, JSON, content Advanced: the payload.",
                "The custom fields' names (such as cf_order) go into `fields`.",
            ),
        )

    def api(self) -> Api:
        # The API key is the user; what stands for the password does not matter.
        auth = (self.token or "", "X")
        return Api(f"{self.config.url}/api/v2", timeout=self.config.timeout_seconds, auth=auth)

    def has_answer(self, api: Api, notice: Notice) -> bool:
        # Oldest first, without a way to turn it round: the newest are on the last page.
        for page in count(1):
            query = {"page": str(page), "per_page": str(_PAGE)}
            found = api.call("GET", f"{_path(notice)}/conversations", query=query)
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
