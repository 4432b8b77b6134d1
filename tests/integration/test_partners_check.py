"""`countermand partners check`, and how a partners file that cannot be used is refused: in one line, at the start."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncssh
import pytest

from cli.terminal import out as terminal
from configuration.settings import settings
from edi.partners import Partner
from edi.transports.transport import NotReady
from tasks.export import export
from tasks.partners import _configured
from tests.acknowledgements import folder_of
from tests.builders import an_order, load
from tests.commands import Countermand, Ended, error_line
from tests.integration.sftp_server import PASSWORD, USER, Warehouse
from tests.partners_file import configure, north, south, toml

PARTNER = {
    "partner",
    "standard",
    "character_set",
    "test",
    "ours",
    "theirs",
    "warehouses",
    "orders_per_interchange",
    "lines_per_interchange",
    "grace_seconds",
    "schedule",
    "time_zone",
    "next_cutoff",
    "next_control_number",
    "reuses_released_numbers",
    "acknowledged_within_seconds",
    "transport",
    "hints",
    "problem",
    "untried",
}
NO_GLN = "their_id 4098765000006 with qualifier 14 is no GLN (check digit 3 expected)"
NOBODY_LISTENS = "postgresql://nobody@127.0.0.1:1/nothing"

Check = Callable[..., Ended]


@pytest.fixture
def check(countermand: Countermand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ended]]:
    """Writes the partners of these tables into the file and runs the command; it never shows a secret."""
    monkeypatch.setenv("SOUTH_PASSWORD", PASSWORD)

    def run(*arguments: str, **tables: dict[str, Any]) -> Ended:
        if tables:
            configure(tmp_path / "partners.toml", tables, monkeypatch)
        settings.cache_clear()
        ended = countermand("partners", "check", *arguments)
        assert PASSWORD not in ended.out + ended.err
        return ended

    yield run
    settings.cache_clear()


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any service."""
    for name in ("COUNTERMAND_DATABASE_URL", "COUNTERMAND_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COUNTERMAND_HOME", str(tmp_path / "nobody_home"))


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse(tmp_path / "warehouse").running() as running:
        yield running


def sftp(warehouse: Warehouse, **changes: Any) -> dict[str, Any]:
    """Returns a partner's table that leads to this server."""
    server = {
        "host": "127.0.0.1",
        "port": warehouse.port,
        "user": USER,
        "host_key": warehouse.host_key,
        "password": "SOUTH_PASSWORD",
        "outbox": "drop",
        "inbox": "out",
        **changes,
    }
    return south(Path("/unused"), directory=None, sftp=server)


# What it says


