"""TLS to the broker: every client of ours verifies who answers, by the same options of one URL."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from celery import Celery

from configuration.settings import settings
from tests.builders import a_request, an_order, encoded, load, rows
from tests.commands import Countermand
from tests.processes import await_that
from tests.rabbitmq import URL, needs_rabbitmq, needs_rabbitmqctl, running, virtual_host
from tests.tls import Authority, speaking_tls
from workers.broker import BROKER_OUTAGES, StreamBroker, broker_at, is_stream
from workers.embedded import Services
from workers.intake import Source, Stop, run
from workers.intake_queue import QueueSource
from workers.intake_stream import StreamSource

Secure = Callable[..., str]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(params=["redis", pytest.param("amqp", marks=needs_rabbitmq)])
def plain(request: pytest.FixtureRequest, system: Services) -> str:
    """The URL of a broker without TLS."""
    return system.broker_url if request.param == "redis" else URL


def secured(plain: str, port: int, **options: object) -> str:
    """Returns the URL that leads to the same broker by TLS."""
    parts = urlsplit(plain)
    user = parts.netloc.rpartition("@")[0]
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return parts._replace(scheme=f"{parts.scheme}s", netloc=f"{user}@127.0.0.1:{port}", query=query).geturl()


def source_of(url: str) -> Source:
    return StreamSource(url) if is_stream(url) else QueueSource(url)


def receive(url: str) -> None:
    source = source_of(url)
    try:
        source.receive(wait=False)
    finally:
        source.start_over()


def connect_celery(url: str) -> None:
    """Connects as the workers, beat and every sender of wake-ups do."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("COUNTERMAND_BROKER_URL", url)
        monkeypatch.delitem(sys.modules, "celeryconfig", raising=False)
        settings.cache_clear()
        app = Celery(set_as_current=False)
        app.config_from_object("celeryconfig", force=True)
        with app.connection_for_write() as connection:
            connection.connect()
            connection.default_channel.close()
    settings.cache_clear()


CLIENTS: list[Callable[[str], object]] = [
    lambda url: broker_at(url).backlog(),
    receive,
    connect_celery,
]
by_every_client = pytest.mark.parametrize("connect", CLIENTS, ids=["look", "intake", "celery"])


@by_every_client
def test_a_server_that_the_named_authority_vouches_for_is_talked_to(
    plain: str, authority: Authority, connect: Callable[[str], object]
) -> None:
    with speaking_tls(urlsplit(plain).port or 0, authority.certificate("server")) as port:
        connect(secured(plain, port, ssl_ca_certs=authority.file))
        connect(secured(plain, port, ssl_ca_certs=authority.file, ssl_cert_reqs="required", ssl_check_hostname="true"))


@by_every_client
@pytest.mark.parametrize(
    ("of", "known"), [("127.0.0.1", False), ("127.0.0.1", "another"), ("broker.example", True)], ids=str
)
def test_a_server_that_does_not_prove_who_it_is_is_talked_to_by_nobody(
    plain: str,
    authority: Authority,
    connect: Callable[[str], object],
    tmp_path: Path,
    of: str,
    known: bool | str,
) -> None:
    other = Authority(tmp_path, "another").file if known == "another" else authority.file
    options = {"ssl_ca_certs": other} if known else {}
    with (
        speaking_tls(urlsplit(plain).port or 0, authority.certificate("server", of=of)) as port,
        pytest.raises(BROKER_OUTAGES, match=r"(?i)certificate.verify.failed"),
    ):
        connect(secured(plain, port, **options))


@by_every_client
def test_what_is_switched_off_is_switched_off_for_all(
    plain: str, authority: Authority, connect: Callable[[str], object]
) -> None:
    with speaking_tls(urlsplit(plain).port or 0, authority.certificate("server", of="broker.example")) as port:
        connect(secured(plain, port, ssl_ca_certs=authority.file, ssl_check_hostname="false"))
        connect(secured(plain, port, ssl_cert_reqs="none"))


@by_every_client
def test_a_server_that_wants_a_certificate_gets_it(
    plain: str, authority: Authority, connect: Callable[[str], object]
) -> None:
    certificate, client = authority.certificate("server"), authority.certificate("client")
    with speaking_tls(urlsplit(plain).port or 0, certificate, asks_for=authority.file) as port:
        connect(secured(plain, port, ssl_ca_certs=authority.file, ssl_certfile=client, ssl_keyfile=client))
        with pytest.raises(BROKER_OUTAGES):
            connect(secured(plain, port, ssl_ca_certs=authority.file))


@pytest.fixture(params=["redis", pytest.param("amqp", marks=needs_rabbitmqctl)])
def own(request: pytest.FixtureRequest, system: Services) -> Iterator[str]:
    """The URL of a broker without TLS, where nobody else's workers listen."""
    if request.param == "redis":
        yield system.broker_url
    else:
        with virtual_host() as url:
            yield url


def test_a_request_goes_all_its_way_by_tls(
    own: str, authority: Authority, countermand: Countermand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(an_order())
    with speaking_tls(urlsplit(own).port or 0, authority.certificate("server")) as port:
        url = secured(own, port, ssl_ca_certs=authority.file)
        monkeypatch.setenv("COUNTERMAND_BROKER_URL", url)
        settings.cache_clear()
        ended = countermand("requests", "submit", "-", stdin=encoded(a_request()) + b"\n")
        assert (ended.code, ended.out) == (0, "submitted 1, rejected 0\n")
        with running("worker", url, tmp_path / "worker.log"), running("beat", url, tmp_path / "beat.log"):

            class Taken(Stop):
                def is_set(self) -> bool:
                    return rows("SELECT 1 FROM change_request") != []

            source = source_of(url)
            run(source, Taken())
            source.start_over()
            await_that(lambda: rows("SELECT 1 FROM effect WHERE state = 'done'") != [], "a worker is woken up")
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


def test_a_stranger_between_us_and_the_broker_is_one_line_of_a_command(
    system: Services, authority: Authority, countermand: Countermand, monkeypatch: pytest.MonkeyPatch
) -> None:
    with speaking_tls(urlsplit(system.broker_url).port or 0, authority.certificate("server")) as port:
        monkeypatch.setenv("COUNTERMAND_BROKER_URL", secured(system.broker_url, port))
        settings.cache_clear()
        ended = countermand("requests", "wait")
    assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
    assert "certificate verify failed" in ended.err.lower()
    assert StreamBroker(system.broker_url).backlog() == 0
