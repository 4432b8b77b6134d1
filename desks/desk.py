"""What a helpdesk is to us: how it signs, how its payload becomes a change request, how its ticket is answered.

Each module of `desks/` that holds a `Desk` adds one kind; docs/adding-a-desk.md says how.
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

# For asking whose the key is, after a failure: it comes on top of the time for an answer's own calls.
_SECONDS_TO_ASK = 3.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """One delivery as it came in; the names of `headers` are in lower case."""

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime

    def header(self, name: str) -> str:
        """Returns a header. Raises Unauthorized if it is missing: only headers that prove something are asked for."""
        try:
            return self.headers[name.lower()]
        except KeyError:
            raise Unauthorized(f"header {name} is missing") from None


@dataclass(frozen=True, slots=True)
class Setup:
    """What an admin does in the desk's own pages, in this sequence, and what is pasted there.

    `payload` carries all fields; `ticket_payload` the ticket's id alone, for a desk whose API we may call.
    """

    headers: Mapping[str, str]
    payload: str | None
    steps: Sequence[str]
    ticket_payload: str | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """A page of the tickets that have changed; `cursor` says where the next one begins, None after the last."""

    tickets: Sequence[str]
    cursor: str | None = None


class Desk(ABC):
    """One configured helpdesk. A kind of desk is a subclass in a module of its own."""

    # The kind's name, as the desks file and the webhook's path have it.
    kind: ClassVar[str]
    config_type: ClassVar[type[DeskConfig]] = DeskConfig
    # What `verify` asks for, by name, and what each is made of: it goes into openapi.json.
    signature_headers: ClassVar[Mapping[str, str]]
    # Our fields that `fields` must name before the payload can be printed: those of a template without which nothing
    # can be asked.
    template_fields: ClassVar[Sequence[str]] = ()
    # True if its API can read a ticket's form and list the tickets that have changed: `read_form`, `list_changed`.
    reads_tickets: ClassVar[bool] = False
    # True if choosing the kind sends a form, whatever else is changed afterwards.
    asks_by_kind: ClassVar[bool] = False
    # True if it may escape texts for HTML where it fills in a template.
    escapes_html: ClassVar[bool] = False

    def __init__(self, name: str, config: Any, environ: Mapping[str, str]) -> None:
        """Takes the secrets out of the environment. Raises ConfigurationError if one cannot be one."""
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
        """Our fields for which the desk's own are still to be named in `fields`."""
        return [name for name in self.template_fields if name not in self.config.fields]

    def check_secrets(self) -> None:
        """Raises ConfigurationError unless every secret is there."""
        if self.missing:
            raise ConfigurationError(f"desk {self.name}: {' and '.join(self.missing)} must be set in the environment")

    @property
    def source(self) -> str:
        """The `source` of this desk's requests."""
        return str(self.config.source)

    @property
    def tolerance(self) -> timedelta:
        """How far the moment of a signature may be from ours."""
        return timedelta(seconds=self.config.tolerance_seconds)

    # In

    @abstractmethod
    def verify(self, webhook: Webhook) -> None:
        """Raises Unauthorized unless the delivery comes from this desk, and now where its scheme says when."""

    def read(self, webhook: Webhook) -> bytes:
        """Returns the change request in a verified delivery, as a CloudEvent in JSON.

        Raises Unusable for a payload that holds none, and Ignored for one that asks for nothing.
        """
        body = read_json(webhook.body)
        payload = self.translated(self.payload(unescaped(body) if self.escapes_html else body))
        return change_event(self.source, payload, webhook.received_at, own=self.own_addresses)

    def ticket_named(self, webhook: Webhook) -> str | None:
        """Returns the ticket that a verified delivery names and says nothing more of: its form is to be read.

        None for any other delivery. Raises Unusable for a ticket that cannot be one, or that we have no key to read.
        """
        try:
            ticket = named_ticket(read_json(webhook.body))
        except Unusable:
            return None
        if ticket is None:
            return None
        if not self.reads_tickets:
            raise Unusable(f"the body names a ticket alone, and no ticket of {self.kind} can be read")
        if not self.config.answers:
            raise Unusable(
                "the body names a ticket alone; to read it the desks file needs "
                f"{', '.join(self.config.answering)} of desk {self.name}"
            )
        if not (ticket and self.is_ticket(ticket)):
            raise Unusable("`ticket` is not the id of a ticket: has the desk filled its placeholder in?")
        return ticket

    def payload(self, value: Any) -> TicketPayload:
        """Takes the payload out of a parsed body; most desks send it as our template has it. Raises as `read` does."""
        return read_payload(value)

    def translated(self, payload: TicketPayload) -> TicketPayload:
        """Returns a payload with our words for the desk's own labels of kinds and countries."""
        return translated(payload, self.config.kinds, self.config.countries)

    @property
    def own_addresses(self) -> Sequence[str]:
        """The e-mail addresses by which the desk knows us as an author: what we write is no request."""
        user = getattr(self.config, "user", None)
        return [user] if user else []

    @abstractmethod
    def setup(self) -> Setup:
        """Returns what to paste into the desk's pages."""

    # In, by the desk's API

    def form(self, api: Api, ticket: str) -> Form:
        """Returns the form on a ticket, its labels translated. Raises as `read_form` does."""
        found = self.read_form(api, ticket)
        return replace(found, payload=self.translated(found.payload))

    def read_form(self, api: Api, ticket: str) -> Form:
        """Reads the current form of a ticket.

        Raises DeliveryError, Ignored where its kind is left blank, and Unusable for what cannot be a request.
        """
        raise NotImplementedError(f"{self.kind} has no API to read tickets by")

    def list_changed(self, api: Api, since: datetime, cursor: str | None) -> Changed:
        """Returns one page of the tickets that have changed since a moment and may ask for something.

        `cursor` is what the page before has returned, None for the first. Raises DeliveryError.
        """
        raise NotImplementedError(f"{self.kind} has no API to list tickets by")

    # Out

    @abstractmethod
    def api(self) -> Api:
        """Returns the desk's API, opened for one answer."""

    def whose_key(self, api: Api) -> str | None:
        """Returns the e-mail address of the account that our key is of, by a call that changes nothing.

        None for a desk that has no such call. Raises DeliveryError.
        """
        return None

    def is_ticket(self, ticket: str) -> bool:
        """Returns whether this can be the id of a ticket; all desks but one number them."""
        return ticket.isascii() and ticket.isdecimal()

    def read_ticket(self, api: Api, notice: Notice) -> Any:
        """Returns the notice's ticket as the desk has it now; None for a desk that can do without.

        Read before anything else: `answer` may hold the desk to it. Raises DeliveryError.
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
        """Adds the notice's tag to its ticket, beside those that are there. Raises DeliveryError."""


