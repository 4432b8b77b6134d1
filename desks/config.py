"""The desks file: one TOML table a helpdesk, and one for mail. It names secrets; the environment holds them."""

from email.errors import MessageError
from email.headerregistry import Address
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from configuration import ConfigurationError, Seconds, Table, Variable
from configuration import read_file as read_toml
from rules.model import Kind

DesksError = ConfigurationError


def _url(text: str) -> str:
    # A user and a password in it would be secrets in the file; behind a query no path can be added.
    if not (_can_be_called(text) and text.isprintable()) or any(one in text for one in " @?#"):
        raise ValueError("must be a URL such as https://acme.zendesk.com, without user, query or fragment")
    return text.rstrip("/")


def _can_be_called(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna"), parts.port
    except ValueError:
        return False
    return parts.scheme in ("https", "http") and bool(host) and port != 0


def _api_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError(
            "must begin with https://, for by http the key to the API and the answers would go in the clear; "
            "by http only this machine is called, such as http://127.0.0.1:8080"
        )
    return text


def _no_path(text: str) -> str:
    if urlsplit(text).path:
        raise ValueError("must be a proxy's URL such as http://proxy.acme.example:3128, without a path")
    return text


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def mail_address(text: str) -> str:
    """Returns an e-mail address that a mail can be sent to as it is written. Raises ValueError for anything else."""
    try:
        # What is read of it in another way than it is written would go to somebody else.
        is_one = Address(addr_spec=text).addr_spec == text
    except (MessageError, ValueError, IndexError):
        is_one = False
    if not is_one:
        raise ValueError("must be one e-mail address, such as help@acme.example, and nothing else")
    return text


def _source(text: str) -> str:
    if text != text.strip() or any(ord(character) < 0x20 for character in text):
        raise ValueError("must not begin or end with white space, nor contain control characters")
    return text


def _shop(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError("must be one line of text without blanks around it, such as Acme")
    return text


def _folder(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("must be the path of a folder, such as texts")
    return text


def _kind(text: str) -> str:
    if text not in list(Kind):
        raise ValueError(f"must be one of {', '.join(Kind)}")
    return text


Url = Annotated[str, AfterValidator(_url)]
KindWord = Annotated[str, AfterValidator(_kind)]
CountryCode = Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")]
ApiUrl = Annotated[Url, AfterValidator(_api_url)]
Proxy = Annotated[Url, AfterValidator(_no_path)]
MailAddress = Annotated[str, AfterValidator(mail_address)]
# Of a desk: part of the path of its webhook.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]


class DeskConfig(Table):
    """What every desk's table may hold; a desk adds what only it has."""

    # The keys that answering needs, all of them or none.
    answering: ClassVar[tuple[str, ...]] = ("url", "token")

    # Which kind of desk, when the table is not named after it.
    desk: str | None = None
    # The `source` of its requests: the first half of their keys, for ever.
    source: Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_source)]
    webhook_secret: Variable
    webhook_secret_previous: Variable | None = None
    # How far a signed moment may be from ours.
    tolerance_seconds: Annotated[float, Field(gt=0, le=3600)] = 300
    # The desk's own names of the fields that a payload carries; see desks.payload.FIELDS.
    fields: dict[str, str] = Field(default_factory=dict)
    # What its own labels mean: of the drop-down for the kind, and of countries.
    kinds: dict[str, KindWord] = Field(default_factory=dict)
    countries: dict[str, CountryCode] = Field(default_factory=dict)
    # Where its API is, and the variable that holds the key to it. Without them its tickets are not answered.
    url: ApiUrl | None = None
    token: Variable | None = None
    timeout_seconds: Seconds = 10
    # How often the tickets that have changed are listed by the API, for webhooks that got lost; 0: never by itself.
    pull_minutes: Annotated[float, Field(ge=0, le=1440)] = 5
    # Through what its API is called; else directly, whatever HTTP_PROXY and the like say. The file may say it for all.
    proxy: Proxy | None = None

    @property
    def answers(self) -> bool:
        """True if its tickets can be answered."""
        return self.url is not None

    @model_validator(mode="after")
    def _can_answer_or_not(self) -> Self:
        missing = [name for name in self.answering if getattr(self, name) is None]
        if missing and len(missing) < len(self.answering):
            raise ValueError(
                f"to answer its tickets it needs {', '.join(self.answering)}; missing: {', '.join(missing)}"
            )
        return self


class MailConfig(Table):
    """How mail leaves: for decisions on requests without a ticket that can be answered."""

    host: Annotated[str, StringConstraints(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: Variable | None = None
    sender: MailAddress
    # Where the store's own people read what is not for the customer.
    colleagues: MailAddress
    timeout_seconds: Seconds = 10

    @model_validator(mode="after")
    def _user_and_password(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("`user` and `password` belong together")
        if self.user is not None and self.security == "none":
            raise ValueError("a password is not sent in the clear: set `security` to starttls or tls")
        return self


class DesksFile(Table):
    """The whole file; each kind of desk reads its own tables."""

    # Where the desks reach this machine: what `desks check` prints into the webhook URLs.
    public_url: Url | None = None
    # Who signs the answers.
    shop: Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_shop)] | None = None
    # A folder with the store's own texts, relative to this file; see desks.store_texts.
    texts: Annotated[str, AfterValidator(_folder)] | None = None
    # For each desk whose table names no other.
    proxy: Proxy | None = None
    desks: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    mail: MailConfig | None = None


def read_file(path: Path) -> DesksFile:
    """Reads the desks file. Raises ConfigurationError."""
    return read_toml(path, DesksFile, "the desks file")
