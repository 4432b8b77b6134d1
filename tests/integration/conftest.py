"""The command and the web application, for the tests that use them."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from configuration.settings import settings
from database import transactions
from desks.registry import Helpdesks
from edi.partners import CharacterSet, Partner, Standard
from edi.transports.directory import DirectoryTransport
from tasks.running.wakeups import WakeUp
from tests.acknowledgements import the_partner
from tests.commands import Countermand, commands
from tests.deliveries import configured
from tests.readiness import everybody_gets_on
from tests.serving import serving
from web import webhooks
from workers.embedded import Services


@pytest.fixture
def countermand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Countermand]:
    """Runs a command in this process, with nobody there to answer its wake-ups."""
    with commands(monkeypatch, capsys) as run:
        yield run


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[WakeUp]:
    """The wake-ups that webhooks sent; no worker receives them."""
    heard: list[WakeUp] = []
    monkeypatch.setattr(webhooks, "wake", heard.append)
    return heard


@pytest.fixture
def six_desks(system: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Helpdesks]:
    """The desks of `tests.deliveries`, configured for this process and those that it starts."""
    with configured(monkeypatch, tmp_path) as desks:
        yield desks


@pytest.fixture
def http(six_desks: Helpdesks, woken: list[WakeUp]) -> Iterator[httpx2.Client]:
    """A client of the application, which serves those desks."""
    everybody_gets_on()
    with serving(six_desks) as url, httpx2.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture
def partner(home: Path) -> Partner:
    """That partner; its folders are there."""
    (home / "in").mkdir(parents=True)
    return the_partner(home)


@pytest.fixture
def x12_partner(home: Path) -> Partner:
    """An X12 partner with an inbox."""
    (home / "in").mkdir(parents=True)
    return Partner(
        name="SOUTH",
        our_id="SHOP01",
        our_qualifier="ZZ",
        their_id="WH02",
        their_qualifier="ZZ",
        transport=DirectoryTransport(home / "out", home / "in"),
        standard=Standard.X12_940_004010,
        character_set=CharacterSet.X12_EXTENDED,
    )


@pytest.fixture
def no_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An environment that names nothing, and a home in which nothing runs."""
    for name in ("DATABASE_URL", "BROKER_URL"):
        # Set before it is deleted, for the commands put what they find into the environment.
        monkeypatch.setenv(f"COUNTERMAND_{name}", "")
        monkeypatch.delenv(f"COUNTERMAND_{name}")
    monkeypatch.setenv("COUNTERMAND_HOME", str(tmp_path))
    settings.cache_clear()
    transactions.engine.cache_clear()
    yield tmp_path
    settings.cache_clear()
    transactions.engine.cache_clear()
