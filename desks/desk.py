"""The interface of a helpdesk: how it signs, how its payload becomes a change request, how its ticket is answered.

Each module of `desks/` with a `Desk` adds one kind; see docs/adding-a-desk.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

import structlog

from configuration import ConfigurationError, secret
from delivery.outcomes import DeliveryError, NotDelivered, OutcomeUnknown, Refused
from desks.api import Api
from desks.channels import Forbidden
from desks.config import DeskConfig
from desks.entities import unescaped
from desks.labels import translated
from desks.notices import Notice
from desks.payload import (
    Form,
    Ignored,
    TicketPayload,
    Unusable,
    change_event,
    named_ticket,
    read_json,
    read_payload,
)
from desks.signatures import Unauthorized, check_any
from rules.mailboxes import same_mailbox

__all__ = [
    "Changed",
    "Desk",
    "Form",
    "Ignored",
    "Setup",
    "TicketChannel",
    "Unauthorized",
    "Unusable",
    "Webhook",
]

_log = structlog.get_logger()

# For asking whose the key is after a failure, in addition to the time for the answer's own calls.
_SECONDS_TO_ASK = 3.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """One delivery as it came in; the names of `headers` are in lower case."""

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime

    def header(self, name: str) -> str:
        """Returns a header. Raises Unauthorized if it is missing, because all headers that we read are proofs."""
        try:
            return self.headers[name.lower()]
        except KeyError:
            raise Unauthorized(f"header {name} is missing") from None


@dataclass(frozen=True, slots=True)
class Setup:
    """The steps that an admin takes in the desk's own pages, in this order, and what to paste there.

    `payload` carries all fields; `ticket_payload` only the ticket's id, for a desk whose API we may call.
    """

    headers: Mapping[str, str]
    payload: str | None
    steps: Sequence[str]
    ticket_payload: str | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """A page of the tickets that have changed; `cursor` is where the next one begins, None on the last."""

    tickets: Sequence[str]
    cursor: str | None = None


class Desk(ABC):
    """One configured helpdesk. A kind of desk is a subclass in a module of its own."""

    # The name of the kind in the desks file and in the path of the webhook.
    kind: ClassVar[str]
    config_type: ClassVar[type[DeskConfig]] = DeskConfig
    # The headers that `verify` reads, and what each contains. They go into openapi.json.
    signature_headers: ClassVar[Mapping[str, str]]
    # Our fields that `fields` must name before the payload can be printed, because no request is possible without them.
    template_fields: ClassVar[Sequence[str]] = ()
    # True if its API can read a ticket's form and list the tickets that have changed: `read_form`, `list_changed`.
    reads_tickets: ClassVar[bool] = False
    # True if choosing the kind sends the form, so that later changes of other fields do not.
    asks_by_kind: ClassVar[bool] = False
    # True if the desk may escape texts for HTML when it fills in a template.
    escapes_html: ClassVar[bool] = False

    def __init__(self, name: str, config: Any, environ: Mapping[str, str]) -> None:
        """Reads the secrets from the environment. Raises ConfigurationError if one is malformed."""
        self.name = name
        self.config = config
        self.secrets = [
            value
            for variable in (config.webhook_secret, config.webhook_secret_previous)
            if (value := secret(environ, variable))
        ]
        self.token = secret(environ, config.token)
        self.missing = [
            variable for variable in (config.webhook_secret, config.token) if variable and not secret(environ, variable)
        ]

    @property
    def unnamed_fields(self) -> list[str]:
        """Our fields that are still missing in `fields`."""
        return [name for name in self.template_fields if name not in self.config.fields]

    def check_secrets(self) -> None:
        """Raises ConfigurationError if a secret is missing."""
        if self.missing:
            raise ConfigurationError(f"desk {self.name}: {' and '.join(self.missing)} must be set in the environment")

    @property
    def source(self) -> str:
        """The `source` of this desk's requests."""
        return str(self.config.source)

    @property
    def tolerance(self) -> timedelta:
        """How far the time of a signature may be from our clock."""
        return timedelta(seconds=self.config.tolerance_seconds)

    # In

    @abstractmethod
    def verify(self, webhook: Webhook) -> None:
        """Raises Unauthorized unless this desk sent the delivery, and recently if its scheme has a time."""

    def read(self, webhook: Webhook) -> bytes:
        """Returns the change request in a verified delivery, as a CloudEvent in JSON.

        Raises Unusable if the payload is no change request, and Ignored if it asks for nothing.
        """
        body = read_json(webhook.body)
        payload = self.translated(self.payload(unescaped(body) if self.escapes_html else body))
        return change_event(self.source, payload, webhook.received_at, own=self.own_addresses)

    def ticket_named(self, webhook: Webhook) -> str | None:
        """Returns the ticket if a verified delivery names a ticket and nothing else, so that its form must be read.

        None for any other delivery. Raises Unusable for an impossible ticket, or one that we have no key to read.
        """
        try:
            ticket = named_ticket(read_json(webhook.body))
        except Unusable:
            return None
        if ticket is None:
            return None
        if not self.reads_tickets:
            raise Unusable(f"the body names only a ticket, and the tickets of {self.kind} cannot be read")
        if not self.config.answers:
            raise Unusable(
                f"the body names only a ticket; to read it, desk {self.name} needs "
                f"{', '.join(self.config.answering)} in the desks file"
            )
        if not (ticket and self.is_ticket(ticket)):
            raise Unusable("`ticket` is not the id of a ticket: did the desk fill in its placeholder?")
        return ticket

    def payload(self, value: Any) -> TicketPayload:
        """Returns the payload in a parsed body, which most desks send in the form of our template. Raises as `read`."""
        return read_payload(value)

    def translated(self, payload: TicketPayload) -> TicketPayload:
        """Returns a payload in which our kinds and country codes replace the desk's own labels."""
        return translated(payload, self.config.kinds, self.config.countries)

    @property
    def own_addresses(self) -> Sequence[str]:
        """The e-mail addresses under which the desk shows what we wrote, which is never a request."""
        user = getattr(self.config, "user", None)
        return [user] if user else []

    @abstractmethod
    def setup(self) -> Setup:
        """Returns the steps in the desk's pages, and what to paste there."""

    # In, by the desk's API

    def form(self, api: Api, ticket: str) -> Form:
        """Returns the form on a ticket with its labels translated. Raises as `read_form` does."""
        found = self.read_form(api, ticket)
        return replace(found, payload=self.translated(found.payload))

    def read_form(self, api: Api, ticket: str) -> Form:
        """Reads the current form of a ticket.

        Raises DeliveryError, Ignored if the kind is blank, and Unusable if the form cannot be a request.
        """
        raise Refused(f"{self.kind} has no API that reads tickets")

    def list_changed(self, api: Api, since: datetime, cursor: str | None) -> Changed:
        """Returns one page of the tickets that have changed since a moment and may ask for something.

        `cursor` comes from the page before, None for the first. Raises DeliveryError.
        """
        raise Refused(f"{self.kind} has no API that lists tickets")

    # Out

    @abstractmethod
    def api(self) -> Api:
        """Returns the desk's API, opened for one answer."""

    def whose_key(self, api: Api) -> str | None:
        """Returns the e-mail address of the account that our key belongs to, with a call that changes nothing.

        None if the desk has no such call. Raises DeliveryError.
        """
        return None

    def is_ticket(self, ticket: str) -> bool:
        """Returns whether this can be the id of a ticket, which is a number at all desks but one."""
        return ticket.isascii() and ticket.isdecimal()

    def read_ticket(self, api: Api, notice: Notice) -> Any:
        """Returns the current state of the notice's ticket; None for a desk that does not need it.

        Called first, so that `answer` can make the desk refuse if the ticket has changed since. Raises DeliveryError.
        """
        return None

    @abstractmethod
    def has_answer(self, api: Api, notice: Notice) -> bool:
        """Returns whether the notice's mark is on its ticket already. Raises DeliveryError."""

    @abstractmethod
    def answer(self, api: Api, notice: Notice, customer: str, ticket: Any) -> None:
        """Writes the notice on its ticket: a public reply to the customer's address, or an internal note.

        `ticket` is what `read_ticket` returned. Raises DeliveryError.
        """

    @abstractmethod
    def tag(self, api: Api, notice: Notice) -> None:
        """Adds the notice's tag to its ticket and keeps the existing tags. Raises DeliveryError."""


