"""`decide` and `rules`, which need no services."""

import json
from pathlib import Path
from typing import Any

import pytest

from rules.model import AddressRole
from rules.table import ADDRESS_RULES, RULES
from tests.builders import a_request, an_address, an_order, encoded
from tests.commands import Countermand, as_a_program, ndjson

DECISION = {"outcome", "reasons", "status", "shipping", "billing", "effects", "advice"}


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
def test_a_request_for_another_order_is_decided_and_reported(countermand: Countermand) -> None:
    ended = countermand("decide", "-", stdin=encoded(a_case(a_request("[/]"))))
    assert ended.json["outcome"] == "applied"
    assert ended.err == "line 1: the request is for order [/], the order is 1001; decided nevertheless\n"


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
