"""Commands without their services, and the settings by which they find them."""

import json
from collections.abc import Iterator
from pathlib import Path

import alembic.command
import pytest
from sqlalchemy import Engine, NullPool, create_engine, make_url

from configuration.settings import settings
from database.migrate import alembic_config
from tests.builders import an_order, load
from tests.commands import AWAY, REDIS_AWAY, Countermand, error_line
from tests.databases import working_on
from workers.discovery import announced
from workers.embedded import Services

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
    assert error_line(countermand("partners", "check"), 2).startswith(
        f"the partners file {files / 'partners.toml'} names no"
    )
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
def test_a_command_that_is_reported_of_another_file_than_the_running_countermand_is_refused(
    countermand: Countermand, files: Path, monkeypatch: pytest.MonkeyPatch, name: str, running: bool
) -> None:
    theirs = str(files / f"{name.lower()}.toml") if running else ""
    services = json.loads((files / "services.json").read_text())
    (files / "services.json").write_text(json.dumps({**services, name.lower(): theirs}))
    monkeypatch.setenv(f"COUNTERMAND_{name}", "other.toml")
    assert error_line(countermand("export"), 2) == (
        f"COUNTERMAND_{name} names {Path('other.toml').resolve()}, but the countermand of {files} runs with "
        f"{theirs or f'no {name.lower()} file'}: unset COUNTERMAND_{name} here, or start `countermand up` again with "
        "the same file"
    )


def test_a_command_that_names_the_same_file_by_another_path_is_not_refused(
    countermand: Countermand, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    monkeypatch.setenv("COUNTERMAND_PARTNERS", "partners.toml")
    assert error_line(countermand("orders", "list"), 3).startswith("the database cannot be reached")


@pytest.mark.parametrize("arguments", NEED_SERVICES, ids=" ".join)
def test_without_services_a_command_says_how_to_start_them_and_ends_with_3(
    countermand: Countermand, no_services: Path, arguments: list[str]
) -> None:
    assert error_line(countermand(*arguments), 3) == (
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
    assert error_line(countermand(*arguments), 3).startswith("the database cannot be reached: ")


@pytest.mark.parametrize("url", [REDIS_AWAY, "amqp://guest:geheim@127.0.0.1:1//"])
def test_a_broker_that_is_away_is_one_line_without_its_password_and_ends_with_3(
    countermand: Countermand, no_services: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("COUNTERMAND_DATABASE_URL", AWAY)
    monkeypatch.setenv("COUNTERMAND_BROKER_URL", url)
    line = error_line(countermand("requests", "wait"), 3)
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
    assert line in error_line(countermand(*command), 2)


def test_a_database_without_our_tables_is_told_to_be_migrated(countermand: Countermand, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    for arguments in (["orders", "list"], ["requests", "wait"], ["audit"], ["dead-letters", "list"]):
        assert error_line(countermand(*arguments), 2).endswith("run `countermand migrate`")
    ended = countermand("migrate")
    assert (ended.code, ended.err) == (0, "")
    assert countermand("orders", "list", "--json").json == []


def test_a_database_of_an_earlier_version_is_told_to_be_migrated(countermand: Countermand, engine: Engine) -> None:
    with engine.begin() as connection:
        alembic.command.downgrade(alembic_config(connection), "0004")
    assert error_line(countermand("dead-letters", "list"), 2).endswith("run `countermand migrate`")
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
            refused = error_line(countermand("migrate"), 2)
            assert error_line(countermand("orders", "list"), 2).endswith("run `countermand migrate`")
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    assert refused.startswith(f"the database {name} is in {encoding}, which cannot write every name and address")


@pytest.mark.usefixtures("system")
def test_a_command_that_only_reads_needs_no_broker(countermand: Countermand, monkeypatch: pytest.MonkeyPatch) -> None:
    load(an_order())
    monkeypatch.delenv("COUNTERMAND_BROKER_URL")
    settings.cache_clear()
    listed, audited = countermand("orders", "list", "--json"), countermand("audit", "--json")
    assert (listed.code, listed.err, audited.code, audited.err) == (0, "", 0, "")
    assert [order["number"] for order in json.loads(listed.out)] == ["1001"]
    assert json.loads(audited.out)["ok"]