@contextmanager
def opened_api(desk: Desk) -> Iterator[Api]:
    """Opens the desk's API for the block; a response that lacks what the block reads raises OutcomeUnknown."""
    with desk.api() as api:
        try:
            yield api
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise OutcomeUnknown(
                f"the response to {api.called} is not what {desk.kind}'s API describes ({type(error).__name__}); "
                "is `url` right?",
                is_in_doubt=True,
            ) from error


def account_of_key(desk: Desk, *, within: float | None = None) -> str | None:
    """Tries the key to a desk's API and returns whose it is; None if the desk has no such call. Raises DeliveryError.

    `within` limits the seconds that this may take.
    """
    with opened_api(desk) as api:
        if within is not None:
            api.end_within(within)
        account = desk.whose_key(api)
        if account and desk.own_addresses and not same_mailbox(account, desk.own_addresses[0]):
            raise NotDelivered(f"{api.called}: the key to the API belongs to an account other than `user`")
    return account


class SecretHeaderDesk(Desk):
    """A desk that cannot sign: it sends a secret in a header, and the request's id comes from its content."""

    header: ClassVar[str] = "X-Countermand-Secret"
    signature_headers: ClassVar[Mapping[str, str]] = {
        header: "The desk's secret itself, from a desk that cannot sign. Only over TLS."
    }

    def verify(self, webhook: Webhook) -> None:
        check_any([webhook.header(self.header)], self.secrets, f"header {self.header}")


