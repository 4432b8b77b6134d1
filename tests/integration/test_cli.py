"""The `countermand` command: what it prints, where, and with which exit code it ends."""

import base64
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import alembic.command
import pytest
from redis import Redis
from sqlalchemy import Engine, NullPool, create_engine, make_url
from typer.main import get_command

from cli.main import cli
from cli.terminal import brief
from configuration.settings import settings
from database import transactions
from database.migrate import alembic_config
from rules.model import AddressRole
from rules.table import ADDRESS_RULES, RULES
from tests.builders import a_request, an_address, an_order, decide_all, deliver, encoded, load, request, rows, settle
from tests.commands import Countermand, Ended, told
from tests.databases import working_on
from workers.broker import STREAM, StreamBroker
from workers.discovery import announced
from workers.embedded import Services

ORDER = {
    "number",
    "status",
    "edi",
    "version",
    "customer",
    "shipping",
    "billing",
    "lines",
    "placed_at",
    "warehouse",
    "interchange",
    "changelog",
}
CHANGELOG = {"at", "actor", "action", "request", "note", "before", "after"}
REQUEST = {
    "source",
    "id",
    "order",
    "kind",
    "ticket",
    "state",
    "outcome",
    "reasons",
    "advice",
    "received_at",
    "decided_at",
    "error",
    "effects",
    "notification",
}
DECISION = {"outcome", "reasons", "status", "shipping", "billing", "effects", "advice"}
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
    assert "Value error" not in told(countermand(*arguments), 2)


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
    assert told(countermand(*arguments), 2) == line


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
    assert told(countermand(*command, missing), 2) == f"{missing} cannot be read: No such file or directory"
    assert told(countermand(*command, folder), 2) == f"{folder} cannot be read: Is a directory"
    for file in (broken, cut):
        assert told(countermand(*command, file), 2).startswith(f"{file} cannot be read on: ")


@pytest.mark.parametrize("name", ["empty", "empty.gz", "blank", "blank.gz"])
def test_a_file_without_lines_is_no_fault(countermand: Countermand, tmp_path: Path, name: str) -> None:
    lines = [b"", b"  ", b"\r"] if name.startswith("blank") else []
    assert countermand("decide", ndjson(tmp_path / name, *lines)) == Ended(0, "", "")


# Services that are away


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


NEED_SERVICES = [
    ["migrate"],
    ["orders", "show", "1"],
    ["orders", "list", "--json"],
    ["orders", "load", "-"],
    ["requests", "submit", "-"],
    ["requests", "show", "a", "b"],
    ["requests", "list"],
    ["requests", "wait"],
    ["export"],
    ["reprocess"],
    ["dead-letters", "list"],
    ["dead-letters", "show", "1"],
    ["dead-letters", "repair", "1", "-"],
    ["dead-letters", "requeue", "1"],
    ["audit"],
]
AWAY = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"
REDIS_AWAY = "redis://127.0.0.1:1/0"