@pytest.mark.usefixtures("system")
def test_json_says_all_of_each_partner(check: Check, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    ended = check(
        "--json",
        NORTH=north(
            tmp_path / "north",
            grace_minutes=30,
            schedule=["30 9 * * *", "0 14 * * mon-fri"],
            time_zone="Europe/Rome",
            acknowledged_within_minutes=120,
            directory={"outbox": str(tmp_path / "north"), "inbox": str(tmp_path / "in")},
        ),
        SOUTH=south(tmp_path / "south", test=True, warehouses=None, reuse_released_numbers=True),
    )
    assert (ended.code, ended.err) == (0, "")
    assert (ended.json["ok"], ended.json["serves_all_warehouses"]) == (True, True)
    first, second = ended.json["partners"]
    assert (first.keys(), second.keys()) == (PARTNER, PARTNER)
    assert first["next_cutoff"].endswith(("30:00Z", "00:00Z"))
    del first["next_cutoff"]
    assert first == {
        "partner": "NORTH",
        "standard": "edifact-orders-d96a",
        "character_set": "UNOC",
        "test": False,
        "ours": "14:4012345000009",
        "theirs": "14:4098765000006",
        "warehouses": ["NORTH"],
        "orders_per_interchange": 500,
        "lines_per_interchange": 10_000,
        "grace_seconds": 1800,
        "schedule": ["30 9 * * *", "0 14 * * mon-fri"],
        "time_zone": "Europe/Rome",
        "next_control_number": 1,
        "reuses_released_numbers": False,
        "acknowledged_within_seconds": 7200,
        "transport": str(tmp_path / "north"),
        "hints": [NO_GLN],
        "problem": None,
        "untried": None,
    }
    # In X12 qualifier 14 says something else, and ZZ says nothing.
    assert second["hints"] == []
    assert (second["test"], second["warehouses"], second["reuses_released_numbers"]) == (True, None, True)
    assert (second["schedule"], second["next_cutoff"], second["acknowledged_within_seconds"]) == (None, None, None)
    assert not (tmp_path / "north").exists(), "a check leaves nothing behind"


@pytest.mark.usefixtures("system")
def test_a_person_reads_it_at_80_columns(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_width", 80)
    ended = check(
        NORTH=north(tmp_path / "n", schedule=["30 9 * * *"], time_zone="Europe/Rome"), SOUTH=south(tmp_path / "s")
    )
    assert (ended.code, ended.err) == (0, "")
    first, second, rest = ended.out.strip("\n").split("\n\n")
    facts = {line[2:16].strip(): line[17:] for line in first.splitlines()[1:-1]}
    assert (first.splitlines()[0], first.splitlines()[-1]) == ("NORTH", "  the transport works")
    cutoff = facts.pop("next cut-off")
    assert cutoff.endswith("30:00Z")
    assert facts == {
        "documents": "edifact-orders-d96a, UNOC",
        "from, to": "14:4012345000009, 14:4098765000006",
        "warehouses": "NORTH",
        "interchange": "at most 500 orders and 10,000 lines",
        "grace": "0 minutes after validation",
        "cut-offs": "30 9 * * * (Europe/Rome)",
        "next number": "1; a released one is used up",
        "transport": str(tmp_path / "n"),
    }
    assert "  cut-offs       none: what is due goes out at once\n" in second
    assert " ".join(rest.split()).startswith("no partner gets the orders of other warehouses")
    assert all(len(line) <= 80 for line in ended.out.splitlines() if str(tmp_path) not in line)


@pytest.mark.usefixtures("system")
def test_the_next_number_is_the_databases_once_there_was_an_interchange(check: Check, tmp_path: Path) -> None:
    tables = {"NORTH": north(tmp_path / "n", first_control_number=41), "SOUTH": south(tmp_path / "s")}

    def numbers() -> list[int]:
        return [one["next_control_number"] for one in check("--json", **tables).json["partners"]]

    assert numbers() == [41, 1]
    export()
    tables["SOUTH"] = south(tmp_path / "s", first_control_number=7)
    assert numbers() == [41, 7]
    load(an_order(warehouse="NORTH"))
    export()
    assert numbers() == [42, 7]
    assert "next number    42; a released one is used up\n" in check(**tables).out


@pytest.mark.parametrize("url", [None, NOBODY_LISTENS], ids=["none is configured", "it is away"])
@pytest.mark.usefixtures("nowhere")
def test_without_a_database_only_the_next_number_is_not_known(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    if url:
        monkeypatch.setenv("COUNTERMAND_DATABASE_URL", url)
    ended = check("--json", NORTH=north(tmp_path / "n"))
    assert (ended.code, ended.err) == (0, "")
    assert [one["next_control_number"] for one in ended.json["partners"]] == [None]
    assert "  next number    unknown, there is no database; a released one is used up\n" in check().out


@pytest.mark.usefixtures("nowhere")
def test_without_a_file_there_is_the_one_partner_for_all(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COUNTERMAND_PARTNERS", raising=False)
    ended = check("--json")
    assert ended.code == 0
    (one,) = ended.json["partners"]
    assert (one["partner"], one["warehouses"], one["hints"]) == ("WAREHOUSE", None, [])


@pytest.mark.parametrize(
    ("changes", "hints"),
    [
        ({"their_id": "4098765000003"}, []),
        ({"their_qualifier": "ZZ"}, []),
        ({"our_id": "401234500000"}, ["our_id 401234500000 with qualifier 14 is no GLN (13 digits expected)", NO_GLN]),
        ({"standard": "x12-940-004010", "character_set": "x12-extended"}, []),
    ],
)
@pytest.mark.usefixtures("nowhere")
def test_an_id_that_should_be_a_gln_and_is_none_is_a_hint_and_no_problem(
    check: Check, tmp_path: Path, changes: dict[str, Any], hints: list[str]
) -> None:
    ended, as_json = check(NORTH=north(tmp_path / "n", **changes)), check("--json")
    assert (ended.code, as_json.json["ok"], as_json.json["partners"][0]["hints"]) == (0, True, hints)
    printed = " ".join(ended.out.split())
    assert [f"hint: NORTH: {hint}" in printed for hint in hints] == [True] * len(hints)
    assert printed.count("hint: ") == len(hints)


# What does not work


@pytest.mark.usefixtures("nowhere")
def test_a_server_that_works_is_left_as_it_was(check: Check, warehouse: Warehouse) -> None:
    ended = check("--json", SOUTH=sftp(warehouse))
    assert (ended.code, ended.json["partners"][0]["problem"]) == (0, None)
    assert (warehouse.files(), warehouse.files("out")) == ([], [])


@pytest.mark.usefixtures("nowhere")
def test_a_server_that_forbids_names_with_a_dot_does_not_work(check: Check, warehouse: Warehouse) -> None:
    warehouse.forbids_hidden = True
    ended = check(SOUTH=sftp(warehouse))
    assert ended.code == 1
    assert "the server has to allow names that begin with a dot and end in .part" in ended.out
    assert "works" not in ended.out


@pytest.mark.usefixtures("nowhere")
def test_a_server_that_lets_nobody_remove_files_is_unclear(check: Check, warehouse: Warehouse) -> None:
    warehouse.refusals["remove"] = asyncssh.SFTPPermissionDenied("denied")
    ended = check(SOUTH=sftp(warehouse))
    assert ended.code == 1
    assert "  UNTRIED        sftp://" in ended.out
    assert "was not tried: the server forbids removing what a check would make" in ended.out
    assert "works" not in ended.out
    [found] = check("--json", SOUTH=sftp(warehouse)).json["partners"]
    assert (found["problem"], found["untried"] is None) == (None, False)
    assert warehouse.files() == []


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


OTHER_KEY = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"port": _closed_port()}, "Connection refused"),
        ({"host": "warehouse.invalid"}, "sftp://store@warehouse.invalid:"),
        ({"host_key": OTHER_KEY}, "host key refused: found ssh-ed25519 SHA256:"),
        ({"user": "nobody"}, "Authentication failed"),
        ({"outbox": "elsewhere"}, "elsewhere: found nothing, expected a folder"),
        ({"outbox": "a_file"}, "a_file: found no folder, expected a folder"),
        ({"inbox": "elsewhere"}, "elsewhere: found nothing, expected a folder"),
    ],
    ids=["nobody listens", "no such host", "another host key", "an unknown user", "no folder", "a file", "no inbox"],
)
@pytest.mark.usefixtures("nowhere")
def test_a_server_that_does_not_work_is_one_line_and_ends_with_1(
    check: Check, warehouse: Warehouse, tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    (warehouse.root / "a_file").touch()
    tables = {"SOUTH": sftp(warehouse, **changes), "NORTH": north(tmp_path / "n")}
    ended = check("--json", **tables)
    assert (ended.code, ended.json["ok"]) == (1, False)
    broken, works = (one["problem"] for one in ended.json["partners"])
    assert expected in broken
    assert len(broken.splitlines()) == 1
    assert works is None
    said = check(**tables)
    assert said.code == 1
    [line] = [line for line in said.out.splitlines() if line.startswith("  PROBLEM")]
    assert line == f"  PROBLEM        {broken}"
    assert said.out.count("the transport works") == 1


@pytest.mark.usefixtures("nowhere")
def test_folders_that_do_not_work_are_reported(check: Check, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "n").mkdir()
    ended = check(
        "--json",
        NORTH=north(tmp_path, directory={"outbox": str(tmp_path / "n"), "inbox": str(tmp_path / "absent")}),
        SOUTH=south(tmp_path / "file"),
    )
    assert ended.code == 1
    assert [one["problem"] for one in ended.json["partners"]] == [
        f"{tmp_path / 'absent'} is not there; expected a directory",
        f"{tmp_path / 'file'} is no directory; expected a directory",
    ]


# A file that cannot be used


@pytest.fixture
def unusable(system: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Names a file with a mistake in the environment; returns what is told of it."""
    file = tmp_path / "partners.toml"
    file.write_text(toml({"NORTH": north(tmp_path, tset=True)}), "utf-8")
    monkeypatch.setenv("COUNTERMAND_PARTNERS", str(file))
    settings.cache_clear()
    _configured.cache_clear()
    return f"the partners file {file}: partners.NORTH.tset is not a key that we know"


@pytest.mark.parametrize(
    "command",
    [
        ["up"],
        ["export"],
        ["export", "--partner", "NORTH"],
        ["audit"],
        ["partners", "check"],
        ["partners", "check", "--json"],
        ["interchanges", "resend", "NORTH", "1"],
        ["interchanges", "release", "NORTH", "1"],
        ["interchanges", "receive"],
    ],
    ids=" ".join,
)
def test_every_command_that_needs_the_partners_refuses_in_one_line(
    unusable: str, countermand: Countermand, command: list[str]
) -> None:
    assert error_line(countermand(*command), 2) == unusable


def test_a_worker_refuses_to_start_in_one_line(unusable: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "--pool", "solo"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout, ended.stderr.decode()) == (2, b"", f"worker: {unusable}\n")


@pytest.mark.parametrize(("name", "module"), [("intake", "workers.intake"), ("http", "web")])
def test_whoever_decides_refuses_to_start_in_one_line(unusable: str, name: str, module: str) -> None:
    command = [sys.executable, "-m", module]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr.decode()) == (2, b"", f"{name}: {unusable}\n")


@pytest.mark.usefixtures("system")
def test_a_partner_that_is_not_configured_is_answered_with_those_that_are(
    countermand: Countermand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path / "partners.toml", {"NORTH": north(tmp_path), "SOUTH": south(tmp_path)}, monkeypatch)
    line = error_line(countermand("export", "--partner", "north"), 2)
    assert line == "partner north is not configured; configured: NORTH, SOUTH"


def test_a_file_system_without_hard_links_is_reported_by_the_check_which_leaves_nothing(partner: Partner) -> None:
    transport = folder_of(partner)
    transport.check()
    with (
        patch.object(os, "link", side_effect=OSError(errno.EPERM, "Operation not permitted")),
        pytest.raises(NotReady, match="hard link"),
    ):
        transport.check()
    assert list(transport.folder.parent.glob(".*")) == []
