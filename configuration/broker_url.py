"""The broker's URL, read in one place for Celery, kombu and redis-py.

Each of them reads a URL in its own way: what one refuses another ignores, and Celery connects to a `rediss://` without
verifying the certificate. So they get only the parts that are read here.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from configuration import ConfigurationError

_STREAMS, _QUEUES = ("redis", "rediss"), ("amqp", "amqps")
_PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}
_TLS = ("rediss", "amqps")


@dataclass(frozen=True, slots=True)
class Tls:
    """How the server and we prove our identities; a file that is None is not used."""

    cert_reqs: ssl.VerifyMode = ssl.CERT_REQUIRED
    check_hostname: bool = True
    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    def _given(self) -> dict[str, Any]:
        files = {"ca_certs": self.ca_certs, "certfile": self.certfile, "keyfile": self.keyfile}
        return {"cert_reqs": self.cert_reqs, **{name: file for name, file in files.items() if file is not None}}

    def for_redis(self) -> dict[str, Any]:
        """Returns the arguments for redis-py, also by way of kombu."""
        given = {**self._given(), "check_hostname": self.check_hostname}
        return {f"ssl_{name}": value for name, value in given.items()}

    def for_amqp(self, host: str) -> dict[str, Any]:
        """Returns the arguments for py-amqp, which checks the host name only if given one."""
        return {**self._given(), **({"server_hostname": host} if self.check_hostname else {})}


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where the broker is, and how to connect to it."""

    is_stream: bool
    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    place: str
    """The number of the Redis database, or the virtual host of RabbitMQ."""
    tls: Tls | None
    without_options: str = field(repr=False)
    """The same URL without its options, for Celery; `kombu_tls` has the rest."""
    protocol: int | None = None
    """The requested version of Redis's protocol (RESP); None leaves it to redis-py."""

    @property
    def kombu_tls(self) -> dict[str, Any] | bool:
        """What kombu and Celery take as `ssl`; False for none."""
        if self.tls is None:
            return False
        return self.tls.for_redis() if self.is_stream else self.tls.for_amqp(self.host)

    def for_redis(self) -> dict[str, Any]:
        """Returns the arguments that redis-py connects by."""
        where = {"host": self.host, "port": self.port, "db": int(self.place)}
        tls = {} if self.tls is None else {"ssl": True, **self.tls.for_redis()}
        protocol = {} if self.protocol is None else {"protocol": self.protocol}
        return {**where, "username": self.user, "password": self.password, **protocol, **tls}


def parse_broker_url(url: str) -> BrokerUrl:
    """Reads `redis://`, `rediss://`, `amqp://` or `amqps://`. Raises ConfigurationError, which quotes no secret."""
    try:
        return _parse(url)
    except ValueError as error:
        raise ConfigurationError(f"COUNTERMAND_BROKER_URL cannot be used: {error}") from None


def _parse(url: str) -> BrokerUrl:
    scheme, mark, _ = url.partition("://")
    if not mark or scheme not in _PORTS:
        begins = f"begins with '{scheme}'" if mark and scheme.isalnum() else "is no URL"
        raise ConfigurationError(f"COUNTERMAND_BROKER_URL {begins}; expected redis://, rediss://, amqp:// or amqps://")
    try:
        parts = urlsplit(url)
        host, port = unquote(parts.hostname or ""), parts.port or _PORTS[scheme]
    except ValueError:
        # The original message may contain a part of the password.
        raise ValueError(
            "its host or port cannot be read; expected name:port, one of them, with each of / ? # @ : % in a user or "
            "password percent-encoded"
        ) from None
    if not re.fullmatch(r"[\w.:-]+", host) or parts.fragment or url.endswith("#"):
        raise ValueError(
            "it does not name one host, or holds a '#'; in a user or password / ? # @ : % must be percent-encoded"
        )
    is_stream = scheme in _STREAMS
    if ":" in host and not is_stream:
        raise ValueError("RabbitMQ cannot be reached by a bare IPv6 address; expected a name that leads to it")
    options = _options(parts.query)
    protocol = _protocol(options.pop("protocol")) if is_stream and "protocol" in options else None
    if options and scheme not in _TLS:
        raise ValueError(f"options such as {next(iter(options))} are for TLS; expected {scheme}s:// before them")
    return BrokerUrl(
        is_stream,
        host,
        port,
        unquote(parts.username or "") or None,
        unquote(parts.password or "") or None,
        _database(parts.path) if is_stream else unquote(parts.path[1:]) or "/",
        _tls(options) if scheme in _TLS else None,
        url.partition("?")[0],
        protocol,
    )


def _protocol(version: str) -> int:
    if version not in ("2", "3"):
        raise ValueError("its option protocol is not 2 or 3")
    return int(version)


def _database(path: str) -> str:
    number = path.removeprefix("/") or "0"
    if not (number.isascii() and number.isdecimal()):
        raise ValueError("its path is not the number of a database; expected redis://host:6379/0")
    return number


def _options(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    for name, _ in pairs:
        if name not in (*_READERS, "protocol"):
            shown = f"'{name}'" if name.isidentifier() and len(name) <= 40 else "one"
            raise ValueError(f"it has an option that we do not know, {shown}; expected {', '.join(_READERS)}")
    options = dict(pairs)
    if len(options) < len(pairs):
        raise ValueError("it has an option twice")
    return options


def _tls(options: Mapping[str, str]) -> Tls:
    read: dict[str, Any] = {}
    for name, value in options.items():
        try:
            read[name.removeprefix("ssl_")] = _READERS[name](value)
        except KeyError:
            raise ValueError(f"its option {name} is not {_EXPECTED[name]}") from None
        except OSError as error:
            raise ValueError(f"its option {name} names a file that cannot be read ({error.strerror})") from None
    if "keyfile" in read and "certfile" not in read:
        raise ValueError("it has ssl_keyfile without ssl_certfile")
    if read.get("cert_reqs") is ssl.CERT_NONE:
        # Without a certificate there is no name to check.
        read["check_hostname"] = False
    return Tls(**read)


def _file(path: str) -> str:
    with open(path, "rb"):
        return path


# To a client "optional" means the same as "required".
_REQUIREMENTS = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_REQUIRED, "none": ssl.CERT_NONE}
_SWITCH = {"true": True, "false": False}
_READERS: dict[str, Callable[[str], Any]] = {
    "ssl_cert_reqs": lambda value: _REQUIREMENTS[value.lower().removeprefix("cert_")],
    "ssl_check_hostname": lambda value: _SWITCH[value.lower()],
    "ssl_ca_certs": _file,
    "ssl_certfile": _file,
    "ssl_keyfile": _file,
}
_EXPECTED = {"ssl_cert_reqs": "required or none", "ssl_check_hostname": "true or false"}