@pytest.fixture
def files(no_services: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose `countermand up` was started with a partners file and a desks file, in an environment without."""
    home, services = no_services, Services(AWAY, REDIS_AWAY)
    for name in ("partners", "desks"):
        (home / f"{name}.toml").touch()
        monkeypatch.setenv(f"COUNTERMAND_{name.upper()}", str(home / f"{name}.toml"))
    shared = {"PATIENCE_SECONDS": "901", "HTTP_HOST": "127.0.0.2", "HTTP_PORT": "8123"}
    for name, value in shared.items():
        monkeypatch.setenv(f"COUNTERMAND_{name}", value)
    settings.cache_clear()
    with announced(services, home):
        for name in ("PARTNERS", "DESKS", *shared):
            monkeypatch.delenv(f"COUNTERMAND_{name}")
        settings.cache_clear()
        yield home


@pytest.mark.parametrize("command", [["export"], ["audit"], ["orders", "list"]], ids=" ".join)
def test_a_command_in_another_terminal_knows_the_partners_and_desks_of_the_running_countermand(
    countermand: Countermand, files: Path, command: list[str]
) -> None:
    countermand(*command)
    assert (settings().partners, settings().desks) == (files / "partners.toml", files / "desks.toml")


def test_checks_in_another_terminal_look_at_the_files_of_the_running_countermand(
    countermand: Countermand, files: Path
) -> None:
    assert told(countermand("partners", "check"), 2).startswith(f"the partners file {files / 'partners.toml'} names no")
    assert (
        countermand("desks", "check").out
        == "\nmail         not configured: answers without a ticket go to the log\n0 desks are ready\n"
    )


def test_a_command_in_another_terminal_is_as_patient_as_the_running_countermand_and_knows_where_it_listens(
    countermand: Countermand, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "desks.toml").write_text('[desks.zammad]\nsource = "zammad:acme"\nwebhook_secret = "ZAMMAD_SECRET"\n')
    monkeypatch.setenv("ZAMMAD_SECRET", "secret")
    assert countermand("desks", "check", "--json").json["desks"][0]["webhook_url"] == (
        "http://127.0.0.2:8123/webhooks/zammad"
    )
    assert settings().patience_seconds == 901
    monkeypatch.setenv("COUNTERMAND_HTTP_PORT", "9000")
    settings.cache_clear()
    countermand("desks", "check")
    assert settings().http_port == 9000


def test_a_command_in_another_terminal_knows_that_the_running_countermand_works_through_a_pooler(
    countermand: Countermand, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = json.loads((files / "services.json").read_text())
    (files / "services.json").write_text(json.dumps({**services, "database_pooled": True}))
    monkeypatch.setenv("COUNTERMAND_DATABASE_POOLED", "false")
    settings.cache_clear()
    countermand("orders", "list")
    assert settings().database_pooled
    # It is said of that URL alone.
    monkeypatch.setenv("COUNTERMAND_DATABASE_URL", services["database_url"])
    monkeypatch.setenv("COUNTERMAND_DATABASE_POOLED", "false")
    settings.cache_clear()
    monkeypatch.delenv("COUNTERMAND_BROKER_URL")
    settings.cache_clear()
    countermand("requests", "wait")
    assert (settings().database_pooled, settings().broker_url) == (False, REDIS_AWAY)


@pytest.mark.parametrize("name", ["PARTNERS", "DESKS"])
@pytest.mark.parametrize("running", [True, False], ids=["with a file", "without one"])
def test_a_command_that_is_told_of_another_file_than_the_running_countermand_is_refused(
    countermand: Countermand, files: Path, monkeypatch: pytest.MonkeyPatch, name: str, running: bool
) -> None:
    theirs = str(files / f"{name.lower()}.toml") if running else ""
    services = json.loads((files / "services.json").read_text())
    (files / "services.json").write_text(json.dumps({**services, name.lower(): theirs}))
    monkeypatch.setenv(f"COUNTERMAND_{name}", "other.toml")
    assert told(countermand("export"), 2) == (
        f"COUNTERMAND_{name} names {Path('other.toml').resolve()}, but the countermand of {files} runs with "
        f"{theirs or f'no {name.lower()} file'}: unset COUNTERMAND_{name} here, or start `countermand up` again with "
        "the same file"
    )


def test_a_command_that_names_the_same_file_by_another_path_is_not_refused(
    countermand: Countermand, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    monkeypatch.setenv("COUNTERMAND_PARTNERS", "partners.toml")
    assert told(countermand("orders", "list"), 3).startswith("the database cannot be reached")


@pytest.mark.parametrize("arguments", NEED_SERVICES, ids=" ".join)
def test_without_services_a_command_says_how_to_start_them_and_ends_with_3(
    countermand: Countermand, no_services: Path, arguments: list[str]
) -> None:
    assert told(countermand(*arguments), 3) == (
        f"no countermand runs in {no_services}: start it with `countermand up`, "
        "set COUNTERMAND_HOME to where one is up, or set COUNTERMAND_DATABASE_URL and COUNTERMAND_BROKER_URL"
    )


@pytest.mark.parametrize(
    "arguments",
    [one for one in NEED_SERVICES if one[1:] not in (["wait"], ["submit", "-"], ["load", "-"])],
    ids=" ".join,
)
def test_a_database_that_is_away_is_one_line_and_ends_with_3(
    countermand: Countermand, no_services: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("COUNTERMAND_DATABASE_URL", AWAY)
    monkeypatch.setenv("COUNTERMAND_BROKER_URL", REDIS_AWAY)
    assert told(countermand(*arguments), 3).startswith("the database cannot be reached: ")


@pytest.mark.parametrize("url", [REDIS_AWAY, "amqp://guest:geheim@127.0.0.1:1//"])
def test_a_broker_that_is_away_is_one_line_without_its_password_and_ends_with_3(
    countermand: Countermand, no_services: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("COUNTERMAND_DATABASE_URL", AWAY)
    monkeypatch.setenv("COUNTERMAND_BROKER_URL", url)
    line = told(countermand("requests", "wait"), 3)
    assert " cannot be reached: " in line
    assert "geheim" not in line


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("BROKER_URL", "http://localhost", "expected redis://, rediss://, amqp:// or amqps://"),
        ("BROKER_URL", "nonsense", "expected redis://, rediss://, amqp:// or amqps://"),
        ("BROKER_URL", "redis://localhost:port/0", "COUNTERMAND_BROKER_URL cannot be used: "),
        ("BROKER_URL", "redis://localhost/0?socket_timeout=soon", "COUNTERMAND_BROKER_URL cannot be used: "),
        ("DATABASE_URL", "nonsense", "COUNTERMAND_DATABASE_URL is not a URL such as postgresql://"),
        (
            "DATABASE_URL",
            "postgresql://localhost:port/x",
            "COUNTERMAND_DATABASE_URL is not a URL such as postgresql://",
        ),
        (
            "DATABASE_URL",
            "mysql://localhost/x",
            "COUNTERMAND_DATABASE_URL begins with mysql://; expected postgresql://",
        ),
        ("PATIENCE_SECONDS", "soon", "COUNTERMAND_PATIENCE_SECONDS input should be a valid number"),
        ("PATIENCE_SECONDS", "0", "COUNTERMAND_PATIENCE_SECONDS input should be greater than 0"),
    ],
)
def test_a_wrong_setting_is_one_line_and_ends_with_2(
    countermand: Countermand, no_services: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.setenv("COUNTERMAND_DATABASE_URL", AWAY)
    monkeypatch.setenv("COUNTERMAND_BROKER_URL", REDIS_AWAY)
    monkeypatch.setenv(f"COUNTERMAND_{name}", value)
    command = ["requests", "submit", "-"] if name == "BROKER_URL" else ["orders", "list"]
    assert line in told(countermand(*command), 2)


def test_a_database_without_our_tables_is_told_to_be_migrated(countermand: Countermand, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    for arguments in (["orders", "list"], ["requests", "wait"], ["audit"], ["dead-letters", "list"]):
        assert told(countermand(*arguments), 2).endswith("run `countermand migrate`")
    ended = countermand("migrate")
    assert (ended.code, ended.err) == (0, "")
    assert countermand("orders", "list", "--json").json == []


def test_a_database_of_an_earlier_version_is_told_to_be_migrated(countermand: Countermand, engine: Engine) -> None:
    with engine.begin() as connection:
        alembic.command.downgrade(alembic_config(connection), "0004")
    assert told(countermand("dead-letters", "list"), 2).endswith("run `countermand migrate`")
    assert countermand("migrate").code == 0
    assert countermand("dead-letters", "list", "--json").json == []


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_in_utf8_is_refused_before_anything_is_in_it(
    countermand: Countermand, system: Services, encoding: str
) -> None:
    url = make_url(system.database_url)
    name = f"{url.database}_{encoding}".lower()
    server = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} ENCODING {encoding} LOCALE 'C' TEMPLATE template0")
    try:
        with working_on(url.set(database=name).render_as_string(hide_password=False)):
            refused = told(countermand("migrate"), 2)
            assert told(countermand("orders", "list"), 2).endswith("run `countermand migrate`")
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    assert refused.startswith(f"the database {name} is in {encoding}, which cannot write every name and address")


def test_loading_while_the_broker_is_away_loads_and_keeps_stdout_pure(system: Services, tmp_path: Path) -> None:
    file = ndjson(tmp_path / "orders", an_order())
    ended = as_a_program("orders", "load", file, "--json", COUNTERMAND_BROKER_URL=REDIS_AWAY)
    assert (ended.code, ended.json["loaded"]) == (0, 1)
    assert "could not send a wake-up" in ended.err
    assert "Traceback" not in ended.err


# Orders


@pytest.mark.usefixtures("system")
def test_good_orders_among_bad_lines_are_loaded_and_the_bad_lines_told_by_number(
    countermand: Countermand, tmp_path: Path
) -> None:
    file = ndjson(tmp_path / "orders", an_order("1"), b"", b"{", an_order("2"), an_order("3", currency="euro"))
    ended = countermand("orders", "load", file, "--json")
    assert (ended.code, ended.err) == (1, "")
    rejected = ended.json.pop("rejected")
    assert [one["line"] for one in rejected] == [3, 5]
    assert "invalid JSON" in rejected[0]["error"]
    assert rejected[1]["error"].startswith("currency: ")
    assert {name: ended.json[name] for name in ("loaded", "validated", "unchanged", "differences")} == {
        "loaded": 2,
        "validated": 0,
        "unchanged": 0,
        "differences": [],
    }
    for_people = countermand("orders", "load", file)
    assert for_people.code == 1
    assert for_people.out == "loaded 0, validated 0, unchanged 2, different 0, rejected 2\n"
    assert [line.split(": ")[0] for line in for_people.err.splitlines()] == [f"{file}, line 3", f"{file}, line 5"]


@pytest.mark.usefixtures("system")
def test_loading_again_changes_nothing(countermand: Countermand, tmp_path: Path) -> None:
    file = ndjson(tmp_path / "orders", *(an_order(str(number)) for number in range(20)))
    assert countermand("orders", "load", file, "--json").json["loaded"] == 20
    before = countermand("orders", "show", "7", "--json").out
    again = countermand("orders", "load", file, "--json")
    assert (again.code, again.json["loaded"], again.json["unchanged"]) == (0, 0, 20)
    assert countermand("orders", "show", "7", "--json").out == before


@pytest.mark.usefixtures("system")
def test_a_difference_is_told_by_field_and_nothing_is_overwritten(countermand: Countermand, tmp_path: Path) -> None:
    load(an_order("1"))
    before = countermand("orders", "show", "1", "--json").out
    other = an_order("1", warehouse="NORTH", shipping=an_address(city="Bonn"), lines=an_order()["lines"][:1])
    file = ndjson(tmp_path / "orders", other)
    ended = countermand("orders", "load", file, "--json")
    assert ended.code == 1
    assert ended.json["differences"] == [{"number": "1", "fields": ["warehouse", "shipping", "lines"]}]
    assert countermand("orders", "show", "1", "--json").out == before
    assert "order 1: the store now says otherwise in warehouse" in countermand("orders", "load", file).out


@pytest.mark.usefixtures("system")
def test_many_differences_are_cut_short_for_people_and_said_to_be(countermand: Countermand, tmp_path: Path) -> None:
    load(*(an_order(str(number)) for number in range(25)))
    file = ndjson(tmp_path / "orders", *(an_order(str(number), warehouse="NORTH") for number in range(25)))
    assert "… and 5 more orders; --json lists them all\n" in countermand("orders", "load", file).out


@pytest.mark.usefixtures("system")
def test_the_validation_of_a_pre_order_is_taken_over(countermand: Countermand, tmp_path: Path) -> None:
    load(an_order("1", status="pre_order"), an_order("2", status="pre_order"))
    deliver(a_request("2"))
    settle()
    ended = countermand("orders", "load", ndjson(tmp_path / "orders.gz", an_order("1"), an_order("2")), "--json")
    assert (ended.code, ended.json["validated"]) == (1, 1)
    assert ended.json["differences"] == [{"number": "2", "fields": ["status"]}]
    shown = countermand("orders", "show", "1", "--json").json
    assert (shown["status"], shown["version"], shown["changelog"][-1]["action"]) == ("validated", 2, "validated")


@pytest.mark.usefixtures("system")
def test_an_order_that_comes_twice_is_compared_with_what_the_one_before_has_left(
    countermand: Countermand, tmp_path: Path
) -> None:
    load(an_order("1", status="pre_order"))
    pre_order, validated = an_order("1", status="pre_order"), an_order("1")
    file = ndjson(tmp_path / "orders", pre_order, validated, validated, pre_order)
    ended = countermand("orders", "load", file, "--json")
    assert (ended.code, ended.json["validated"], ended.json["unchanged"]) == (1, 1, 2)
    assert ended.json["differences"] == [{"number": "1", "fields": ["status"]}]


@pytest.mark.usefixtures("system")
def test_orders_are_loaded_from_standard_input_and_from_gzip(countermand: Countermand, tmp_path: Path) -> None:
    ended = countermand("orders", "load", "-", "--json", stdin=encoded(an_order("1")) + b"\r\n")
    assert (ended.code, ended.json["loaded"]) == (0, 1)
    assert countermand("orders", "load", ndjson(tmp_path / "o.gz", an_order("2")), "--json").json["loaded"] == 1


def test_an_order_that_the_database_refuses_is_told_alone(
    countermand: Countermand, engine: Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE orders ADD CHECK (warehouse <> 'poison')")
    lines = [an_order(str(number), warehouse="poison" if number == 5 else "MAIN") for number in range(9)]
    ended = countermand("orders", "load", ndjson(tmp_path / "orders", *lines), "--json")
    assert (ended.code, ended.json["loaded"]) == (1, 8)
    assert ended.json["rejected"] == [{"line": 6, "error": "the database refused it: IntegrityError"}]


@pytest.mark.usefixtures("system")
def test_an_order_is_shown_in_the_contracts_shape(countermand: Countermand) -> None:
    load(an_order("1", shipping=an_address(line2="Hof 2")))
    event = a_request("1", kind="change_address", addresses={"shipping": an_address(city="Bonn")})
    deliver(event)
    settle()
    before = countermand("orders", "show", "1", "--json").json
    assert (before.keys(), before["interchange"]) == (ORDER, None)
    assert countermand("export", "--json").code == 0
    ended = countermand("orders", "show", "1", "--json")
    assert (ended.code, ended.err, ended.json.keys()) == (0, "", ORDER)
    shown = ended.json
    assert (shown["status"], shown["edi"], shown["placed_at"]) == ("validated", "sent", "2026-11-20T10:00:00Z")
    assert shown["interchange"].keys() == {"partner", "control_number", "state", "filename", "sent_at"}
    assert shown["interchange"]["sent_at"].endswith("Z")
    assert shown["lines"][0] == {"sku": "RED-1", "description": "Red mug", "quantity": 3, "unit_price": "4.50"}
    assert all(entry.keys() == CHANGELOG for entry in shown["changelog"])
    assert [(entry["action"], entry["actor"]) for entry in shown["changelog"]] == [
        ("loaded", "store"),
        ("shipping_address_changed", "helpdesk:zendesk:acme"),
        ("edi_claimed", "edi:WAREHOUSE"),
        ("edi_sent", "edi:WAREHOUSE"),
    ]
    assert shown["changelog"][1]["request"] == {"source": "zendesk:acme", "id": event["id"]}
    for_people = countermand("orders", "show", "1")
    assert (for_people.code, for_people.err) == (0, "")
    assert "Köln" not in for_people.out.partition("changelog")[0].partition("billing")[0]


@pytest.mark.usefixtures("system")
def test_an_order_says_when_its_interchange_was_sent_and_when_it_was_answered(countermand: Countermand) -> None:
    load(an_order("1"))
    assert countermand("export").code == 0
    sent = brief(countermand("orders", "show", "1", "--json").json["interchange"]["sent_at"])
    assert f"\nin interchange 1 to WAREHOUSE: sent {sent} UTC\n" in countermand("orders", "show", "1").out
    rows("UPDATE interchange SET state = 'rejected', answered_at = '2026-11-24T09:00:00Z' RETURNING id")
    said = f"in interchange 1 to WAREHOUSE: sent {sent} UTC; rejected 2026-11-24 09:00:00 UTC "
    assert said in " ".join(countermand("orders", "show", "1").out.split())


@pytest.mark.usefixtures("system")
def test_what_looks_like_markup_or_steers_a_terminal_is_shown_as_text(countermand: Countermand) -> None:
    line = {"sku": "[/]", "description": "[bold", "quantity": 1, "unit_price": "1"}
    load(an_order("[/x]", warehouse="[/]", customer={"name": "[/red]", "email": "jane@example.com"}, lines=[line]))
    deliver(a_request("[/x]", id="[/y]", note="one\x1b[31m[/z]\x9b2J"))
    settle()
    shown = countermand("orders", "show", "[/x]")
    assert shown.code == 0
    for text in ("order [/x]", "[/red]", "[/]", "[bold", "[/y]", "[/z]"):
        assert text in shown.out
    assert not {"\x1b", "\x9b"} & set(shown.out)
    listings = (["orders", "list"], ["requests", "list"], ["requests", "show", "zendesk:acme", "[/y]"])
    for arguments in listings:
        ended = countermand(*arguments)
        assert ended.code == 0
        assert "[/x]" in ended.out


@pytest.mark.usefixtures("system")
def test_orders_are_listed_in_the_sequence_of_loading(countermand: Countermand) -> None:
    load(an_order("2"), an_order("1", status="pre_order"), an_order("3"))

    def listed(*options: str) -> list[str]:
        return [order["number"] for order in countermand("orders", "list", *options, "--json").json]

    assert (listed(), listed("--limit", "2"), listed("--status", "pre_order")) == (["2", "1", "3"], ["2", "1"], ["1"])
    assert listed("--edi", "sent") == []
    assert countermand("orders", "list").out.split()[:2] == ["number", "status"]


# Requests


@pytest.mark.usefixtures("system")
def test_a_request_is_shown_in_the_contracts_shape(countermand: Countermand) -> None:
    load(an_order())
    event = a_request()
    deliver(event)
    undecided = countermand("requests", "show", event["source"], event["id"], "--json").json
    assert undecided.keys() == REQUEST
    assert (undecided["state"], undecided["outcome"], undecided["reasons"]) == ("received", None, [])
    assert (undecided["advice"], undecided["effects"], undecided["notification"]) == (None, [], None)
    settle()
    ended = countermand("requests", "show", event["source"], event["id"], "--json")
    assert (ended.code, ended.err) == (0, "")
    shown = ended.json
    assert shown.keys() == REQUEST
    assert (shown["state"], shown["outcome"], shown["reasons"]) == ("decided", "applied", ["order_cancelled"])
    assert {effect["kind"] for effect in shown["effects"]} == {"restock", "notify"}
    assert all(effect.keys() == {"kind", "state", "done_at"} for effect in shown["effects"])
    assert shown["notification"].keys() == {"channel", "visibility", "subject", "body", "state"}
    assert shown["received_at"].endswith("Z")
    assert shown["decided_at"].endswith("Z")
    for_people = countermand("requests", "show", event["source"], event["id"])
    assert (for_people.code, for_people.err) == (0, "")
    assert "applied: order_cancelled" in for_people.out


@pytest.mark.usefixtures("system")
def test_requests_are_listed_by_state_outcome_and_reason(countermand: Countermand) -> None:
    load(an_order("1"), an_order("2"))
    deliver(a_request("1", id="a"), a_request("2", id="b", note=" "), a_request("unknown", id="c"))
    settle()

    def listed(*options: str) -> list[str]:
        return [request["id"] for request in countermand("requests", "list", *options, "--json").json]

    assert listed() == ["a", "b", "c"]
    assert listed("--state", "received") == ["c"]
    assert listed("--outcome", "applied") == ["a"]
    assert listed("--reason", "note_required") == ["b"]
    assert listed("--limit", "1") == ["a"]
    assert listed("--order", "2") == ["b"]


@pytest.mark.usefixtures("system")
def test_the_examples_end_as_getting_started_shows_it(countermand: Countermand) -> None:
    root = Path(__file__).parents[2]
    page, examples = (root / "docs/getting-started.md").read_text("utf-8"), root / "docs" / "examples"
    submitted = countermand("requests", "submit", str(examples / "requests.ndjson"))
    deliver(*(examples / "requests.ndjson").read_bytes().splitlines())
    loaded = countermand("orders", "load", str(examples / "orders.ndjson"))
    settle()
    listed = countermand("requests", "list")
    assert [ended.code for ended in (submitted, loaded, listed)] == [0, 0, 0]
    assert listed.out.count("zendesk:acme") == 3
    for name, ended in (("requests submit", submitted), ("orders load", loaded), ("requests list", listed)):
        assert re.search(rf"\$ \.venv/bin/countermand {name}[^\n]*\n{re.escape(ended.out)}", page)


@pytest.mark.usefixtures("system")
def test_requests_are_listed_by_ticket_which_is_how_a_helpdesk_names_them(countermand: Countermand) -> None:
    load(an_order("1"))
    deliver(a_request("1", id="a", ticket="7"), a_request("1", id="b", ticket="77"))
    assert [one["id"] for one in countermand("requests", "list", "--ticket", "7", "--json").json] == ["a"]
    assert [one["id"] for one in countermand("requests", "list", "--ticket", "7", "--order", "2", "--json").json] == []


@pytest.mark.usefixtures("system")
def test_lists_keep_each_long_id_in_one_piece_and_tell_what_is_long_on_a_line_below(countermand: Countermand) -> None:
    number, key = "A" * 64, "550e8400-e29b-41d4-a716-446655440000/" * 3
    load(an_order(number, shipping=an_address(name="東京")))
    deliver(a_request(number, id=key, note=None), b"{")
    settle()
    countermand("export")
    requests = countermand("requests", "list").out.splitlines()
    assert requests[0].split() == ["source", "id", "order", "kind", "state", "outcome"]
    assert requests[1:] == [f"zendesk:acme  {key}  {number}  cancel  decided  refused", "    note_required"]
    orders = countermand("orders", "list").out.splitlines()
    assert orders[1] == f"{number}  validated  not_sent  MAIN"
    assert orders[2].startswith("    held back from export: ")
    assert "東京" not in orders[2]
    [letter] = countermand("dead-letters", "list", "--json").json
    listed = countermand("dead-letters", "list").out.splitlines()
    moment = letter["at"][:19].replace("T", " ")
    assert listed[1:] == [f"{letter['id']}   {moment}  test  not_json  new    1", f"    {letter['error']}"]


def fail(kind: str, state: str, attempts: int) -> None:
    """Lets an effect be as its failures have left it."""
    rows(
        "UPDATE effect SET state = :state, attempts = :attempts, error = '[/] says 422' "
        "WHERE kind = :kind AND state = 'pending' RETURNING id",
        kind=kind,
        state=state,
        attempts=attempts,
    )


@pytest.mark.usefixtures("system")
def test_an_effect_that_fails_says_why_and_its_text_is_not_shown_as_told(countermand: Countermand) -> None:
    load(an_order("1"), an_order("2"))
    told_one, event = a_request("1"), a_request("2")
    deliver(told_one)
    settle()
    advice = request(told_one)["advice"]
    assert f"\n\n{advice[:20]}" in countermand("requests", "show", told_one["source"], told_one["id"]).out
    deliver(event)
    decide_all()
    of_it = ("requests", "show", event["source"], event["id"])
    fail("notify", "dead", 3)
    fail("restock", "pending", 1)
    shown = countermand(*of_it).out
    dead = "dead after 3 tries: [/] says 422"
    assert f"\nnotify: {dead}; `countermand reprocess` tries it again\n" in shown
    assert "\nrestock: pending after 1 try: [/] says 422; it is tried again\n" in shown
    assert f"\n\nnot told yet: {advice[:20]}" in shown
    effects = {one.pop("kind"): one for one in countermand(*of_it, "--json").json["effects"]}
    failed = {"done_at": None, "error": "[/] says 422"}
    assert effects == {
        "notify": {"state": "dead", "attempts": 3, **failed},
        "restock": {"state": "pending", "attempts": 1, **failed},
    }
    listed = countermand("requests", "list", "--dead")
    assert listed.out.splitlines()[-1] == "    order_cancelled; notify is dead: [/] says 422"
    assert countermand("requests", "list", "--json").json[1]["dead_errors"] == {"notify": "[/] says 422"}
    assert "1 dead effect (restock, notify)" in countermand("reprocess").out


@pytest.mark.parametrize("home", ["file", "file/sub"])
def test_a_home_that_is_a_file_is_one_line_and_ends_with_2(
    countermand: Countermand, no_services: Path, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (no_services / "file").touch()
    what = "is a file" if home == "file" else "lies in a file"
    assert told(countermand("up", "--home", str(no_services / home)), 2) == (
        f"the home {no_services / home} {what}, expected a folder; name another with --home"
    )
    monkeypatch.setenv("COUNTERMAND_HOME", str(no_services / home))
    settings.cache_clear()
    assert "Not a directory" in told(countermand("orders", "list"), 2)


def test_readable_requests_of_a_file_are_submitted_and_the_others_told(
    countermand: Countermand, system: Services, tmp_path: Path
) -> None:
    good = [a_request(), a_request()]
    file = ndjson(tmp_path / "requests", good[0], b"{", b"[]", good[1])
    ended = countermand("requests", "submit", file, "--json")
    assert (ended.code, ended.err, ended.json["submitted"]) == (1, "", 2)
    assert [(one["line"], one["reason"]) for one in ended.json["rejected"]] == [(2, "not_json"), (3, "invalid_message")]
    with Redis.from_url(system.broker_url) as client:
        entries: Any = client.xrange(STREAM)
    assert [fields[b"event"] for _, fields in entries] == [encoded(event) for event in good]
    for_people = countermand("requests", "submit", file)
    assert (for_people.code, for_people.out) == (1, "submitted 2, rejected 2\n")
    assert for_people.err.count("\n") == 2


def test_waiting_counts_in_the_contracts_shape(countermand: Countermand, system: Services) -> None:
    def waited() -> tuple[int, Any]:
        ended = countermand("requests", "wait", "--timeout", "0", "--json")
        assert ended.err == ""
        return ended.code, ended.json

    def counts(
        settled: bool, received: int, decided: int, parked: int, effects: int, on_broker: int = 0
    ) -> tuple[int, Any]:
        names = ("settled", "received", "decided", "parked", "effects_pending", "on_broker")
        values = (settled, received, decided, parked, effects, on_broker)
        return 0 if settled else 1, dict(zip(names, values, strict=True))

    assert waited() == counts(True, 0, 0, 0, 0)
    load(an_order())
    deliver(a_request(), a_request("unknown"))
    assert waited() == counts(False, 2, 0, 0, 0)
    decide_all()
    assert waited() == counts(False, 1, 1, 0, 2)
    settle()
    assert waited() == counts(True, 1, 1, 0, 0)
    assert sum(StreamBroker(system.broker_url).publish([b"{}"])) == 1
    assert waited() == counts(False, 1, 1, 0, 0, on_broker=1)


def test_requests_that_no_intake_has_taken_are_counted_on_the_broker(
    countermand: Countermand, system: Services
) -> None:
    sum(StreamBroker(system.broker_url).publish([encoded(a_request()) for _ in range(50)]))
    ended = countermand("requests", "wait", "--timeout", "0")
    told = "not settled after 0 s: on broker 50, received 0, decided 0, parked 0, effects pending 0\n"
    assert (ended.code, ended.out) == (1, told)


# Export, audit, reprocess, dead letters


@pytest.mark.usefixtures("system")
def test_what_is_due_is_exported_once(countermand: Countermand, home: Path) -> None:
    load(*(an_order(str(number)) for number in range(3)))
    ended = countermand("export", "--partner", "WAREHOUSE", "--json")
    assert (ended.code, ended.json["exported"], ended.json["held_back"]) == (0, 3, 0)
    (interchange,) = ended.json["interchanges"]
    assert (interchange["state"], interchange["control_number"], interchange["orders"]) == ("sent", 1, 3)
    assert (home / "edi" / "WAREHOUSE" / interchange["filename"]).is_file()
    again = countermand("export")
    assert (again.code, again.out) == (0, "exported 0 orders in 0 interchanges\n")
    load(an_order("4"))
    assert countermand("export").out.splitlines()[-1] == "exported 1 order in 1 interchange"


@pytest.mark.usefixtures("system")
def test_an_export_that_must_leave_something_says_why_and_until_when_and_ends_with_1(
    countermand: Countermand, home: Path
) -> None:
    load(an_order())
    folder = home / "edi" / "WAREHOUSE"
    folder.parent.mkdir(parents=True)
    folder.touch()
    failed = countermand("export")
    assert (failed.code, "released" in failed.out) == (1, True)
    [(until,)] = rows("UPDATE partner SET not_before = now() + interval '1 hour' RETURNING not_before")
    rests = countermand("export")
    assert rests.code == 1
    line = rests.out.splitlines()[-1]
    why = "WAREHOUSE: it rests after 1 failed delivery: the folder "
    assert line.startswith(f"not all that is due could be exported: {why}")
    tried_again = datetime.fromisoformat(line.rpartition("; it is tried again after ")[2])
    assert timedelta(0) < tried_again - until <= timedelta(seconds=1)
    rows("UPDATE partner SET failures = 2 RETURNING name")
    assert "after 2 failed deliveries: " in countermand("export").out
    deliver(a_request())
    settle()
    nothing_is_due = countermand("export")
    assert (nothing_is_due.code, nothing_is_due.out) == (0, "exported 0 orders in 0 interchanges\n")


@pytest.mark.usefixtures("system")
def test_the_audit_has_the_contracts_shape_and_ends_with_1_when_a_promise_is_broken(countermand: Countermand) -> None:
    load(an_order())
    deliver(a_request())
    settle()
    ended = countermand("audit", "--json")
    assert (ended.code, ended.err, ended.json.keys(), ended.json["ok"]) == (0, "", {"ok", "checks"}, True)
    assert [check["promise"] for check in ended.json["checks"]] == list(range(1, 10))
    assert all(
        check.keys() == {"promise", "name", "checked", "violations", "examples"} for check in ended.json["checks"]
    )
    assert "every promise holds" in countermand("audit").out
    rows("UPDATE stock SET quantity = 0 WHERE sku = 'RED-1' RETURNING sku")
    broken = countermand("audit", "--json")
    assert (broken.code, broken.json["ok"]) == (1, False)
    assert [check["promise"] for check in broken.json["checks"] if check["violations"]] == [5]
    for_people = countermand("audit")
    assert for_people.code == 1
    assert "a promise is broken" in for_people.out


@pytest.mark.usefixtures("system")
def test_a_dry_run_of_reprocessing_says_what_would_be_decided_and_changes_nothing(countermand: Countermand) -> None:
    deliver(a_request("1", id="a"), a_request("1", id="b"), a_request("2", id="c"))
    load(an_order("1"))
    rows("UPDATE change_request SET state = 'parked', parked_at = now(), reasons = '{unknown_order}' RETURNING id")
    would = countermand("reprocess", "--dry-run", "--json")
    assert (would.code, would.err) == (0, "")
    assert [(one["id"], one["outcome"], one["reasons"]) for one in would.json["would_be_decided"]] == [
        ("a", "applied", ["order_cancelled"]),
        ("b", "unchanged", ["already_closed"]),
        ("c", None, ["unknown_order"]),
    ]
    assert countermand("reprocess", "--dry-run").code == 0
    assert countermand("requests", "list", "--state", "parked", "--json").out.count('"id"') == 3
    assert countermand("reprocess", "--order", "1", "--reason", "unknown_order", "--json").json == {
        "reprocessed": 2,
        "effects_revived": 0,
    }
    settle()
    decided = countermand("requests", "list", "--state", "decided", "--json").json
    assert [(one["id"], one["reasons"]) for one in decided] == [("a", ["order_cancelled"]), ("b", ["already_closed"])]
    assert countermand("reprocess", "--since", "2099-01-01T00:00:00Z", "--json").json["reprocessed"] == 0


def test_dead_letters_are_listed_shown_and_put_back_as_they_were(countermand: Countermand, system: Services) -> None:
    raw = [b'{"a": "K\xc3\xb6ln"}', b"\xff\x00", b"\x1b[31m[/]"]
    deliver(*raw)
    listed = countermand("dead-letters", "list", "--json")
    assert (listed.code, listed.err) == (0, "")
    keys = {"id", "at", "origin", "position", "reason", "error", "state", "repaired", "bytes"}
    assert all(one.keys() == keys for one in listed.json)
    assert [(one["reason"], one["state"], one["bytes"]) for one in listed.json] == [
        ("invalid_message", "new", 14),
        ("not_json", "new", 2),
        ("not_json", "new", 8),
    ]
    assert countermand("dead-letters", "list").code == 0
    ids = [str(one["id"]) for one in listed.json]
    shown = [countermand("dead-letters", "show", one, "--json").json for one in ids]
    assert [one["text"] for one in shown] == ['{"a": "Köln"}', None, None]
    assert [base64.b64decode(one["raw_base64"]) for one in shown] == raw
    for one in ids:
        for_people = countermand("dead-letters", "show", one)
        assert for_people.code == 0
        assert "\x1b" not in for_people.out
    assert countermand("dead-letters", "requeue", ids[1], "--json").json == {"id": int(ids[1]), "requeued": True}
    with Redis.from_url(system.broker_url) as client:
        entries: Any = client.xrange(STREAM)
    assert [fields[b"event"] for _, fields in entries] == [raw[1]]
    assert [one["state"] for one in countermand("dead-letters", "list", "--json").json] == ["new", "requeued", "new"]


# The rules alone


def a_case(request: Any, edi: str | None = None, **changes: Any) -> dict[str, Any]:
    return {"order": {**an_order(**changes), **({"edi": edi} if edi else {})}, "request": request}


@pytest.mark.usefixtures("no_services")
def test_one_line_in_is_one_decision_out_in_the_contracts_shape(countermand: Countermand, tmp_path: Path) -> None:
    moved = an_address(city="Bonn", country="de")
    cases: list[bytes | dict[str, Any]] = [
        a_case(a_request()),
        a_case(a_request(note=None)),
        a_case(a_request(), edi="claimed"),
        b"{",
        a_case(a_request(), edi="sent"),
        a_case({"specversion": "1.0"}),
        {"request": a_request()},
        a_case(a_request(kind="change_address", addresses={"shipping": moved, "billing": moved}), status="pre_order"),
        a_case(a_request(), status="abandoned"),
        b"[]",
    ]
    file = ndjson(tmp_path / "cases.gz", *cases)
    ended = countermand("decide", file, "--json")
    assert (ended.code, ended.err) == (1, "")
    decisions = [json.loads(line) for line in ended.out.splitlines()]
    assert all(decision.keys() == DECISION for decision in decisions)
    assert [(decision["outcome"], decision["reasons"]) for decision in decisions] == [
        ("applied", ["order_cancelled"]),
        ("refused", ["note_required"]),
        ("deferred", ["edi_in_flight"]),
        ("invalid", ["not_json"]),
        ("refused", ["edi_already_sent"]),
        ("invalid", ["invalid_message"]),
        ("invalid", ["invalid_message"]),
        ("applied", ["shipping_address_changed", "billing_address_changed"]),
        ("unchanged", ["already_closed"]),
        ("invalid", ["invalid_message"]),
    ]
    assert [decision["status"] for decision in decisions[:4]] == ["cancelled", "validated", "validated", None]
    assert [decision["effects"] for decision in decisions[:4]] == [["restock", "notify"], ["notify"], [], []]
    assert decisions[7]["shipping"] == {**moved, "country": "DE"}
    assert decisions[5]["advice"].startswith("request: type: field required")
    assert countermand("decide", file).out == ended.out


@pytest.mark.usefixtures("no_services")
def test_a_request_as_large_as_a_message_may_be_is_decided(countermand: Countermand) -> None:
    event = a_request(note="ö" * 100_000)
    assert len(json.dumps(event, ensure_ascii=False).encode()) < 256 * 1024
    line = json.dumps(a_case(event), ensure_ascii=False).encode()
    assert countermand("decide", "-", stdin=line).json["outcome"] == "applied"


@pytest.mark.usefixtures("no_services")
def test_a_request_for_another_order_is_decided_and_told(countermand: Countermand) -> None:
    ended = countermand("decide", "-", stdin=encoded(a_case(a_request("[/]"))))
    assert ended.json["outcome"] == "applied"
    assert ended.err == "line 1: the request is for order [/], the order is 1001; decided all the same\n"


def test_json_is_utf_8_whatever_the_locale_says() -> None:
    order = encoded(a_case(a_request(), shipping=an_address(city="東京")))
    ended = as_a_program("decide", "-", stdin=order, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (ended.code, ended.err) == (0, "")
    assert ended.json["shipping"]["city"] == "東京"
    assert "東京" in ended.out


RULE_ROWS = [
    *((rule.number, rule.when, rule.outcome, [rule.reason]) for rule in RULES),
    *(
        (rule.number, rule.when, rule.outcome, list(dict.fromkeys(map(rule.reason, AddressRole))))
        for rule in ADDRESS_RULES
    ),
]


@pytest.mark.usefixtures("no_services")
def test_the_rules_are_printed_row_by_row_in_three_formats(countermand: Countermand) -> None:
    as_json = countermand("rules", "--format", "json")
    assert (as_json.code, as_json.err) == (0, "")
    names = ("number", "when", "outcome", "reasons")
    assert [tuple(row[name] for name in names) for row in as_json.json] == RULE_ROWS
    assert all(row["advice"] for row in as_json.json)
    markdown = countermand("rules", "--format", "markdown").out.splitlines()
    assert markdown[2:] == [
        f"| {number} | {when} | `{outcome}` | {' / '.join(f'`{reason}`' for reason in reasons)} |"
        for number, when, outcome, reasons in RULE_ROWS
    ]
    for_people = countermand("rules", "--format", "table").out
    assert countermand("rules").out == for_people
    assert [line.split()[0] for line in for_people.splitlines() if line[:1].isdigit()] == [row[0] for row in RULE_ROWS]


def test_a_command_that_is_run_as_a_program_ends_with_its_exit_code(tmp_path: Path) -> None:
    missing = as_a_program("decide", str(tmp_path / "none"))
    assert told(missing, 2).endswith("No such file or directory")
    assert as_a_program("rules", "--format", "json").json[0]["number"] == "1"
