"""The database's URL, read as libpq reads it, and the connection arguments made from it and our own settings."""

import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import URL

from configuration.urls import check_parts

# Defaults, which the URL, its service or the environment override.
_DEFAULTS = {
    # The supervisor sets PGAPPNAME to the name of the process, which overrides this.
    "fallback_application_name": "countermand",
    "connect_timeout": "5",
    # Over TCP, a server that has vanished is noticed within half a minute.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_NOWHERE = "/nonexistent/countermand"


def read_url(url: str) -> dict[str, str]:
    """Returns the connection parameters in a URL, as libpq reads them.

    Raises ValueError, which quotes no part of it, where libpq cannot read it or would pass over a part of it.
    """
    check_parts(url)
    names = re.findall(r"[?&]([^=&]*)", url)
    if len(set(names)) < len(names):
        raise ValueError("names a parameter twice; several hosts are ?host=a,b&port=5432,5433 or @a:5432,b:5433/")
    try:
        found = conninfo_to_dict(url.replace("postgresql+psycopg://", "postgresql://", 1))
    except psycopg.ProgrammingError as error:
        # The quoted part may contain a part of the password.
        raise ValueError(f"has what libpq cannot read ({str(error).partition(chr(34))[0].strip(' :')})") from None
    read = {name: str(value) for name, value in found.items()}
    if not re.fullmatch(r"[\d,]*", read.get("port", "")):
        raise ValueError("has a port that is no number")
    return read


def engine_url(read: Mapping[str, str]) -> URL:
    """Returns SQLAlchemy's URL of the same place; what else was asked for is in `connect_arguments`."""
    hosts, ports = read.get("host", "").split(","), read.get("port", "").split(",")
    # libpq takes one port for all hosts, SQLAlchemy one for each.
    ports = ports * len(hosts) if len(ports) == 1 else ports
    query = {"host": ",".join(hosts), "port": ",".join(ports)}
    return URL.create(
        "postgresql+psycopg",
        read.get("user"),
        read.get("password"),
        database=read.get("dbname"),
        query={name: value for name, value in query.items() if value.strip(",")},
    )


def connect_arguments(read: Mapping[str, str], session: Mapping[str, str], *, pooled: bool) -> dict[str, Any]:
    """Returns what the driver is to connect with: what was asked for, our defaults, and the session's settings.

    A pooler gives the next transaction to another session of the server: nothing that belongs to one may be asked for,
    so no options at its start, and no prepared statements. Raises ValueError where what was asked for cannot be given.
    """
    asked = _asked(read)
    if asked.get("client_encoding", "utf8").lower() not in ("utf8", "utf-8", "unicode", "auto"):
        raise ValueError("asks for a client_encoding other than utf8, which Countermand sets itself")
    options = own_options(asked.get("options", ""), session)
    arguments = {
        **{name: value for name, value in _DEFAULTS.items() if not asked.get(name)},
        **read,
        # Whatever the database's own, or the environment's: texts come as texts.
        "client_encoding": "utf8",
    }
    if not pooled:
        return {**arguments, "options": _as_options({**options, **session})}
    if options and asked.get("options") != read.get("options"):
        raise ValueError("leads to a pooler, which takes no options of PGOPTIONS or of a service: name them in the URL")
    arguments.pop("options", None)
    return {**arguments, "prepare_threshold": None}


def own_options(options: str, session: Mapping[str, str]) -> dict[str, str]:
    """Returns the settings that the `options` of a URL ask for. Raises ValueError for one that we set ourselves."""
    words = iter(re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:[^\s\\]|\\.)+", options))
    found: dict[str, str] = {}
    for word in words:
        setting = next(words, "") if word == "-c" else word.removeprefix("-c" if word.startswith("-c") else "--")
        name, is_there, value = setting.partition("=")
        name = name.replace("-", "_").lower()
        if not word.startswith(("-c", "--")) or not is_there or not re.fullmatch(r"[a-z_][\w.]*", name):
            raise ValueError("has options that cannot be read: expected -c name=value, or --name=value")
        if name in session:
            raise ValueError(f"sets {name} in its options, which Countermand sets itself, to {session[name]}")
        found[name] = value
    return found


def _as_options(settings: Mapping[str, str]) -> str:
    escaped = {name: re.sub(r"([\s\\])", r"\\\1", value) for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


def _asked(read: Mapping[str, str]) -> dict[str, str]:
    """Returns the parameters of the URL, its service and the environment, as libpq merges them; makes no connection."""
    elsewhere = {name: value for name, value in read.items() if name not in ("host", "hostaddr", "port")}
    probe = pq.PGconn.connect_start(make_conninfo("", host=_NOWHERE, port="1", **elsewhere).encode())
    try:
        return {option.keyword.decode(): option.val.decode() for option in probe.info if option.val}
    finally:
        probe.finish()
