"""Zendesk: signed webhooks from triggers; answers as comments of a ticket (Ticketing API v2)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from desks.api import Api
from desks.channels import Refused
from desks.config import DeskConfig
from desks.desk import Desk, Setup, Webhook
from desks.liquid import LiquidConfig, liquid_template
from desks.notices import Notice, Visibility
from desks.signatures import check_any, check_window, hmac_base64, moment_of_iso
from desks.steps import (
    ADDRESSES_TOLD,
    AGENTS_ALONE_TOLD,
    KINDS_TOLD,
    LABELS_TOLD,
    NOTE_TOLD,
    OWN_ACCOUNT_TOLD,
    variable,
)
from desks.texts import as_html

_SIGNATURE = "X-Zendesk-Webhook-Signature"
_TIMESTAMP = "X-Zendesk-Webhook-Signature-Timestamp"


class ZendeskConfig(LiquidConfig):
    """What the file says of a Zendesk: also the agent in whose name we write."""

    answering: ClassVar[tuple[str, ...]] = ("url", "token", "user")

    # The agent's e-mail address; `token` is an API token of that account.
    user: str | None = None


class Zendesk(Desk):
    """One Zendesk account."""

    kind = "zendesk"
    config_type: ClassVar[type[DeskConfig]] = ZendeskConfig
    template_fields: ClassVar[Sequence[str]] = ("order", "kind")
    escapes_html: ClassVar[bool] = True
    signature_headers: ClassVar[Mapping[str, str]] = {
        _SIGNATURE: "base64 of HMAC-SHA256 with the desk's secret over the timestamp and the body, nothing between "
        "them.",
        _TIMESTAMP: "When it was signed, ISO 8601 with a zone.",
    }

    def verify(self, webhook: Webhook) -> None:
        """Checks base64(HMAC-SHA256(secret, timestamp + body)); Zendesk, "Verifying webhook authenticity"."""
        given, signed_at = webhook.header(_SIGNATURE), webhook.header(_TIMESTAMP)
        message = signed_at.encode("latin-1", "replace") + webhook.body
        check_any([given], [hmac_base64(key.encode(), message) for key in self.secrets], f"header {_SIGNATURE}")
        check_window(moment_of_iso(signed_at, _TIMESTAMP), webhook.received_at, self.tolerance)

    def setup(self) -> Setup:
        template = liquid_template(
            self.config,
            {
                "ticket": "ticket.id",
                "requester": "ticket.requester.email",
                "language": "ticket.requester.locale",
                "author": "current_user.email",
                "time": "ticket.updated_at_with_timestamp",
            },
            "ticket.ticket_field_{}",
        )
        return Setup(
            headers={},
            payload=template,
            steps=(
                "Admin Center → Objects and rules → Tickets → Fields → Add field: a text for the order's number, "
                f"{NOTE_TOLD}, and a drop-down for the kind of change. The tags of its values are countermand_ and one "
                f"of: {KINDS_TOLD}.",
                ADDRESSES_TOLD,
                LABELS_TOLD,
                "In each of these fields, under Permissions: Agents can edit, and neither Customers can edit nor "
                f"Customers can view; so they stand on no form of your help center. {AGENTS_ALONE_TOLD}",
                "Write the fields' numbers into `fields` as order, kind, note and so on, and print this again.",
                "Admin Center → Apps and integrations → Webhooks → Create webhook, for a trigger: the URL, method "
                f"POST, format JSON, no authentication. Put its signing secret into "
                f"{variable(self.config.webhook_secret, 'webhook_secret')}.",
                "Admin Center → Apps and integrations → APIs → API tokens → Add: put the token into "
                f"{variable(self.config.token, 'token')}; `user` is the e-mail address of the agent in whose name "
                f"answers are written: {OWN_ACCOUNT_TOLD}.",
                "Admin Center → Objects and rules → Business rules → Triggers → Create: when these fields change and "
                "the current user is not that agent (what we write would set it off again), notify the webhook with "
                "the payload.",
            ),
        )

    def api(self) -> Api:
        auth = (f"{self.config.user}/token", self.token or "")
        return Api(f"{self.config.url}/api/v2", timeout=self.config.timeout_seconds, proxy=self.config.proxy, auth=auth)

    def whose_key(self, api: Api) -> str | None:
        # Where it knows no one, Zendesk may answer with an anonymous visitor, and 200.
        return str(api.call("GET", "/users/me.json")["user"]["email"])

    def read_ticket(self, api: Api, notice: Notice) -> Any:
        return api.call("GET", f"{_path(notice)}.json")["ticket"]

    def has_answer(self, api: Api, notice: Notice) -> bool:
        newest = {"sort_order": "desc", "per_page": "100"}
        comments = api.call("GET", f"{_path(notice)}/comments.json", query=newest)["comments"]
        return any(notice.mark in comment["plain_body"] for comment in comments)

    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        if ticket["status"] == "closed":
            raise Refused(f"ticket {notice.ticket} is closed, and Zendesk takes nothing on a closed ticket")
        comment = {"html_body": as_html(notice.signed_body), "public": notice.visibility is Visibility.PUBLIC}
        # Safe update: if the ticket has changed since it was read, perhaps by a try of ours that arrived late, Zendesk
        # answers 409, and the next try looks at it again.
        update = {"comment": comment, "safe_update": True, "updated_stamp": ticket["updated_at"]}
        api.call("PUT", f"{_path(notice)}.json", {"ticket": update})

    def tag(self, api: Api, notice: Notice) -> None:
        api.call("PUT", f"{_path(notice)}/tags.json", {"tags": [notice.tag]})


def _path(notice: Notice) -> str:
    return f"/tickets/{quote(notice.ticket or '', safe='')}"