class TicketChannel:
    """Delivers to a desk's ticket: looks for our mark if it may be there already, writes, and tags."""

    name = "ticket"

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.destination = desk.source

    def deliver(self, notice: Notice, *, customer: str, look_first: bool) -> None:
        """Writes the notice on its ticket once, with its tag if the desk accepts one. Raises DeliveryError.

        A failure in doubt concerns only the ticket if the desk still accepts our key.
        """
        try:
            self._deliver(notice, customer=customer, look_first=look_first)
        except DeliveryError as error:
            if not (error.is_in_doubt and self._desk_works()):
                raise
            raise type(error)(f"this ticket alone: {error}", error.retry_after, destination_works=True) from error

    def _desk_works(self) -> bool:
        try:
            return account_of_key(self._desk, within=_SECONDS_TO_ASK) is not None
        except DeliveryError as error:
            _log.warning("the desk does not accept its key", desk=self._desk.name, error=str(error))
            return False

    def _deliver(self, notice: Notice, *, customer: str, look_first: bool) -> None:
        desk = self._desk
        if not desk.is_ticket(notice.ticket or ""):
            raise Refused("the tickets of this desk are numbers, and this one is not")
        with opened_api(desk) as api:
            if look_first:
                with _unclear("could not check whether the answer is on the ticket"):
                    ticket = desk.read_ticket(api, notice)
                    is_there = desk.has_answer(api, notice)
            else:
                ticket, is_there = desk.read_ticket(api, notice), False
            if not is_there:
                desk.answer(api, notice, customer, ticket)
            self._tag(api, notice)

    def _tag(self, api: Api, notice: Notice) -> None:
        desk, ticket, tag = self._desk.name, notice.ticket, notice.tag
        with _unclear("the answer is on the ticket, but its tag is not"):
            try:
                self._desk.tag(api, notice)
            except (Refused, Forbidden) as refused:
                # The customer may have read the answer: a tag that the desk will never accept must not make it dead.
                _log.warning("answered without the tag", desk=desk, ticket=ticket, tag=tag, error=str(refused))


@contextmanager
def _unclear(message: str) -> Iterator[None]:
    """Turns a failure in the block into OutcomeUnknown: the answer is on the ticket, or may be."""
    try:
        yield
    except DeliveryError as error:
        raise OutcomeUnknown(
            f"{message}: {error}",
            error.retry_after,
            destination_works=error.destination_works,
            is_in_doubt=error.is_in_doubt,
        ) from error
