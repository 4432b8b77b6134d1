"""What the crash tests stand on beside `tests/conftest.py`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from workers.embedded import Services

PARTNER = """
[partners.ACME]
our_id = "STORE"
our_qualifier = "14"
their_id = "4012345000009"
their_qualifier = "14"
standard = "edifact-orders-d96a"
character_set = "UNOC"
grace_minutes = 0
"""


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives the one partner of this process, and of those that it starts, a transport."""

    def use(transport: str) -> None:
        file = tmp_path / "partners.toml"
        file.write_text(PARTNER + transport)
        monkeypatch.setenv("COUNTERMAND_PARTNERS", str(file))

    return use


@pytest.fixture
def broker(system: Services) -> Iterator[redis.Redis]:
    """The broker, as an integration and an operator see it."""
    with redis.Redis.from_url(system.broker_url) as client:
        yield client
