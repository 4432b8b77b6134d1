"""What the environment says. Read once a process; a wrong value is told in one line."""

from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """The `COUNTERMAND_…` variables, with their defaults (COUNTERMAND_LOG is read by `workers.logs`)."""

    model_config = SettingsConfigDict(env_prefix="COUNTERMAND_", env_ignore_empty=True, frozen=True)

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
    # How long `countermand up` waits for its processes: they start slowly where the machine is busy.
    start_seconds: Seconds = 60
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
