"""The payload templates that admins paste in, rendered as desks do: what was meant comes out, whatever was typed."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from desks.desk import Desk, Unusable
from desks.payload import FIELDS
from orders.messages import UnreadableMessage
from tests.builders import EMAIL
from tests.deliveries import a_desk
from tests.unit.payloads import read

_PLACE = re.compile(r'"\{\{ *(?P<quoted>[^}|]+?) *\}\}"|\{\{ *(?P<filtered>[^}|]+?) *\| *json *\}\}')


def rendered(template: str, values: Mapping[str, Any]) -> bytes:
    """Fills a template in as a desk does that escapes what it fills in."""

    def fill(place: re.Match[str]) -> str:
        value = values.get(place["quoted"] or place["filtered"])
        if place["quoted"]:
            return json.dumps("" if value is None else str(value), ensure_ascii=False)
        return json.dumps(value, ensure_ascii=False)

    return _PLACE.sub(fill, template).encode()


def filled_in(desk: str, fields: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values that a desk has for the expressions of its template."""
    known = {
        "zendesk": {
            "ticket.id": 88121,
            "ticket.requester.email": EMAIL,
            "ticket.requester.locale": "de-AT",
            "current_user.email": EMAIL,
            "ticket.updated_at_with_timestamp": "2026-11-23T09:00Z",
        },
        "freshdesk": {"ticket.id": 88121, "ticket.requester.email": EMAIL},
        "gorgias": {
            "ticket.id": 88121,
            "ticket.customer.email": EMAIL,
            "ticket.language": "de",
        },
    }[desk]
    expression = {
        "zendesk": "ticket.ticket_field_{}",
        "freshdesk": "ticket.{}",
        "gorgias": "ticket.custom_fields[{}].value",
    }[desk]
    return {**known, **{expression.format(fields[name]): value for name, value in asked.items()}}


_FORM = {"order": "1001", "kind": "countermand_change_address", "note": ""}
_NASTY = [
    'He said "no" and \\"left\\"',
    "C:\\new\\table",
    "ends in a backslash \\",
    "one\ntwo\r\nthree\ttab",
    "😀 Straße \u2028 \u00a0 \u202e é",
    "{{ticket.id}} {{ticket.requester.email | json}} {% raw %} #{ticket.id} }} }",
    '", "requester": "john@example.com", "x": "',
    '"}, "order": "1002", "z": {"a": "',
    "</script><!-- ' ; -- $(id) `id` %s %(x)s \\u0022 \\",
    "[" * 500,
    "null",
]
_VARIANTS = [("zendesk", True), ("zendesk", False), ("freshdesk", True), ("freshdesk", False), ("gorgias", None)]


def templated(folder: Path, name: str, json_filter: bool | None, fields: Mapping[str, str]) -> tuple[Desk, str]:
    """Returns a desk and the payload that it has its admin paste in."""
    changes: dict[str, Any] = {} if json_filter is None else {"json_filter": json_filter}
    desk = a_desk(folder, name, fields=dict(fields), **changes)
    template = desk.setup().payload
    assert template is not None
    return desk, template


@pytest.mark.parametrize(("name", "json_filter"), _VARIANTS)
@pytest.mark.parametrize("note", _NASTY)
def test_what_a_customer_types_comes_out_of_the_template_as_he_typed_it(
    tmp_path: Path, name: str, json_filter: bool | None, note: str
) -> None:
    fields = {field: f"cf{place}" for place, field in enumerate(FIELDS)}
    address = {field: f"{field} {note.splitlines()[0]}"[:200] for field in ("name", "line1", "city", "phone")}
    form = {**_FORM, "note": note, "shipping_country": "DE", **{f"shipping_{key}": one for key, one in address.items()}}
    desk, template = templated(tmp_path, name, json_filter, fields)
    data = read(desk, rendered(template, filled_in(name, fields, form)))["data"]
    assert (data["order"], data["kind"], data["ticket"], data["requester"]) == (
        "1001",
        "change_address",
        "88121",
        EMAIL,
    )
    assert data["note"] == note.strip()
    assert data["addresses"] == {"shipping": {**{k: v.strip() for k, v in address.items()}, "country": "DE"}}
    assert data.get("language") == {"zendesk": "de-AT", "gorgias": "de"}.get(name)


@pytest.mark.parametrize(("name", "json_filter"), _VARIANTS)
def test_a_template_of_few_fields_is_enough(tmp_path: Path, name: str, json_filter: bool | None) -> None:
    fields = {"order": "11", "kind": "12", "note": "13"}
    desk, template = templated(tmp_path, name, json_filter, fields)
    assert "addresses" not in template
    form = {**_FORM, "kind": "cancel", "note": "why"}
    data = read(desk, rendered(template, filled_in(name, fields, form)))["data"]
    assert (data["order"], data["kind"], data["note"]) == ("1001", "cancel", "why")


@pytest.mark.parametrize(("name", "json_filter"), _VARIANTS)
def test_without_names_of_fields_the_template_shows_where_each_belongs(
    tmp_path: Path, name: str, json_filter: bool | None
) -> None:
    _, template = templated(tmp_path, name, json_filter, {})
    assert [field for field in FIELDS if f"<{field}>" not in template] == []
    texts = _PLACE.findall(template)
    assert len(texts) == template.count("{{")
    assert {bool(filtered) for _, filtered in texts} == {bool(json_filter)}


@pytest.mark.parametrize("name", ["zendesk", "freshdesk"])
@pytest.mark.parametrize("note", _NASTY)
def test_where_a_desk_escapes_nothing_no_text_speaks_for_another_requester_or_order(
    tmp_path: Path, name: str, note: str
) -> None:
    fields = {field: f"cf{place}" for place, field in enumerate(FIELDS)}
    desk, template = templated(tmp_path, name, False, fields)
    values = filled_in(name, fields, {**_FORM, "note": note, "shipping_name": note, "kind": "cancel"})
    body = re.sub(r"\{\{(.+?)\}\}", lambda place: str(values.get(place[1], "")), template).encode()
    try:
        data = read(desk, body)["data"]
    except (Unusable, UnreadableMessage):
        return
    assert (data["order"], data["requester"], data["ticket"]) == ("1001", EMAIL, "88121")
