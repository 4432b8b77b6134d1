"""Zammad: signed webhooks of triggers with Zammad's own payload; answers as articles of a ticket."""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from desks.api import Api, a_list
from desks.channels import Astray
from desks.config import DeskConfig
from desks.desk import Desk, Setup, Unusable, Webhook
from desks.notices import Notice, Visibility
from desks.payload import TicketPayload, payload_of_fields
from desks.signatures import check_any, hmac_hex
from desks.steps import (
    ADDRESSES_TOLD,
    AGENTS_ALONE_TOLD,
    KINDS_TOLD,
    LABELS_TOLD,
    NOTE_TOLD,
    OWN_ACCOUNT_TOLD,
    made_up_secret,
    variable,
)
from desks.texts import as_html

_SIGNATURE = "X-Hub-Signature"


class ZammadConfig(DeskConfig):
    """What the file says of a Zammad: also in whose name we write."""

    # The agent's e-mail address, by which what we wrote is known; `token` is an access token of that account.
    user: str | None = None


class Zammad(Desk):
    """One Zammad."""

    kind = "zammad"
    config_type: ClassVar[type[DeskConfig]] = ZammadConfig
    signature_headers: ClassVar[Mapping[str, str]] = {
        _SIGNATURE: "`sha1=` and hexadecimal HMAC-SHA1 with the desk's secret over the body. It says no time."
    }

    def verify(self, webhook: Webhook) -> None:
        """Checks `sha1=` and HMAC-SHA1(token, body) in hexadecimal; Zammad's scheme has no time in it."""
        given = webhook.header(_SIGNATURE)
        expected = [f"sha1={hmac_hex(key.encode(), webhook.body, 'sha1')}" for key in self.secrets]
        check_any([given], expected, f"header {_SIGNATURE}")

    def payload(self, value: Any) -> TicketPayload:
        """Reads Zammad's default payload: a custom one lets a backslash that a customer typed break the JSON."""
        try:
            ticket, article = value["ticket"], value.get("article") or {}
            known = {
                "ticket": ticket["id"],
                "requester": ticket["customer"]["email"],
                "author": _author(ticket, article),
                "comment": article.get("body"),
                # Not the ticket's `updated_at`: that moves on with every other change.
                "time": article.get("created_at"),
            }
        except (KeyError, TypeError, AttributeError):
            raise Unusable(
                "expected Zammad's default payload: `ticket` with `id` and `customer`, and `article`"
            ) from None
        return payload_of_fields(ticket, self.config.fields, **known)

    def setup(self) -> Setup:
        return Setup(
            headers={},
            payload=None,
            steps=(
                made_up_secret(self.config),
                "Admin → System → Objects → Ticket: a text countermand_order for the order's number, as "
                f"countermand_note {NOTE_TOLD}, and a single selection countermand_kind with the keys {KINDS_TOLD}.",
                f"{ADDRESSES_TOLD} Their names have countermand_ in front too; other names can be given in `fields`.",
                LABELS_TOLD,
                "In each of these attributes, for the permission ticket.customer: untick shown on the screens "
                f"create_middle, edit and view; ticket.agent keeps them. {AGENTS_ALONE_TOLD}",
                "Admin → Manage → Webhooks → New: the URL, and the secret as HMAC SHA1 signature token; leave the "
                "custom payload switched off.",
                "Profile of the agent in whose name answers are written → Token access → Create, with the permission "
                f"ticket.agent: put it into {variable(self.config.token, 'token')}, and the agent's e-mail address "
                f"into `user`. Let it be {OWN_ACCOUNT_TOLD}.",
                "Admin → Manage → Triggers: one on changes of these attributes that sends this webhook, with the "
                "condition that the ticket was not updated by that agent.",
            ),
        )

    def api(self) -> Api:
        headers = {"Authorization": f"Token token={self.token}"}
        return Api(
            f"{self.config.url}/api/v1", timeout=self.config.timeout_seconds, proxy=self.config.proxy, headers=headers
        )

    def whose_key(self, api: Api) -> str | None:
        return str(api.call("GET", "/users/me")["email"])

    def has_answer(self, api: Api, notice: Notice) -> bool:
        articles = a_list(api.call("GET", f"/ticket_articles/by_ticket/{quote(notice.ticket or '', safe='')}"))
        return any(notice.mark in article["body"] for article in articles)

    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        internal = notice.visibility is Visibility.INTERNAL
        article = {
            "ticket_id": notice.ticket,
            "subject": notice.subject,
            "body": as_html(notice.signed_body),
            "content_type": "text/html",
            "internal": internal,
            **({"type": "note"} if internal else {"type": "email", "to": customer}),
        }
        written = api.call("POST", "/ticket_articles", article)
        if (written["type"], written["internal"]) != (article["type"], internal):
            # Zammad does so without an error when the token's account is no agent.
            done = "made the internal note public" if internal else "kept the reply as a note that is mailed to nobody"
            raise Astray(f"Zammad has {done}: give the token the permission ticket.agent")

    def tag(self, api: Api, notice: Notice) -> None:
        api.call("POST", "/tags/add", {"object": "Ticket", "o_id": notice.ticket, "item": notice.tag})


def _author(ticket: Mapping[str, Any], article: Mapping[str, Any]) -> Any:
    """Returns who wrote the article; nobody without one, for what we write is one.

    The ticket may have been updated by somebody else, by us perhaps, before Zammad sent this.
    """
    writer = article.get("created_by") or ticket.get("updated_by") or {}
    return writer.get("email") if article else None
