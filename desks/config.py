"""The desks file: one TOML table per helpdesk, and one for mail. It names secrets; the environment holds them."""

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
    # A user and password would be secrets in the file, and no path can be appended to a query.
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
            "must begin with https://, because http would send the key to the API and the answers in the clear; "
            "http is only for this machine, such as http://127.0.0.1:8080"
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
        # If the parser reads an address differently, the mail would go to somebody else.
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
        raise ValueError("must be one line of text without spaces around it, such as Acme")
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
# The name of a desk, which is part of the path of its webhook.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]


class DeskConfig(Table):
    """The keys that every desk's table may have; a kind of desk adds its own."""

    # The keys that are needed to answer: all of them or none.
    answering: ClassVar[tuple[str, ...]] = ("url", "token")

    # The kind of desk, if the table has another name.
    desk: str | None = None
    # The `source` of its requests: the first half of their keys, so it must never change.
    source: Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_source)]
    webhook_secret: Variable
    webhook_secret_previous: Variable | None = None
    # How far the time of a signature may be from our clock.
    tolerance_seconds: Annotated[float, Field(gt=0, le=3600)] = 300
    # The desk's own names for our fields, which are listed in desks.payload.FIELDS.
    fields: dict[str, str] = Field(default_factory=dict)
    # What its own labels mean: those of the drop-down for the kind, and those of countries.
    kinds: dict[str, KindWord] = Field(default_factory=dict)
    countries: dict[str, CountryCode] = Field(default_factory=dict)
    # The URL of its API, and the variable with the key. Without them its tickets are not answered.
    url: ApiUrl | None = None
    token: Variable | None = None
    timeout_seconds: Seconds = 10
    # How often changed tickets are listed, to recover lost webhooks; 0: only by `countermand desks pull`.
    pull_minutes: Annotated[float, Field(ge=0, le=1440)] = 5
    # The proxy for its API; without it, calls are direct, whatever HTTP_PROXY says. The file may set one for all desks.
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
    """How mail is sent, for requests whose ticket cannot be answered, or that have none."""

    host: Annotated[str, StringConstraints(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: Variable | None = None
    sender: MailAddress
    # Who reads what is not meant for the customer.
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

    # The address at which the desks reach this machine; `desks check` prints it in the webhook URLs.
    public_url: Url | None = None
    # The name under the answers.
    shop: Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_shop)] | None = None
    # A folder with the store's own texts, relative to this file; see desks.store_texts.
    texts: Annotated[str, AfterValidator(_folder)] | None = None
    # For every desk whose table names no other proxy.
    proxy: Proxy | None = None
    desks: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    mail: MailConfig | None = None


def read_file(path: Path) -> DesksFile:
    """Reads the desks file. Raises ConfigurationError."""
    return read_toml(path, DesksFile, "the desks file")
