"""Running the `countermand` command in this process; the fixture `countermand` does it for a test."""

import gzip
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog import reset_defaults

from cli.main import main
from tests.builders import encoded


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, read as JSON."""
        return json.loads(self.out)


Countermand = Callable[..., Ended]


@contextmanager
def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Countermand]:
    """Runs commands in this process for the block, with nobody there to answer their wake-ups."""
    # Where tests run side by side, pytest says how wide their terminal is.
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("tasks.running.wakeups.current_app", SimpleNamespace(send_task=lambda *_, **__: None))

    def run(*arguments: str, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "argv", ["countermand", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, *capsys.readouterr())

    root = logging.getLogger()
    before = root.handlers, root.level
    yield run
    # The commands' logs go to a standard error that ends with the test.
    root.handlers, root.level = before
    reset_defaults()


def error_line(ended: Ended, code: int) -> str:
    """Returns the one line of an error."""
    assert (ended.code, ended.out) == (code, ""), ended
    assert ended.err.startswith("countermand: ")
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    return ended.err.removeprefix("countermand: ").rstrip()


def as_a_program(*arguments: str, stdin: bytes = b"", **environment: str) -> Ended:
    """Runs a command as its users do."""
    ended = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
    )
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def ndjson(path: Path, *values: bytes | dict[str, Any]) -> str:
    raw = b"".join((value if isinstance(value, bytes) else encoded(value)) + b"\n" for value in values)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return str(path)


AWAY = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"


REDIS_AWAY = "redis://127.0.0.1:1/0"
