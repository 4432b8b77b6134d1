"""The reference pages name every command and every setting."""

import re
from collections.abc import Iterator
from pathlib import Path

from typer import Typer

from cli.main import cli
from configuration.settings import Settings

_DOCS = Path(__file__).parents[2] / "docs"


def _commands(app: Typer, group: str = "") -> Iterator[tuple[str, str]]:
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "").strip("_").replace("_", "-")
        yield group, name
    for sub in app.registered_groups:
        assert sub.typer_instance is not None
        yield from _commands(sub.typer_instance, str(sub.typer_instance.info.name))


def test_every_command_is_named() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (_DOCS / "commands.md").read_text("utf-8"), re.MULTILINE)
    named = [re.findall(r"[a-z-]+", row) for row in rows]
    known = list(_commands(cli))
    assert len(known) > 20
    assert [one for one in known if not any({*filter(None, one)} <= {*words} for words in named)] == []


def test_every_setting_is_named() -> None:
    rows = re.findall(r"^\| (`COUNTERMAND_.*?) \|", (_DOCS / "settings.md").read_text("utf-8"), re.MULTILINE)
    names = set()
    for row in rows:
        first, *suffixes = re.findall(r"`([A-Z_]+)`", row)
        names |= {first, *(first + suffix for suffix in suffixes)}
        names |= {first.rpartition("_")[0] + suffix for suffix in suffixes}
    assert {f"COUNTERMAND_{name.upper()}" for name in Settings.model_fields} - names == set()
