"""What the environment says. Read once a process; a wrong value is told in one line."""

import os
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from configuration import secret, without_line_end

_PREFIX = "COUNTERMAND_"
# What holds a secret may stand in a file that `<variable>_FILE` names.
_SECRETS = ("database_url", "broker_url", "api_token", "api_token_previous")
Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """The `COUNTERMAND_…` variables, with their defaults (COUNTERMAND_LOG is read by `workers.logs`)."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, frozen=True)

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
        try:
            dialect = make_url(url).drivername
        except (ArgumentError, ValueError) as error:
            raise ValueError("is not a URL such as postgresql://user:password@host:5432/database") from error
        if dialect not in ("postgresql", "postgresql+psycopg"):
            raise ValueError(f"begins with {dialect}://; expected postgresql://, Countermand needs a PostgreSQL")
        return url

    @property
    def patience(self) -> timedelta:
        """How long a request waits for its order, and an order for its undecided request."""
        return timedelta(seconds=self.patience_seconds)


@cache
def settings() -> Settings:
    """Returns the settings of this process."""
    return Settings()
