"""What people see in their desk's form: labels of kinds, names of countries, and texts that were escaped for HTML."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from configuration import ConfigurationError
from desks.desk import Desk, Webhook
from desks.entities import unescaped
from orders.messages import UnreadableMessage, parse_change
from rules.countries import country_code
from tests.deliveries import DESKS, a_desk, a_payload

LABELS = {"Cancel order": "cancel", "Ändere die Adresse": "change_address"}
ADDRESS = {"name": "J", "line1": "1 T", "postal_code": "LS1 4AP", "city": "Leeds", "country": "United Kingdom"}
FORMS = [desk for desk in DESKS if desk != "shop"]


def read(desk: Desk, **asked: Any) -> dict[str, Any]:
    """Returns the `data` of what a desk reads of its delivery."""
    body = json.dumps(a_payload(desk.name, **asked)).encode()
    event = json.loads(desk.read(Webhook({}, body, datetime.now(UTC))))
    return dict(parse_change(json.dumps(event).encode()).data.model_dump(exclude_none=True))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("label", ["Cancel order", "cancel  ORDER", " Cancel\u00a0order "])
def test_a_label_of_the_desks_own_is_the_kind_that_its_table_says(tmp_path: Path, name: str, label: str) -> None:
    desk = a_desk(tmp_path, name, kinds=LABELS)
    assert read(desk, kind=label)["kind"] == "cancel"
    assert read(desk, kind="ändere die adresse", addresses={"shipping": ADDRESS})["kind"] == "change_address"
    assert read(desk, kind="countermand_change_items")["kind"] == "change_items"


def test_a_label_that_no_table_says_anything_of_is_no_kind(tmp_path: Path) -> None:
    with pytest.raises(UnreadableMessage, match=r"data\.kind"):
        read(a_desk(tmp_path, "zendesk"), kind="Cancel order")


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(
    ("written", "code"),
    [("United Kingdom", "GB"), ("united  kingdom", "GB"), ("UK", "GB"), ("gb", "GB"), ("Deutschland", "DE")],
)
def test_a_country_is_known_by_its_english_name_or_as_the_table_says(
    tmp_path: Path, name: str, written: str, code: str
) -> None:
    desk = a_desk(tmp_path, name, countries={"Deutschland": "DE"})
    found = read(desk, kind="change_address", addresses={"shipping": {**ADDRESS, "country": written}})
    assert found["addresses"]["shipping"]["country"] == code


def test_a_country_that_nobody_knows_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UnreadableMessage, match=r"data\.addresses\.shipping\.country: must be a two-letter"):
        read(a_desk(tmp_path, "zendesk"), kind="change_address", addresses={"shipping": {**ADDRESS, "country": "Ozz"}})


def test_most_countries_are_known_by_their_names() -> None:
    names = {
        "Germany": "DE",
        "Italy": "IT",
        "France": "FR",
        "South Korea": "KR",
        "USA": "US",
        "Nowhere": None,
        "": None,
    }
    assert {name: country_code(name) for name in names} == names


@pytest.mark.parametrize(
    ("table", "reported"),
    [
        ({"kinds": {"Cancel order": "Cancel"}}, "must be one of cancel, "),
        ({"countries": {"Deutschland": "Germany"}}, "countries"),
        ({"countries": {"Deutschland": "de"}}, "countries"),
    ],
)
def test_a_meaning_that_is_none_is_reported(tmp_path: Path, table: dict[str, Any], reported: str) -> None:
    with pytest.raises(ConfigurationError, match=reported):
        a_desk(tmp_path, "zendesk", **table)


ESCAPED = [
    ("O&#039;Neill", "O'Neill"),
    ("O&#39;Neill", "O'Neill"),
    ("O&#x27;Neill &amp; Sons", "O'Neill & Sons"),
    ("&lt;b&gt; &quot;5&quot;", '<b> "5"'),
    # Once, and only what is an entity.
    ("&amp;#039;", "&#039;"),
    ("&amp;amp;", "&amp;"),
    ("A & B &copy C &notit; &", "A & B &copy C &notit; &"),
]


@pytest.mark.parametrize(("escaped", "text"), ESCAPED)
def test_an_entity_is_the_character_that_it_stands_for_once(escaped: str, text: str) -> None:
    assert unescaped({"note": [escaped, {"a": escaped}], "number": 7, "none": None}) == {
        "note": [text, {"a": text}],
        "number": 7,
        "none": None,
    }


@pytest.mark.parametrize("name", ["zendesk", "freshdesk", "gorgias"])
def test_a_template_that_escapes_its_texts_is_read_as_they_were_typed(tmp_path: Path, name: str) -> None:
    address = {**ADDRESS, "name": "Jane O&#039;Neill", "company": "Smith &amp; Sons", "country": "GB"}
    found = read(
        a_desk(tmp_path, name),
        kind="change_address",
        note="&quot;moved&quot;",
        requester="o&#39;neill@example.com",
        addresses={"shipping": address},
    )
    shipping = found["addresses"]["shipping"]
    assert (shipping["name"], shipping["company"]) == ("Jane O'Neill", "Smith & Sons")
    assert (found["note"], found["requester"]) == ('"moved"', "o'neill@example.com")


@pytest.mark.parametrize("name", ["zammad", "chatwoot"])
def test_a_desk_that_sends_its_own_json_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    assert read(a_desk(tmp_path, name), note="Tom &amp; Jerry")["note"] == "Tom &amp; Jerry"