@contextmanager
def opened_api(desk: Desk) -> Iterator[Api]:
    """The desk's API for the block; an answer in which what is looked for is not there raises OutcomeUnknown."""
    with desk.api() as api:
        try:
            yield api
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise OutcomeUnknown(
                f"the answer to {api.called} is not what {desk.kind}'s API describes ({type(error).__name__}); "
                "is `url` right?",
                is_in_doubt=True,
            ) from error


def account_of_key(desk: Desk, *, within: float | None = None) -> str | None:
    """Tries the key to a desk's API and returns whose it is; None where nothing can be tried. Raises DeliveryError.

    `within` are the seconds that it may take.
    """
    with opened_api(desk) as api:
        if within is not None:
            api.end_within(within)
        account = desk.whose_key(api)
        if account and desk.own_addresses and not same_mailbox(account, desk.own_addresses[0]):
            raise NotDelivered(f"{api.called}: the key to the API is of another account than `user`")
    return account


class SecretHeaderDesk(Desk):
    """A desk that cannot sign: it sends a secret in a header, and the request's key comes from its content."""

    header: ClassVar[str] = "X-Countermand-Secret"
    signature_headers: ClassVar[Mapping[str, str]] = {
        header: "The desk's secret itself, of a desk that cannot sign. Only ever over TLS."
    }

    def verify(self, webhook: Webhook) -> None:
        check_any([webhook.header(self.header)], self.secrets, f"header {self.header}")


class TicketChannel:
    """The way to a desk's ticket: look for our mark where it may stand already, write, tag."""

    name = "ticket"

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.destination = desk.source

    def deliver(self, notice: Notice, *, customer: str, look_first: bool) -> None:
        """Writes the notice on its ticket once, with its tag where the desk takes one. Raises DeliveryError.

        A failure that may be the ticket's own or the desk's is the ticket's, where the desk answers to our key.
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
            _log.warning("the desk does not answer to its key", desk=self._desk.name, error=str(error))
            return False

    def _deliver(self, notice: Notice, *, customer: str, look_first: bool) -> None:
        desk = self._desk
        if not desk.is_ticket(notice.ticket or ""):
            raise Refused("the ticket is not a number, as the tickets of this desk are")
        with opened_api(desk) as api:
            if look_first:
                with _unclear("could not look whether the answer stands on the ticket"):
                    ticket = desk.read_ticket(api, notice)
                    stands_there = desk.has_answer(api, notice)
            else:
                ticket, stands_there = desk.read_ticket(api, notice), False
            if not stands_there:
                desk.answer(api, notice, customer, ticket)
            self._tag(api, notice)

    def _tag(self, api: Api, notice: Notice) -> None:
        desk, ticket, tag = self._desk.name, notice.ticket, notice.tag
        with _unclear("the answer stands on the ticket, its tag does not"):
            try:
                self._desk.tag(api, notice)
            except (Refused, Forbidden) as refused:
                # The answer was read, perhaps; a tag that the desk will never take must not make the answer dead.
                _log.warning("answered without the tag", desk=desk, ticket=ticket, tag=tag, error=str(refused))


@contextmanager
def _unclear(message: str) -> Iterator[None]:
    """A failure in the block leaves open whether the answer is on the ticket, or is known to have left it there."""
    try:
        yield
    except DeliveryError as error:
        raise OutcomeUnknown(
            f"{message}: {error}",
            error.retry_after,
            destination_works=error.destination_works,
            is_in_doubt=error.is_in_doubt,
        ) from error
