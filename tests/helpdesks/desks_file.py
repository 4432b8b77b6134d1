"""The desks file of a test, with fake desks behind it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from configuration.settings import settings
from tasks.helpdesks import helpdesks, store_texts
from tests.helpdesks.fake import FakeDesk
from tests.helpdesks.server import serving


class DesksFile:
    """Which desks this process, and those it starts, answer; may be written anew in the middle of a test."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, servers: ExitStack) -> None:
        self._path, self._monkeypatch, self._servers = path, monkeypatch, servers
        self._urls: dict[FakeDesk, str] = {}

    def write(self, *fakes: FakeDesk, **changes: Any) -> None:
        """Serves these desks and names them in the file; `changes` are keys of their tables."""
        tables = [self._table(fake, changes) for fake in fakes]
        self._path.write_text("\n".join(tables))
        for fake in fakes:
            self.environment(**fake.environment)
        self.environment(COUNTERMAND_DESKS=str(self._path))

    def environment(self, **variables: str) -> None:
        """Sets variables, as if the process had been started with them."""
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)
        _forget()

    def url(self, fake: FakeDesk) -> str:
        """Serves a desk, from now on until the end of the test, and returns its URL."""
        if fake not in self._urls:
            self._urls[fake] = self._servers.enter_context(serving(fake))
        return self._urls[fake]

    def _table(self, fake: FakeDesk, changes: dict[str, Any]) -> str:
        table = {**fake.table(self.url(fake)), **changes}
        # Texts and numbers are the same in TOML as in JSON.
        return "\n".join([f"[desks.{fake.kind}]", *(f"{key} = {_toml(value)}" for key, value in table.items())])


@contextmanager
def desks_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DesksFile]:
    """A desks file in a folder; this process forgets what it has read of it before and after."""
    with ExitStack() as servers:
        _forget()
        yield DesksFile(folder / "desks.toml", monkeypatch, servers)
    _forget()


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


def _forget() -> None:
    settings.cache_clear()
    helpdesks.cache_clear()
    store_texts.cache_clear()
