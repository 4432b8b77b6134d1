"""The `countermand` command: what it prints, where, and with which exit code it ends."""

import gzip
from pathlib import Path

import pytest
from typer.main import get_command

from cli.main import cli
from tests.commands import Countermand, Ended, as_a_program, error_line, ndjson

COMMANDS = [
    "demo",
    "up",
    "migrate",
    "orders load",
    "orders show",
    "orders list",
    "requests submit",
    "requests show",
    "requests list",
    "requests wait",
    "export",
    "reprocess",
    "dead-letters list",
    "dead-letters show",
    "dead-letters repair",
    "dead-letters requeue",
    "desks check",
    "desks pull",
    "partners check",
    "partners next-number",
    "interchanges list",
    "interchanges show",
    "interchanges resend",
    "interchanges release",
    "interchanges receive",
    "interchanges received",
    "decide",
    "rules",
    "audit",
]


# Help and wrong usage


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(countermand: Countermand, command: str) -> None:
    ended = countermand(*command.split(), "--help")
    assert (ended.code, ended.err) == (0, "")
    assert f"countermand {command}" in ended.out


def test_no_command_is_missing_from_these_tests() -> None:
    found = []
    for name, command in get_command(cli).commands.items():  # type: ignore[attr-defined]
        found += [f"{name} {inner}" for inner in getattr(command, "commands", {})] or [name]
    assert set(COMMANDS) == set(found)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["orders", "nonsense"],
        ["orders", "show"],
        ["orders", "show", "1", "--nonsense"],
        ["orders", "list", "--limit", "0"],
        ["orders", "list", "--limit", "many"],
        ["orders", "list", "--status", "nonsense"],
        ["orders", "list", "--edi", "nonsense"],
        ["requests", "show", "zendesk:acme"],
        ["requests", "list", "--state", "nonsense"],
        ["requests", "list", "--outcome", "nonsense"],
        ["requests", "wait", "--timeout", "-1"],
        ["rules", "--format", "nonsense"],
        ["dead-letters", "show", "nonsense"],
        ["up", "--port", "0"],
        ["decide"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_ends_with_2(countermand: Countermand, arguments: list[str]) -> None:
    assert "Value error" not in error_line(countermand(*arguments), 2)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["orders", "show", "nobody's"], "order nobody's is not known"),
        (["requests", "show", "[red]", "[/]"], "request [/] of [red] is not known"),
        (["dead-letters", "show", "7"], "there is no dead letter 7; `countermand dead-letters list` lists them"),
        (["dead-letters", "requeue", "7"], "there is no dead letter 7; `countermand dead-letters list` lists them"),
        (["export", "--partner", "ACME"], "partner ACME is not configured; configured: WAREHOUSE"),
        (["reprocess", "--since", "monday"], "--since monday: expected a moment such as 2026-11-23T09:00:00Z"),
        (
            ["reprocess", "--state", "decided"],
            "--state decided: only parked requests can be reprocessed; a decision is made once",
        ),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else None,
)
def test_what_is_not_there_is_one_line_and_ends_with_2(
    countermand: Countermand, arguments: list[str], line: str
) -> None:
    assert error_line(countermand(*arguments), 2) == line


def test_no_command_at_all_shows_the_help_and_ends_with_2(countermand: Countermand) -> None:
    ended = countermand()
    assert (ended.code, ended.err) == (2, "")
    assert "Usage: countermand" in ended.out


# Files


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("command", [["orders", "load"], ["requests", "submit"], ["decide"]], ids=" ".join)
def test_a_file_that_cannot_be_read_is_one_line_and_ends_with_2(
    countermand: Countermand, tmp_path: Path, command: list[str]
) -> None:
    missing, folder, broken, cut = (str(tmp_path / name) for name in ("none", "folder", "broken.gz", "cut.gz"))
    Path(folder).mkdir()
    Path(broken).write_bytes(b"not gzip")
    Path(cut).write_bytes(gzip.compress(b"\n" * 100_000)[:-9])
    assert error_line(countermand(*command, missing), 2) == f"{missing} cannot be read: No such file or directory"
    assert error_line(countermand(*command, folder), 2) == f"{folder} cannot be read: Is a directory"
    for file in (broken, cut):
        assert error_line(countermand(*command, file), 2).startswith(f"{file} cannot be read on: ")


@pytest.mark.parametrize("name", ["empty", "empty.gz", "blank", "blank.gz"])
def test_a_file_without_lines_is_no_fault(countermand: Countermand, tmp_path: Path, name: str) -> None:
    lines = [b"", b"  ", b"\r"] if name.startswith("blank") else []
    assert countermand("decide", ndjson(tmp_path / name, *lines)) == Ended(0, "", "")


# Orders


# Requests


# The rules alone


def test_a_command_that_is_run_as_a_program_ends_with_its_exit_code(tmp_path: Path) -> None:
    missing = as_a_program("decide", str(tmp_path / "none"))
    assert error_line(missing, 2).endswith("No such file or directory")
    assert as_a_program("rules", "--format", "json").json[0]["number"] == "1"
