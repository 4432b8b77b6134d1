"""What the environment says. Read once a process; a wrong value is told in one line."""

from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from configuration import ConfigurationError, wording
from configuration.urls import check_parts
from tasks.connecting import read_url

Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """The `COUNTERMAND_…` variables, with their defaults (COUNTERMAND_LOG is read by `workers.logs`)."""

    model_config = SettingsConfigDict(
        env_prefix="COUNTERMAND_",
        env_ignore_empty=True,
        frozen=True,
        # A URL holds a password.
        hide_input_in_errors=True,
    )

    home: Path = Path("var")
    database_url: str | None = None
    # Who answers there gives a session of PostgreSQL for one transaction at a time, as PgBouncer does.
    database_pooled: bool = False
    broker_url: str | None = None
    partners: Path | None = None
    desks: Path | None = None
    patience_seconds: Seconds = 900
    export_seconds: Seconds = 30
    sweep_seconds: Seconds = 2
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=1, le=65535)] = 8000
    # Who knows one of them may read decisions by HTTP; without one nobody may.
    api_token: SecretStr | None = None
    api_token_previous: SecretStr | None = None

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
        # Which schemes there are, and what they may say, is `workers.broker`'s to know.
        if url is not None and "://" in url:
            try:
                check_parts(url)
            except ValueError as error:
                raise ValueError(f"cannot be used: it {error}") from None
        return url

    @property
    def patience(self) -> timedelta:
        """How long a request waits for its order, and an order for its undecided request."""
        return timedelta(seconds=self.patience_seconds)


@cache
def settings() -> Settings:
    """Returns the settings of this process. Raises ConfigurationError, which quotes no value."""
    try:
        return Settings()
    except ValidationError as invalid:
        raise ConfigurationError(f"wrong setting in the environment: {_told(invalid)}") from None


def _told(invalid: ValidationError) -> str:
    return "; ".join(
        f"COUNTERMAND_{'_'.join(map(str, error['loc'])).upper()} {wording(error)}"
        for error in invalid.errors(include_input=False)
    )
