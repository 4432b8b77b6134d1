"""What a database's URL asks for arrives, or is refused in a line; it is read as libpq reads it."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine, make_url

from configuration.database_url import connect_arguments, engine_url, own_options, read_url
from database.session import SESSION
from database.transactions import engine, in_transaction
from tests.builders import an_order as an_order
from tests.builders import load, rows
from tests.commands import Countermand, error_line
from tests.databases import working_on
from workers.embedded import Services


def url_of(system: Services, query: str, *, hosts: str = "") -> str:
    """Returns the URL of the test's database with more in its query; `{host}` and `{port}` are where it is."""
    url = make_url(system.database_url)
    where = {"host": url.query.get("host", url.host), "port": str(url.query.get("port", url.port or 5432))}
    user = f"{url.username}:{quote(url.password)}" if url.password else url.username
    place = hosts or "host={host}&port={port}"
    asked = "&".join(part for part in (place, query) if part).format(**where)
    return f"postgresql://{user}@/{url.database}?{asked}"


def parameters() -> dict[str, str]:
    def work(connection: Any) -> dict[str, str]:
        found: dict[str, str] = connection.connection.driver_connection.info.get_parameters()
        return found

    return in_transaction(work)


def test_tables_land_where_the_search_path_of_the_url_says(
    system: Services, countermand: Countermand, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA cm; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    for options in ("-csearch_path%3Dcm", "-c%20search_path%3Dcm%2Cpublic%20-c%20work_mem%3D8MB", "--search-path%3Dcm"):
        with working_on(url_of(system, f"options={options}")):
            assert countermand("migrate").code == 0
            assert rows("SELECT schemaname FROM pg_tables WHERE tablename = 'orders'") == [("cm",)]
            assert countermand("orders", "list", "--json").json == []
            assert rows("SHOW lock_timeout") == [(SESSION["lock_timeout"],)]


def test_the_options_of_the_environment_and_of_a_service_arrive_too(
    system: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patched, working_on(url_of(system, "")):
        patched.setenv("PGOPTIONS", "-c work_mem=7MB")
        assert rows("SHOW work_mem") == [("7MB",)]
    service = tmp_path / "pg_service.conf"
    service.write_text("[shop]\nconnect_timeout=9\noptions=-c work_mem=6MB\napplication_name=by-the-service\n")
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    with working_on(url_of(system, "service=shop")):
        assert rows("SHOW work_mem") == [("6MB",)]
        assert rows("SHOW application_name") == [("by-the-service",)]
        assert parameters()["connect_timeout"] == "9"


@pytest.mark.parametrize(
    "hosts",
    [
        "host=/nonexistent,{host}&port=1,{port}",
        "host={host},/nonexistent&port={port}",
        "host={host},{host}&port={port},{port}",
    ],
)
def test_of_several_hosts_one_that_answers_is_used(system: Services, hosts: str) -> None:
    with working_on(url_of(system, "target_session_attrs=read-write", hosts=hosts)):
        assert rows("SELECT 1") == [(1,)]
        assert parameters()["target_session_attrs"] == "read-write"


def test_what_else_a_url_asks_for_arrives(system: Services) -> None:
    asked = {
        "application_name": "ours",
        "connect_timeout": "11",
        "keepalives_idle": "77",
        "passfile": "/nonexistent/pgpass",
        "sslmode": "allow",
    }
    with working_on(url_of(system, "&".join(f"{name}={quote(value)}" for name, value in asked.items()))):
        assert {name: parameters().get(name) for name in asked} == asked
        assert rows("SHOW application_name") == [("ours",)]
        assert parameters()["tcp_user_timeout"] == "30000"


_GOOD = [
    "postgresql://u:p@a:1,b:2/db",
    "postgresql://u:p@a:1,b/db",
    "postgresql://a,b,c/db?port=5433",
    "postgresql:///db?host=/run/a,b&port=1,2",
    "postgresql://u@[::1]:5433/db",
    "postgresql://u@[::1],[fe80::1%25eth0]:5433/db",
    "postgresql://u:p%40%23%2F%3A%25@h/db?sslmode=verify-full&sslrootcert=/etc/ca.pem",
    "postgresql://%2Frun%2Fpostgresql/db",
    "postgresql://",
]


@pytest.mark.parametrize("url", _GOOD)
def test_a_url_is_read_as_libpq_reads_it(url: str) -> None:
    read = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    assert read_url(url) == read_url(url.replace("postgresql://", "postgresql+psycopg://")) == read
    arguments = connect_arguments(read, SESSION, pooled=False)
    assert {name: arguments[name] for name in read} == read
    made = engine_url(read)
    assert (made.username, made.password, made.database) == tuple(map(read.get, ("user", "password", "dbname")))


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("options=-cstatement_timeout%3D0", "sets statement_timeout in its options, which Countermand sets itself"),
        ("options=-c%20DateStyle%3DGerman", "sets datestyle in its options, which Countermand sets itself"),
        ("options=--default-transaction-isolation%3Dserializable", "sets default_transaction_isolation in"),
        ("options=-B%20100", "has options that cannot be read: expected -c name=value"),
        ("options=search_path%3Dcm", "has options that cannot be read: expected -c name=value"),
        ("client_encoding=latin1", "asks for a client_encoding other than utf8"),
        ("sslmode=require&sslmode=disable", "names a parameter twice"),
        ("search_path=cm", "has what libpq cannot read (invalid URI query parameter)"),
    ],
)
def test_what_cannot_be_given_is_refused_in_a_line(
    system: Services, countermand: Countermand, query: str, line: str
) -> None:
    with working_on(url_of(system, query)):
        refused = error_line(countermand("orders", "list"), 2)
    assert "COUNTERMAND_DATABASE_URL" in refused
    assert line in refused


def test_a_search_path_that_leads_nowhere_is_reported_before_anything_is_made(
    system: Services, countermand: Countermand
) -> None:
    with working_on(url_of(system, "options=-csearch_path%3Dnowhere")):
        assert error_line(countermand("migrate"), 2).startswith("no schema of the search_path (nowhere) is there")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("", {}),
        ("-c a=1 -cb=2 --c-d=3", {"a": "1", "b": "2", "c_d": "3"}),
        (r"-c search_path=cm,\ public", {"search_path": "cm, public"}),
        (r"-c a=\\", {"a": "\\"}),
        ("-c app.user=x=y", {"app.user": "x=y"}),
    ],
)
def test_options_are_read_as_a_server_reads_them(options: str, found: dict[str, str]) -> None:
    assert own_options(options, {}) == found


def test_behind_a_pooler_the_options_are_set_in_each_transaction(system: Services) -> None:
    load(an_order("1"))
    with working_on(url_of(system, "options=-csearch_path%3Dpg_catalog%2Cpublic%20-cwork_mem%3D5MB"), pooled=True):
        for _ in range(2):
            assert rows("SELECT current_setting('search_path'), current_setting('work_mem')") == [
                ("pg_catalog, public", "5MB")
            ]
        with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as plain:
            assert plain.exec_driver_sql("SHOW work_mem").scalar_one() != "5MB"
