"""The settings from the environment, read once in each process; an invalid value is reported in one line."""

import os
from datetime import timedelta
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from configuration import ConfigurationError, secret, without_line_end, wording
from configuration.database_url import read_url
from configuration.urls import check_parts

_PREFIX = "COUNTERMAND_"
# Settings with secrets, which `<variable>_FILE` may name a file for.
_SECRETS = ("database_url", "broker_url", "api_token", "api_token_previous")
Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """The `COUNTERMAND_…` variables, with their defaults (COUNTERMAND_LOG is read by `workers.logs`)."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        # A URL holds a password.
        hide_input_in_errors=True,
    )

    home: Path = Path("var")
    database_url: str | None = None
    # Whether the URL leads to a pooler that assigns a session to each transaction, as PgBouncer does.
    database_pooled: bool = False
    broker_url: str | None = None
    partners: Path | None = None
    desks: Path | None = None
    patience_seconds: Seconds = 900
    # At most a year: people forget what is held longer.
    escalation_hold_minutes: Annotated[float, Field(ge=0, le=525_600)] = 240
    export_seconds: Seconds = 30
    sweep_seconds: Seconds = 2
    # How long `countermand up` waits for its processes, which start slowly on a busy machine.
    start_seconds: Seconds = 60
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=1, le=65535)] = 8000
    # Addresses and networks, separated by commas, or none; their X-Forwarded-For names the client.
    http_trusted_proxies: str = "127.0.0.1,::1"
    # Either token allows reading decisions by HTTP; without one, reading is off.
    api_token: SecretStr | None = None
    api_token_previous: SecretStr | None = None

    @model_validator(mode="before")
    @classmethod
    def _secrets_of_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        read = {name: values.get(name) or secret(os.environ, f"{_PREFIX}{name.upper()}") for name in _SECRETS}
        held = {name: without_line_end(value) if isinstance(value, str) else value for name, value in read.items()}
        return {**values, **{name: value for name, value in held.items() if value}}

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: str | None) -> str | None:
        if url is None:
            return None
        scheme = url.partition("://")[0]
        if scheme not in ("postgresql", "postgresql+psycopg") and "://" in url:
            raise ValueError(f"begins with {scheme}://; expected postgresql://, Countermand needs a PostgreSQL")
        try:
            read_url(url)
        except ValueError as error:
            expected = "postgresql://user:password@host:5432/database"
            raise ValueError(f"is not a URL such as {expected}: it {error}") from None
        return url

    @field_validator("broker_url")
    @classmethod
    def _has_parts_that_can_be_told_apart(cls, url: str | None) -> str | None:
        # `configuration.broker_url` checks the scheme and the options.
        if url is not None and "://" in url:
            try:
                check_parts(url)
            except ValueError as error:
                raise ValueError(f"cannot be used: it {error}") from None
        return url

    @field_validator("http_trusted_proxies")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        try:
            _networks(text)
        except ValueError as error:
            raise ValueError("is not a list such as 127.0.0.1,10.0.0.0/8, nor none") from error
        return text

    @property
    def trusted_networks(self) -> list[IPv4Network | IPv6Network]:
        """The networks of trusted proxies."""
        return _networks(self.http_trusted_proxies)

    @property
    def patience(self) -> timedelta:
        """How long a request waits for its order, and an order for its undecided request."""
        return timedelta(seconds=self.patience_seconds)

    @property
    def escalation_hold(self) -> timedelta:
        """How long an escalated request keeps its order from export."""
        return timedelta(minutes=self.escalation_hold_minutes)


@cache
def _networks(text: str) -> list[IPv4Network | IPv6Network]:
    return [] if text == "none" else [ip_network(part.strip()) for part in text.split(",")]


@cache
def settings() -> Settings:
    """Returns the settings of this process. Raises ConfigurationError, which quotes no value."""
    try:
        return Settings()
    except ValidationError as invalid:
        raise ConfigurationError(f"wrong setting in the environment: {_describe(invalid)}") from None


def _describe(invalid: ValidationError) -> str:
    return "; ".join(
        f"COUNTERMAND_{'_'.join(map(str, error['loc'])).upper()} {wording(error)}"
        for error in invalid.errors(include_input=False)
    )
