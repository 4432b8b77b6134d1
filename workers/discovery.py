"""Where the services are: in the environment, else in the home of a running `countermand up`."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tasks.settings import settings
from workers.broker import is_stream
from workers.embedded import Services
from workers.errors import Unreachable

_FILE = "services.json"


def find_services() -> Services:
    """Returns the services to use and puts them into this process's environment. Raises Unreachable."""
    named = settings()
    if named.database_url and named.broker_url:
        services = Services(named.database_url, named.broker_url)
    else:
        running = _running_in(named.home)
        services = Services(named.database_url or running.database_url, named.broker_url or running.broker_url)
    is_stream(services.broker_url)  # a scheme that nobody speaks is better told now than by Celery
    publish_to_environment(services, named.home)
    return services


def find_database() -> None:
    """Finds the database alone, for a command that only reads; the broker need not be known. Raises Unreachable."""
    if settings().database_url is None:
        find_services()


def publish_to_environment(services: Services, home: Path) -> None:
    """Makes this process, and those it starts, use these services."""
    os.environ["COUNTERMAND_DATABASE_URL"] = services.database_url
    os.environ["COUNTERMAND_BROKER_URL"] = services.broker_url
    os.environ["COUNTERMAND_HOME"] = str(home.resolve())
    settings.cache_clear()


@contextmanager
def announced(services: Services, home: Path) -> Iterator[None]:
    """Lets other commands find the services of this home for as long as the block runs."""
    file = home / _FILE
    # It holds the broker's password.
    with open(file, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
        # Whoever exports or audits here must be as patient as the workers are.
        json.dump({**asdict(services), "pid": os.getpid(), "patience_seconds": settings().patience_seconds}, out)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _running_in(home: Path) -> Services:
    hint = (
        "start it with `countermand up`, set COUNTERMAND_HOME to where one is up, "
        "or set COUNTERMAND_DATABASE_URL and COUNTERMAND_BROKER_URL"
    )
    try:
        found = json.loads((home / _FILE).read_text())
        services = Services(found["database_url"], found["broker_url"])
        os.kill(found["pid"], 0)
    except FileNotFoundError:
        raise Unreachable(f"no countermand runs in {home.resolve()}: {hint}") from None
    except ProcessLookupError:
        raise Unreachable(f"the countermand of {home.resolve()} has died: {hint}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise Unreachable(f"{home / _FILE} is damaged ({error}): {hint}") from None
    except PermissionError:
        raise Unreachable(f"the countermand of {home.resolve()} belongs to another user") from None
    os.environ.setdefault("COUNTERMAND_PATIENCE_SECONDS", str(found["patience_seconds"]))
    return services
