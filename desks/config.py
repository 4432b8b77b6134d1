"""The desks file: one TOML table a helpdesk, and one for mail. Secrets are named here and stand in the environment."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails


class DesksError(Exception):
    """The desks file, or a secret that it names, cannot be used; says where and what is expected."""


def _name_of_a_variable(text: str) -> str:
    if not (text.replace("_", "").isalnum() and text.isascii() and text.upper() == text and not text[0].isdigit()):
        raise ValueError(
            "must be the name of an environment variable, such as ZENDESK_WEBHOOK_SECRET; "
            "the secret itself does not belong in this file"
        )
    return text


def _url(text: str) -> str:
    if not text.startswith(("https://", "http://")) or any(character.isspace() for character in text):
        raise ValueError("must be a URL such as https://acme.zendesk.com")
    return text.rstrip("/")


def _source(text: str) -> str:
    if text != text.strip() or any(ord(character) < 0x20 for character in text):
        raise ValueError("must not begin or end with white space, nor contain control characters")
    return text


Variable = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_name_of_a_variable)]
Url = Annotated[str, AfterValidator(_url)]
Seconds = Annotated[float, Field(gt=0, le=60)]


class Table(BaseModel):
    """A table of the file: an unknown key is a mistake that is told."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


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
    fields: dict[str, str] = {}
    # Where its API is, and the variable that holds the key to it. Without them its tickets are not answered.
    url: Url | None = None
    token: Variable | None = None
    timeout_seconds: Seconds = 10

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
    security: Annotated[str, StringConstraints(pattern="^(starttls|tls|none)$")] = "starttls"
    user: str | None = None
    password: Variable | None = None
    sender: Annotated[str, StringConstraints(pattern=r"^[^\s@]+@[^\s@]+$")]
    # Where the store's own people read what is not for the customer.
    colleagues: Annotated[str, StringConstraints(pattern=r"^[^\s@]+@[^\s@]+$")]
    timeout_seconds: Seconds = 10

    @model_validator(mode="after")
    def _user_and_password(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("`user` and `password` belong together")
        if self.user is not None and self.security == "none":
            raise ValueError("a password is not sent in the clear: set `security` to starttls or tls")
        return self


class File(Table):
    """The whole file; the tables of the desks are read by their kinds."""

    # Where the desks reach this machine: what `desks check` prints into the webhook URLs.
    public_url: Url | None = None
    desks: dict[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)], dict[str, Any]] = {}
    mail: MailConfig | None = None


def read_file(path: Path) -> File:
    """Reads the desks file. Raises DesksError."""
    try:
        return File.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise DesksError(f"the desks file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DesksError(f"the desks file {path} is not TOML: {error}") from error
    except ValidationError as invalid:
        raise DesksError(f"the desks file {path}: {told(invalid)}") from None


def told(invalid: ValidationError, *where: str) -> str:
    """Says in one line which keys are wrong; quotes no value, for one may be a secret in the wrong place."""
    return "; ".join(_told(error, where) for error in invalid.errors(include_input=False, include_context=False))


def _told(error: ErrorDetails, where: tuple[str, ...]) -> str:
    # A key that nobody knows was named by whoever sent it: perhaps by something personal, perhaps at length.
    keys = (str(part) if re.fullmatch(r"[\w-]{1,64}", str(part), re.ASCII) else "(unnamed)" for part in error["loc"])
    place = ".".join([*where, *keys]) or "what was sent"
    if error["type"] == "extra_forbidden":
        return f"{place} is not a key that we know"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message[:1].lower()}{message[1:]}"


def secret(environ: Mapping[str, str], name: str | None) -> str | None:
    """Returns the secret in a variable; None if it has no name, or the variable is unset or empty."""
    return (environ.get(name) or None) if name else None
