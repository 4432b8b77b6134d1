"""Where the services are: in the environment, else in the home of a running `countermand up`."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from configuration.settings import settings
from workers.broker import is_stream
from workers.embedded import Services
from workers.errors import Unreachable, UsageError

_FILE = "services.json"
# The settings that name a file which all processes of a home must share.
_FILES = ("partners", "desks")
# Other commands adopt these unless their own environment sets them: an export or audit must use the workers' patience,
# and printed URLs need the address of HTTP.
_SHARED = ("patience_seconds", "http_host", "http_port")


def find_services() -> Services:
    """Returns the services to use and puts them into this process's environment. Raises Unreachable."""
    named = settings()
    if named.database_url and named.broker_url:
        services = Services(named.database_url, named.broker_url)
    else:
        running = _running_in(named.home)
        services = Services(named.database_url or running.database_url, named.broker_url or running.broker_url)
    is_stream(services.broker_url)  # reports an unknown scheme here, in better words than Celery's
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
    """Allows other commands to find the services of this home during the block."""
    file = home / _FILE
    # It holds the broker's password.
    with open(file, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
        shared = {name: getattr(settings(), name) for name in _SHARED}
        named = {**shared, **{name: _file_of(name) for name in _FILES}}
        pooled = settings().database_pooled
        json.dump({**asdict(services), "database_pooled": pooled, "pid": os.getpid(), **named}, out)
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
        pooled = bool(found["database_pooled"])
        shared, files = ({name: found[name] for name in names} for names in (_SHARED, _FILES))
        os.kill(found["pid"], 0)
    except FileNotFoundError:
        raise Unreachable(f"no countermand runs in {home.resolve()}: {hint}") from None
    except ProcessLookupError:
        raise Unreachable(f"the countermand of {home.resolve()} has died: {hint}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise Unreachable(f"{home / _FILE} is damaged ({error}): {hint}") from None
    except PermissionError:
        raise Unreachable(f"the countermand of {home.resolve()} belongs to another user") from None
    if settings().database_url is None:
        # Whether a pooler answers was determined for that URL, not for one from the environment.
        os.environ["COUNTERMAND_DATABASE_POOLED"] = str(pooled).lower()
    for name, value in shared.items():
        os.environ.setdefault(f"COUNTERMAND_{name.upper()}", str(value))
    for name, file in files.items():
        _share(name, file, home)
    return services


def _share(name: str, file: str, home: Path) -> None:
    """Uses the file that the running `countermand up` uses. Raises UsageError if the environment names another."""
    here, variable = _file_of(name), f"COUNTERMAND_{name.upper()}"
    if here and here != file:
        raise UsageError(
            f"{variable} names {here}, but the countermand of {home.resolve()} runs with {file or f'no {name} file'}: "
            f"unset {variable} here, or start `countermand up` again with the same file"
        )
    if file:
        os.environ[variable] = file


def _file_of(name: str) -> str:
    """Returns the absolute path of the file that a setting names; empty if it names none."""
    path: Path | None = getattr(settings(), name)
    return str(path.resolve()) if path else ""
