"""Zendesk: signed webhooks from triggers; answers as comments of a ticket (Ticketing API v2)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any, ClassVar
from urllib.parse import quote

from delivery.outcomes import Refused
from desks.api import Api
from desks.config import DeskConfig
from desks.desk import Changed, Desk, Form, Setup, Webhook
from desks.liquid import LiquidConfig, liquid_template
from desks.notices import Notice, Visibility
from desks.pages import PAGE_SIZE, Listed, moment, next_by_change, zulu
from desks.payload import TICKET_PAYLOAD, asks_for_something, payload_of_fields
from desks.signatures import check_any, check_window, hmac_base64, moment_of_iso
from desks.steps import (
    ADDRESSES_HINT,
    AGENTS_ONLY_WARNING,
    KIND_LIST,
    LABELS_HINT,
    NOTE_FIELD,
    OWN_ACCOUNT_HINT,
    variable,
)
from desks.texts import as_html

_SIGNATURE = "X-Zendesk-Webhook-Signature"
_TIMESTAMP = "X-Zendesk-Webhook-Signature-Timestamp"


class ZendeskConfig(LiquidConfig):
    """The table of a Zendesk account, with the agent that writes the answers."""

    answering: ClassVar[tuple[str, ...]] = ("url", "token", "user")

    # The agent's e-mail address; `token` is an API token of that account.
    user: str | None = None


class Zendesk(Desk):
    """One Zendesk account."""

    kind = "zendesk"
    config_type: ClassVar[type[DeskConfig]] = ZendeskConfig
    template_fields: ClassVar[Sequence[str]] = ("order", "kind")
    reads_tickets: ClassVar[bool] = True
    escapes_html: ClassVar[bool] = True
    signature_headers: ClassVar[Mapping[str, str]] = {
        _SIGNATURE: "base64 of HMAC-SHA256 with the desk's secret over the timestamp and the body, with nothing "
        "between them.",
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
            ticket_payload=TICKET_PAYLOAD.format("{{ticket.id}}"),
            steps=(
                "Admin Center → Objects and rules → Tickets → Fields → Add field: a text for the order number, "
                f"{NOTE_FIELD}, and a drop-down for the kind of change. The tags of its values are countermand_ "
                f"followed by one of: {KIND_LIST}.",
                ADDRESSES_HINT,
                LABELS_HINT,
                "In each of these fields, under Permissions: choose Agents can edit, and neither Customers can edit "
                f"nor Customers can view, so that no form in your help center shows them. {AGENTS_ONLY_WARNING}",
                "Write the fields' numbers into `fields` as order, kind, note and so on, and run this command again.",
                "Admin Center → Apps and integrations → Webhooks → Create webhook, for a trigger: the URL, method "
                f"POST, format JSON, no authentication. Put its signing secret into "
                f"{variable(self.config.webhook_secret, 'webhook_secret')}.",
                "Admin Center → Apps and integrations → APIs → API tokens → Add: put the token into "
                f"{variable(self.config.token, 'token')}; `user` is the e-mail address of the agent that writes "
                f"the answers. Use {OWN_ACCOUNT_HINT}.",
                "Admin Center → Objects and rules → Business rules → Triggers → Create: when these fields change and "
                "the current user is not that agent (our own answers would fire it again), notify the webhook with "
                "the payload.",
            ),
        )

    def api(self) -> Api:
        auth = (f"{self.config.user}/token", self.token or "")
        return Api(f"{self.config.url}/api/v2", timeout=self.config.timeout_seconds, proxy=self.config.proxy, auth=auth)

    def whose_key(self, api: Api) -> str | None:
        # With a wrong key, Zendesk may answer 200 with an anonymous visitor.
        return str(api.call("GET", "/users/me.json")["user"]["email"])

    def read_form(self, api: Api, ticket: str) -> Form:
        answer = api.call("GET", f"{_path(ticket)}.json", query={"include": "users"})
        found = answer["ticket"]
        requester: Mapping[str, Any] = next((one for one in answer["users"] if one["id"] == found["requester_id"]), {})
        known = {"ticket": found["id"], "requester": requester.get("email"), "language": requester.get("locale")}
        form = payload_of_fields(_values(found), self.config.fields, **known)
        return Form(form, moment(found["updated_at"]))

    def list_changed(self, api: Api, since: datetime, cursor: str | None) -> Changed:
        # The incremental export would be the better list, but only admins may use it.
        def ask(begins: datetime, page: int) -> Sequence[Listed]:
            query = {
                "query": f"type:ticket updated>={zulu(begins)}",
                "sort_by": "updated_at",
                "sort_order": "asc",
                "per_page": str(PAGE_SIZE),
                "page": str(page),
            }
            found = api.call("GET", "/search.json", query=query)["results"]
            return [self._listed(one) for one in found]

        return Changed(*next_by_change(since, cursor, ask))

    def _listed(self, found: Mapping[str, Any]) -> Listed:
        may_ask = asks_for_something(_values(found), self.config.fields)
        return Listed(str(found["id"]), moment(found["updated_at"]), may_ask)

    def read_ticket(self, api: Api, notice: Notice) -> Any:
        return api.call("GET", f"{_path(notice.ticket)}.json")["ticket"]

    def has_answer(self, api: Api, notice: Notice) -> bool:
        return self._is_audited(api, notice) or self._is_commented(api, notice)

    def _is_audited(self, api: Api, notice: Notice) -> bool:
        # Oldest first, so the newest are on the last page.
        for page in count(1):
            query = {"per_page": "100", "page": str(page)}
            found = api.call("GET", f"{_path(notice.ticket)}/audits.json", query=query)
            if any(notice.mark in (audit["metadata"].get("custom") or {}).values() for audit in found["audits"]):
                return True
            if not found.get("next_page"):
                break
        return False

    def _is_commented(self, api: Api, notice: Notice) -> bool:
        # Earlier versions wrote the mark into the comment itself.
        newest = {"sort_order": "desc", "per_page": "100"}
        comments = api.call("GET", f"{_path(notice.ticket)}/comments.json", query=newest)["comments"]
        return any(notice.mark in comment["plain_body"] for comment in comments)

    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        if ticket["status"] == "closed":
            raise Refused(f"ticket {notice.ticket} is closed, and Zendesk takes nothing on a closed ticket")
        comment = {"html_body": as_html(notice.body), "public": notice.visibility is Visibility.PUBLIC}
        # Safe update: if the ticket has changed since it was read, perhaps by an earlier attempt that arrived late,
        # Zendesk answers 409, and the next attempt reads it again.
        # Metadata is kept in the ticket's audits ("Setting metadata"), where no customer sees it.
        update = {
            "comment": comment,
            "metadata": {"countermand": notice.mark},
            "safe_update": True,
            "updated_stamp": ticket["updated_at"],
        }
        api.call("PUT", f"{_path(notice.ticket)}.json", {"ticket": update})

    def tag(self, api: Api, notice: Notice) -> None:
        api.call("PUT", f"{_path(notice.ticket)}/tags.json", {"tags": [notice.tag]})


def _path(ticket: str | None) -> str:
    return f"/tickets/{quote(ticket or '', safe='')}"


def _values(found: Mapping[str, Any]) -> dict[str, Any]:
    return {str(field["id"]): field["value"] for field in found["custom_fields"]}
