"""Desks of every kind, one at a time, and nobody who gets the wake-ups."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpdesks.desks_file import DesksFile, desks_file
from tests.helpdesks.fake import FakeDesk
from tests.integration.answers.desks import DESKS


@pytest.fixture(autouse=True)
def _nobody_gets_the_wake_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.running.wakeups.current_app", SimpleNamespace(send_task=lambda *_, **__: None))


@pytest.fixture
def file(system: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DesksFile]:
    """The desks file of this process."""
    with desks_file(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture(params=DESKS)
def desk(request: pytest.FixtureRequest, file: DesksFile) -> FakeDesk:
    """A desk in the desks file; of every kind, unless a test asks for some."""
    fake: FakeDesk = request.param()
    file.write(fake)
    return fake


@pytest.fixture
def gate(file: DesksFile) -> Iterator[Event]:
    """A gate that is opened at the latest when the test ends."""
    closed = Event()
    yield closed
    closed.set()
