"""The broker's URL as all clients read it, and what is refused of it without a word of the password."""

import ssl
from pathlib import Path

import pytest
from kombu import Connection
from redis import Redis

from configuration import ConfigurationError
from configuration.broker_url import Tls, parse_broker_url

SECRET = "S3cr3tP4ss"


@pytest.mark.parametrize(
    ("url", "is_stream", "where"),
    [
        ("redis://localhost", True, ("localhost", 6379, None, None, "0")),
        ("redis://:a%2Fb@valkey:7000/3", True, ("valkey", 7000, None, "a/b", "3")),
        ("rediss://me:a%40b@valkey/", True, ("valkey", 6379, "me", "a@b", "0")),
        ("amqp://guest:guest@rabbit//", False, ("rabbit", 5672, "guest", "guest", "/")),
        ("amqp://guest:guest@rabbit/", False, ("rabbit", 5672, "guest", "guest", "/")),
        ("amqp://guest:guest@rabbit/shop%2Fa", False, ("rabbit", 5672, "guest", "guest", "shop/a")),
        ("amqps://guest:guest@rabbit", False, ("rabbit", 5671, "guest", "guest", "/")),
    ],
)
def test_a_url_leads_every_client_to_the_same_place(
    url: str, is_stream: bool, where: tuple[str, int, str | None, str | None, str]
) -> None:
    at = parse_broker_url(url)
    assert (at.is_stream, (at.host, at.port, at.user, at.password, at.place)) == (is_stream, where)
    kombu = Connection(at.without_options, ssl=at.kombu_tls)
    reported = kombu.hostname, kombu.port, kombu.userid, kombu.password, kombu.virtual_host
    # kombu's default is "/", which its Redis takes for 0.
    place = "0" if is_stream and reported[4] == "/" else reported[4]
    assert (reported[0], reported[1] or at.port, *reported[2:4], place) == where
    if is_stream:
        given = Redis(**at.for_redis()).connection_pool.connection_kwargs
        assert (given["host"], given["port"], given["username"], given["password"], str(given["db"])) == where


def test_tls_is_verified_where_nothing_is_said_of_it() -> None:
    assert parse_broker_url("rediss://valkey").tls == parse_broker_url("amqps://rabbit").tls == Tls()
    assert (Tls().cert_reqs, Tls().check_hostname) == (ssl.CERT_REQUIRED, True)
    assert parse_broker_url("redis://valkey").kombu_tls is False


def test_each_option_reaches_every_client(tmp_path: Path) -> None:
    file = tmp_path / "one.pem"
    file.touch()
    options = f"ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={file}&ssl_certfile={file}&ssl_keyfile={file}"
    stream = parse_broker_url(f"rediss://valkey?{options}&ssl_check_hostname=False")
    files = {"ssl_ca_certs": str(file), "ssl_certfile": str(file), "ssl_keyfile": str(file)}
    expected = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": False, **files}
    assert stream.kombu_tls == expected
    assert stream.for_redis().items() >= {"ssl": True, **expected}.items()
    queue = parse_broker_url(f"amqps://rabbit?{options}")
    assert queue.kombu_tls == {
        **{name.removeprefix("ssl_"): value for name, value in files.items()},
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": "rabbit",
    }


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"redis://:{SECRET}#word@valkey/0", "percent-encoded"),
        (f"redis://:{SECRET}?word@valkey/0", "percent-encoded"),
        (f"redis://:{SECRET}/word@valkey/0", "percent-encoded"),
        (f"redis://:{SECRET}@valkey:port/0", "percent-encoded"),
        (f"redis://:{SECRET}@valkey/0#", "percent-encoded"),
        (f"amqp://me:{SECRET}@one;amqp://me:{SECRET}@two", "percent-encoded"),
        (f"redis://:{SECRET}@", "percent-encoded"),
        (f"redis://:{SECRET}@valkey/zero", "not the number of a database"),
        (f"redis://:{SECRET}@valkey/1/2", "not the number of a database"),
        (f"redis://:{SECRET}@valkey/0?socket_timeout=1", "an option that we do not know, 'socket_timeout'"),
        (f"amqp://me:{SECRET}@rabbit//?heartbeat=1", "an option that we do not know, 'heartbeat'"),
        (f"rediss://valkey?{SECRET}@x", "an option that we do not know, one"),
        (f"redis://:{SECRET}@valkey?ssl_cert_reqs=none", "are for TLS; expected rediss://"),
        (f"amqp://me:{SECRET}@rabbit?ssl_cert_reqs=none", "are for TLS; expected amqps://"),
        (f"rediss://:{SECRET}@valkey?ssl_cert_reqs=perhaps", "ssl_cert_reqs is not required or none"),
        (f"rediss://:{SECRET}@valkey?ssl_check_hostname=", "ssl_check_hostname is not true or false"),
        (f"rediss://:{SECRET}@valkey?ssl_ca_certs=/no/such.pem", "ssl_ca_certs names a file that cannot be read"),
        (f"rediss://:{SECRET}@valkey?ssl_cert_reqs=none&ssl_cert_reqs=required", "an option twice"),
        (f"amqp://me:{SECRET}@[::1]//", "IPv6"),
        (f"http://:{SECRET}@valkey", "begins with 'http'; expected redis://"),
        (SECRET, "is no URL; expected redis://"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line_without_the_password(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_broker_url(url)
    line = str(refused.value)
    assert why in line
    assert SECRET not in line
    assert "\n" not in line


def test_a_url_that_is_shown_shows_no_password() -> None:
    assert SECRET not in repr(parse_broker_url(f"rediss://:{SECRET}@valkey/0"))
