"""Zammad: signed webhooks of triggers with Zammad's own payload; answers as articles of a ticket."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from delivery.outcomes import DeliveryError, OutcomeUnknown
from desks.api import Api, a_list
from desks.channels import Misdelivered
from desks.config import DeskConfig
from desks.desk import Changed, Desk, Form, Setup, Unusable, Webhook
from desks.handover import for_a_colleague
from desks.notices import Notice, Visibility
from desks.pages import PAGE_SIZE, Listed, moment, next_by_change, zulu
from desks.payload import TICKET_PAYLOAD, TicketPayload, asks_for_something, payload_of_fields
from desks.signatures import check_any, hmac_hex
from desks.steps import (
    ADDRESSES_HINT,
    AGENTS_ONLY_WARNING,
    KIND_LIST,
    LABELS_HINT,
    NOTE_FIELD,
    OWN_ACCOUNT_HINT,
    made_up_secret,
    variable,
)
from desks.texts import as_html

_SIGNATURE = "X-Hub-Signature"
_NOTE: Mapping[str, Any] = {"type": "note", "internal": True}


class ZammadConfig(DeskConfig):
    """The table of a Zammad, with the agent that writes the answers."""

    # The agent's e-mail address, which identifies what we wrote; `token` is an access token of that account.
    user: str | None = None


class Zammad(Desk):
    """One Zammad instance."""

    kind = "zammad"
    config_type: ClassVar[type[DeskConfig]] = ZammadConfig
    reads_tickets: ClassVar[bool] = True
    signature_headers: ClassVar[Mapping[str, str]] = {
        _SIGNATURE: "`sha1=` and hexadecimal HMAC-SHA1 with the desk's secret over the body. It has no time."
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
                # Not the ticket's `updated_at`, which every other change moves on.
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
            ticket_payload=TICKET_PAYLOAD.format("#{ticket.id}"),
            steps=(
                made_up_secret(self.config),
                "Admin → System → Objects → Ticket: a text countermand_order for the order number, as "
                f"countermand_note {NOTE_FIELD}, and a single selection countermand_kind with the keys {KIND_LIST}.",
                f"{ADDRESSES_HINT} Their names begin with countermand_ too; write other names in `fields`.",
                LABELS_HINT,
                "In each of these attributes, for the permission ticket.customer: untick shown on the screens "
                f"create_middle, edit and view. Keep them for ticket.agent. {AGENTS_ONLY_WARNING}",
                "Admin → Manage → Webhooks → New: the URL, and the secret as HMAC SHA1 signature token. Switch "
                "on the custom payload and paste the line below. Zammad's default payload works too, but does not "
                "contain the customer's language.",
                "Profile of the agent that writes the answers → Token access → Create, with the permission "
                f"ticket.agent: put it into {variable(self.config.token, 'token')}, and the agent's e-mail address "
                f"into `user`. Use {OWN_ACCOUNT_HINT}.",
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

    def read_form(self, api: Api, ticket: str) -> Form:
        found = api.call("GET", f"/tickets/{quote(ticket, safe='')}")
        customer = api.call("GET", f"/users/{found['customer_id']:d}")
        known = {
            "ticket": found["id"],
            "requester": customer["email"],
            "language": (customer.get("preferences") or {}).get("locale"),
        }
        form = payload_of_fields(found, self.config.fields, **known)
        return Form(form, moment(found["updated_at"]))

    def list_changed(self, api: Api, since: datetime, cursor: str | None) -> Changed:
        def ask(begins: datetime, page: int) -> Sequence[Listed]:
            # A condition, which the database answers: a query would use the search index, if there is one.
            condition = "condition[ticket.updated_at]"
            query = {
                f"{condition}[operator]": "after (absolute)",
                # "After" excludes the second itself.
                f"{condition}[value]": zulu(begins - timedelta(seconds=1)),
                "sort_by": "updated_at",
                "order_by": "asc",
                "limit": str(PAGE_SIZE),
                "page": str(page),
                "expand": "true",
            }
            return [self._listed(one) for one in a_list(api.call("GET", "/tickets/search", query=query))]

        return Changed(*next_by_change(since, cursor, ask))

    def _listed(self, found: Mapping[str, Any]) -> Listed:
        return Listed(str(found["id"]), moment(found["updated_at"]), asks_for_something(found, self.config.fields))

    def has_answer(self, api: Api, notice: Notice) -> bool:
        articles = a_list(api.call("GET", f"/ticket_articles/by_ticket/{quote(notice.ticket or '', safe='')}"))
        return any(notice.mark in article["body"] for article in articles)

    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        if notice.visibility is Visibility.INTERNAL:
            self._write(api, notice, notice.body, _NOTE)
            return
        try:
            self._write(api, notice, notice.body, {"internal": False, "type": "email", "to": customer})
        except OutcomeUnknown:
            # Zammad fails at an e-mail from a group without an address, and stores nothing.
            if not _has_no_address(api, notice):
                raise
            why = "the ticket's group has no e-mail address, so Zammad sends no answer"
            self._write(api, notice, for_a_colleague(notice.body, why), _NOTE)

    def _write(self, api: Api, notice: Notice, text: str, how: Mapping[str, Any]) -> None:
        article = {
            "ticket_id": notice.ticket,
            "subject": notice.subject,
            # Zammad drops comments and hidden content; of a style it keeps only the colour.
            "body": as_html(text, notice.mark),
            "content_type": "text/html",
            **how,
        }
        internal = how["internal"]
        written = api.call("POST", "/ticket_articles", article)
        if (written["type"], written["internal"]) != (how["type"], internal):
            # Zammad does this without an error if the token's account is not an agent.
            done = "made the internal note public" if internal else "kept the reply as a note that is mailed to nobody"
            raise Misdelivered(f"Zammad has {done}: give the token the permission ticket.agent")

    def tag(self, api: Api, notice: Notice) -> None:
        api.call("POST", "/tags/add", {"object": "Ticket", "o_id": notice.ticket, "item": notice.tag})


def _has_no_address(api: Api, notice: Notice) -> bool:
    """Returns whether a ticket's group is known to have no e-mail address."""
    try:
        group = api.call("GET", f"/tickets/{quote(notice.ticket or '', safe='')}")["group_id"]
        found = api.call("GET", f"/groups/{group:d}")
    except DeliveryError:
        # Older versions show groups only to administrators.
        return False
    return "email_address_id" in found and found["email_address_id"] is None


def _author(ticket: Mapping[str, Any], article: Mapping[str, Any]) -> Any:
    """Returns who wrote the article; None without an article, because we always write one.

    Before Zammad sent this, somebody else may have updated the ticket, perhaps Countermand.
    """
    writer = article.get("created_by") or ticket.get("updated_by") or {}
    return writer.get("email") if article else None
