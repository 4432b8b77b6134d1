"""The commands for orders: `orders load`, `show` and `list`."""

import json
import os
import zlib
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import Engine

from cli.terminal import brief
from tests.builders import a_request, an_address, an_order, deliver, encoded, load, rows, settle
from tests.commands import REDIS_AWAY, Countermand, as_a_program, ndjson
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


def test_loading_while_the_broker_is_away_loads_and_keeps_stdout_pure(system: Services, tmp_path: Path) -> None:
    file = ndjson(tmp_path / "orders", an_order())
    ended = as_a_program("orders", "load", file, "--json", COUNTERMAND_BROKER_URL=REDIS_AWAY)
    assert (ended.code, ended.json["loaded"]) == (0, 1)
    assert "could not send a wake-up" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.usefixtures("system")
def test_good_orders_among_bad_lines_are_loaded_and_the_bad_lines_reported_by_number(
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
def test_a_difference_is_reported_by_field_and_nothing_is_overwritten(countermand: Countermand, tmp_path: Path) -> None:
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


def test_an_order_that_the_database_refuses_is_reported_alone(
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


def test_a_file_may_be_a_pipe(countermand: Countermand, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    line = encoded({"order": {**an_order(), "edi": "not_sent"}, "request": a_request()}) + b"\n"
    writer = Thread(target=lambda: pipe.write_bytes(line * 300))
    writer.start()
    ended = countermand("decide", str(pipe))
    writer.join(timeout=30)
    assert (ended.code, ended.err) == (0, "")
    assert [json.loads(one)["outcome"] for one in ended.out.splitlines()] == ["applied"] * 300


@pytest.mark.usefixtures("system")
def test_the_complete_lines_of_a_file_that_breaks_off_are_loaded_and_reported(
    countermand: Countermand, tmp_path: Path
) -> None:
    lines = [encoded(an_order(f"{place}")) + b"\n" for place in range(6)]
    gzip = zlib.compressobj(wbits=31)
    cut = gzip.compress(b"".join(lines)[: -len(lines[-1]) // 2]) + gzip.flush(zlib.Z_SYNC_FLUSH)
    file = tmp_path / "cut.gz"
    file.write_bytes(cut)
    ended = countermand("orders", "load", str(file))
    assert ended.code == 2
    assert ended.out.startswith("loaded 5, ")
    assert ended.err.startswith(f"countermand: {file} cannot be read on: ")
    assert ended.err.count("\n") == 1
    assert rows("SELECT count(*) FROM orders") == [(5,)]
