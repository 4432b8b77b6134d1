"""Zammad: signed webhooks of triggers with Zammad's own payload; answers as articles of a ticket."""

from typing import Any
from urllib.parse import quote

from desks.api import Api
from desks.channels import Refused
from desks.desk import Desk, Ignored, Setup, Unusable, Webhook
from desks.notices import Notice, Visibility
from desks.payload import TicketPayload, payload_of_fields
from desks.signatures import check_any, hmac_hex
from desks.texts import as_html

_SIGNATURE = "X-Hub-Signature"


class Zammad(Desk):
    """One Zammad."""

    kind = "zammad"

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
                "author": (ticket.get("updated_by") or {}).get("email"),
                "time": article.get("created_at") or ticket.get("updated_at"),
            }
        except (KeyError, TypeError, AttributeError):
            raise Unusable(
                "expected Zammad's default payload: `ticket` with `id` and `customer`, and `article`"
            ) from None
        payload = payload_of_fields(ticket, self.config.fields, **known)
        if payload is None:
            raise Ignored("a ticket without an order change")
        return payload

    def setup(self) -> Setup:
        return Setup(
            headers={},
            payload=None,
            steps=(
                "Admin → Manage → Webhooks → New: the URL, and the value of "
                f"{self.config.webhook_secret} as HMAC SHA1 signature token; leave the custom payload switched off.",
                "Admin → System → Objects → Ticket: text attributes countermand_order, countermand_kind, "
                "countermand_note, countermand_shipping_name and so on, or any other names, given in `fields`.",
                "Admin → Manage → Triggers: one on changes of these attributes that sends this webhook, with the "
                "condition that the ticket was not updated by the account whose token we use.",
            ),
        )

    def api(self) -> Api:
        headers = {"Authorization": f"Token token={self.token}"}
        return Api(f"{self.config.url}/api/v1", timeout=self.config.timeout_seconds, headers=headers)

    def has_answer(self, api: Api, notice: Notice) -> bool:
        articles = api.call("GET", f"/ticket_articles/by_ticket/{quote(notice.ticket or '', safe='')}")
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
        if internal and not written["internal"]:
            # Zammad does so without an error when the token's account is no agent.
            raise Refused("Zammad has made the internal note public: give the token the permission ticket.agent")

    def tag(self, api: Api, notice: Notice) -> None:
        api.call("POST", "/tags/add", {"object": "Ticket", "o_id": notice.ticket, "item": notice.tag})
