"""From what a desk sends to a change request: what was meant comes out, whatever a customer typed."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from desks.desk import Desk, Ignored, Unusable
from desks.payload import read_json
from desks.texts import OUR_TEXTS
from tests.builders import EMAIL
from tests.deliveries import BOT, DESKS, TABLES, a_desk, a_payload
from tests.unit.payloads import MARK, NOW, SHIPPING, ignored, read, unusable

# A desk whose payload is a template of ours.
TEMPLATED = ("zendesk", "freshdesk", "gorgias")
# A desk that cannot tell when the customer asked.
TIMELESS = ("freshdesk", "gorgias")
KEYED_BY_CONTENT = tuple(desk for desk in DESKS if desk != "shop")


@pytest.fixture
def desk(request: Any, tmp_path: Path) -> Desk:
    """The desk that a test names."""
    return a_desk(tmp_path, request.param)


def of_desks(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("desk", names, indirect=True)


def asked(desk: Desk, received_at: datetime = NOW, **fields: Any) -> dict[str, Any]:
    return read(desk, a_payload(desk.name, **fields), received_at)


# What is asked


@of_desks(*DESKS)
def test_every_desk_says_the_same_thing_in_the_end(desk: Desk) -> None:
    event = asked(desk)
    assert event.pop("id")
    assert (event.pop("specversion"), event.pop("type")) == ("1.0", "order.change.requested")
    told_at = NOW.isoformat() if desk.name in TIMELESS else "2026-11-23T09:00:00+00:00"
    assert datetime.fromisoformat(event.pop("time")) == datetime.fromisoformat(told_at)
    assert event == {
        "source": TABLES[desk.name]["source"],
        "data": {
            "order": "1001",
            "kind": "cancel",
            "ticket": "88121",
            "note": "Ordered twice",
            "requester": EMAIL,
        },
    }


_BILLING = {**SHIPPING, "company": "Doe GmbH", "line2": "Hof", "region": "NRW", "phone": "+49 221 1"}


@of_desks(*DESKS)
def test_addresses_come_out_as_they_were_filled_in(desk: Desk) -> None:
    for addresses in ({"shipping": SHIPPING}, {"billing": _BILLING}, {"shipping": SHIPPING, "billing": _BILLING}):
        assert asked(desk, kind="change_address", addresses=addresses)["data"]["addresses"] == addresses


@of_desks(*KEYED_BY_CONTENT)
def test_fields_that_nobody_filled_in_are_left_out(desk: Desk) -> None:
    addresses = {"shipping": {**SHIPPING, "line2": "", "company": " "}, "billing": dict.fromkeys(SHIPPING, "")}
    event = asked(desk, kind="change_address", note="", addresses=addresses)
    assert event["data"] == {
        "order": "1001",
        "kind": "change_address",
        "ticket": "88121",
        "requester": EMAIL,
        "addresses": {"shipping": SHIPPING},
    }


@of_desks(*KEYED_BY_CONTENT)
def test_the_address_fields_of_a_form_are_left_out_of_anything_but_a_change_of_address(desk: Desk) -> None:
    assert "addresses" not in asked(desk, addresses={"shipping": SHIPPING})["data"]


@of_desks(*KEYED_BY_CONTENT)
@pytest.mark.parametrize("kind", ["countermand_cancel", "Cancel", " cancel ", "COUNTERMAND_CANCEL"])
def test_the_kind_may_be_a_tag_of_a_drop_down(desk: Desk, kind: str) -> None:
    assert asked(desk, kind=kind)["data"]["kind"] == "cancel"


@of_desks(*KEYED_BY_CONTENT)
@pytest.mark.parametrize("kind", ["refund", "countermand_", "countermand_countermand_cancel", "cancel\0", "cancel it"])
def test_any_other_kind_is_refused_without_quoting_it(desk: Desk, kind: str) -> None:
    reported = unusable(desk, a_payload(desk.name, kind=kind))
    assert "kind" in reported
    assert kind not in reported


@of_desks("zendesk", "freshdesk", "gorgias", "chatwoot", "shop")
@pytest.mark.parametrize("language", ["tlh", "no such language", "?", "en-" + "x" * 1000])
def test_a_language_that_nobody_knows_is_no_reason_to_refuse_a_request(desk: Desk, language: str) -> None:
    payload = a_payload(desk.name, language=language)
    payload["additional_attributes"] = {"conversation_language": language}
    assert read(desk, payload)["data"]["language"] == language
    assert OUR_TEXTS.language_for(language) == "en"


@of_desks(*TEMPLATED)
def test_a_number_is_an_id_and_null_is_nothing(desk: Desk) -> None:
    payload = a_payload(desk.name) | {"ticket": 88121, "order": 1001, "note": None, "language": None}
    data = read(desk, payload)["data"]
    assert (data["ticket"], data["order"]) == ("88121", "1001")
    assert data.keys().isdisjoint({"note", "language"})


@of_desks(*TEMPLATED)
@pytest.mark.parametrize("value", [True, 1.5, [], {}, ["1001"], {"id": 1}, float("nan")])
def test_what_is_neither_text_nor_number_is_no_id(desk: Desk, value: Any) -> None:
    for field in ("ticket", "order", "requester", "kind"):
        assert field in unusable(desk, {**a_payload(desk.name), field: value})


@of_desks(*TEMPLATED)
def test_the_fields_without_which_nothing_can_be_decided_are_named(desk: Desk) -> None:
    for field in ("ticket", "order", "kind"):
        payload = a_payload(desk.name)
        # A kind that is blank is no fault: then nothing is asked for.
        for value in () if field == "kind" else ("", "  ", None):
            assert unusable(desk, {**payload, field: value}).startswith(f"{field}: ")
        del payload[field]
        assert unusable(desk, payload) == f"{field}: field required"


@of_desks(*TEMPLATED)
def test_a_form_asks_for_nothing_until_its_kind_is_chosen(desk: Desk) -> None:
    # A desk that sends every update of every ticket would else fill the dead letters, and give the webhook up.
    for nothing in ("", " ", None):
        for order in (nothing, "1001"):
            payload = {**a_payload(desk.name), "order": order, "kind": nothing}
            assert ignored(desk, payload) == "no change is asked for: the kind is blank"


@of_desks(*TEMPLATED)
def test_an_address_field_that_nobody_knows_is_refused(desk: Desk) -> None:
    payload = a_payload(desk.name, kind="change_address", addresses={"shipping": {**SHIPPING, "zip": "50667"}})
    assert unusable(desk, payload) == "addresses.shipping.zip is not a key that we know"
    payload["addresses"] = {"shipping": SHIPPING, "home": {}}
    assert unusable(desk, payload) == "addresses.home is not a key that we know"


@of_desks(*TEMPLATED)
def test_what_has_no_keys_is_told_to_be_no_object(desk: Desk) -> None:
    bodies: list[Any] = [[], None, "cancel it", 7, True]
    for body in bodies:
        assert unusable(desk, body) == "what was sent: expected a JSON object"
    assert unusable(desk, {**a_payload(desk.name), "addresses": []}) == "addresses: expected a JSON object"


def test_lines_of_a_partial_cancellation_are_passed_on(tmp_path: Path) -> None:
    lines = [{"sku": "RED-1", "quantity": 2}, {"sku": 5, "quantity": 1}]
    event = asked(a_desk(tmp_path, "zendesk"), kind="partial_cancel", lines=lines)
    assert event["data"]["lines"] == [{"sku": "RED-1", "quantity": 2}, {"sku": "5", "quantity": 1}]


# Who asks


@of_desks(*DESKS)
def test_an_empty_requester_is_passed_on_so_that_a_person_decides(desk: Desk) -> None:
    assert asked(desk, requester="")["data"]["requester"] == ""


@of_desks(*TEMPLATED)
def test_a_template_without_the_requester_is_refused(desk: Desk) -> None:
    assert unusable(desk, a_payload(desk.name, requester=None)) == "requester: field required"


@of_desks("zammad", "chatwoot")
def test_a_customer_without_an_address_is_an_empty_requester(desk: Desk) -> None:
    assert asked(desk, requester=None)["data"]["requester"] == ""


# When


@of_desks("zendesk")
@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("2026-11-23T09:00:00Z", "2026-11-23T09:00:00+00:00"),
        ("2026-11-23T10:00:00+01:00", "2026-11-23T09:00:00+00:00"),
        ("2026-11-23T09:00Z", "2026-11-23T09:00:00+00:00"),
        ("2026-11-23T09:00:00.123456", "2026-11-23T09:00:00.123456+00:00"),
        ("2026-11-23T09:00", "2026-11-23T09:00:00+00:00"),
        ("2026-11-23 09:00:00", "2026-11-23T09:00:00+00:00"),
        ("", NOW.isoformat()),
    ],
)
def test_a_time_may_lack_its_zone_and_its_seconds(desk: Desk, time: str, moment: str) -> None:
    assert datetime.fromisoformat(asked(desk, time=time)["time"]) == datetime.fromisoformat(moment)


@of_desks("zendesk", "zammad")
@pytest.mark.parametrize(
    "time", ["yesterday", "May 18, 2014", "1795424400", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "\0"]
)
def test_a_time_that_is_none_is_refused(desk: Desk, time: str) -> None:
    assert unusable(desk, a_payload(desk.name, time=time)).startswith("time: ")


# The key


@of_desks(*KEYED_BY_CONTENT)
def test_a_delivery_that_is_tried_again_has_the_same_key(desk: Desk) -> None:
    assert asked(desk)["id"] == asked(desk, NOW + timedelta(hours=1))["id"]
    assert re.fullmatch(r"88121-cancel-1001-[0-9a-f]{16}", asked(desk)["id"])


@of_desks(*KEYED_BY_CONTENT)
def test_other_content_has_another_key(desk: Desk) -> None:
    address = {**SHIPPING, "phone": "1"}
    contents: list[dict[str, Any]] = [
        {},
        {"note": "Something else"},
        {"order": "1002"},
        {"ticket": "88122"},
        {"kind": "change_items"},
        {"requester": "john@example.com"},
        {"kind": "change_address", "addresses": {"shipping": SHIPPING}},
        {"kind": "change_address", "addresses": {"shipping": address}},
        {"kind": "change_address", "addresses": {"billing": SHIPPING}},
    ]
    if desk.name not in TIMELESS:
        contents.append({"time": "2026-11-23T09:00:01Z"})
    assert len({asked(desk, **content)["id"] for content in contents}) == len(contents)


@of_desks(*KEYED_BY_CONTENT)
def test_a_key_shows_the_order_only_where_it_looks_like_one(desk: Desk) -> None:
    for order in ("536365", "#1001", "A/2026-11.7_b", "1" * 64):
        assert re.fullmatch(rf"88121-cancel-{re.escape(order)}-[0-9a-f]{{16}}", asked(desk, order=order)["id"])
    others = ("zebedee@quillfeather.example", "Zebedeé", "+49(221)55", "1001,1002", "a:b")
    keys = [asked(desk, order=order)["id"] for order in others]
    assert all(re.fullmatch(r"88121-cancel-[0-9a-f]{16}", key) for key in keys)
    assert len(set(keys)) == len(others)


@of_desks(*TEMPLATED)
def test_a_key_that_the_desk_brings_is_taken_as_it_is(desk: Desk) -> None:
    assert asked(desk, id="88121/1 %41 é")["id"] == "88121/1 %41 é"
    assert read(desk, {**a_payload(desk.name), "id": 7})["id"] == "7"


@of_desks(*KEYED_BY_CONTENT)
def test_a_key_does_not_change_with_what_a_desk_adds_to_its_payload(desk: Desk) -> None:
    payload = a_payload(desk.name)
    assert read(desk, {"new": [1], **payload})["id"] == read(desk, dict(reversed(payload.items())))["id"]


@of_desks("gorgias")
@pytest.mark.parametrize("written", ["2026-11-23T10:00:00.123456", "", "yesterday", None, 7])
def test_when_the_customer_wrote_last_makes_no_other_request_of_the_same_form(desk: Desk, written: Any) -> None:
    later = read(desk, {**a_payload(desk.name), "time": written}, NOW + timedelta(hours=1))
    assert later["id"] == asked(desk)["id"]
    # Only of a delivery that is the first one does it count.
    assert later["time"] == (NOW + timedelta(hours=1)).isoformat()


# What we wrote ourselves


def test_what_our_own_agent_wrote_is_ignored(tmp_path: Path) -> None:
    desk = a_desk(tmp_path, "zendesk")
    assert ignored(desk, a_payload("zendesk", author=BOT.upper())) == "an answer of our own that came back"
    assert asked(desk, author="colleague@acme.example")


@of_desks("freshdesk", "gorgias")
@pytest.mark.parametrize("text", [MARK, f"It is cancelled.\n\n{MARK}\n"])
def test_where_our_account_is_not_known_what_ends_in_our_mark_is_ours_unless_the_customer_wrote_it(
    desk: Desk, text: str
) -> None:
    payload = {**a_payload(desk.name), "comment": text}
    assert ignored(desk, {**payload, "author": "agent@acme.example"}) == "an answer of our own that came back"
    for author in (EMAIL.upper(), "", None):
        assert read(desk, {**payload, "author": author})


@of_desks("zendesk")
def test_where_our_account_is_known_what_a_colleague_wrote_is_a_request_whatever_it_quotes(desk: Desk) -> None:
    payload = a_payload(desk.name, author="agent@acme.example", note=MARK)
    assert read(desk, {**payload, "comment": f"It is cancelled.\n\n{MARK}"})["data"]["note"] == MARK


@of_desks("zendesk", "zammad")
def test_a_customer_who_quotes_our_mark_is_not_ignored(desk: Desk) -> None:
    note = f"No, please do!\n> It is not cancelled.\n> {MARK}"
    assert asked(desk, author=EMAIL.upper(), note=note)["data"]["note"] == note


@of_desks("freshdesk", "gorgias", "chatwoot")
def test_our_mark_in_a_text_of_nobody_knows_whom_is_not_passed_over_in_silence(desk: Desk) -> None:
    # It may be a customer who quotes us: then the request must be taken, or kept as a dead letter.
    payload = a_payload(desk.name, note=f"No, please do!\n> It is not cancelled.\n> {MARK}")
    try:
        read(desk, payload)
    except Ignored as error:
        pytest.fail(f"lost: {error}")
    except Unusable:
        pass


# JSON


def test_a_key_that_stands_twice_is_refused_at_any_depth() -> None:
    for body in (b'{"order": "1", "order": "2"}', b'{"a": [{"b": {"c": 1, "c": 1}}]}', b'{"o": 1, "\\u006f": 2}'):
        with pytest.raises(Unusable, match="a key twice") as error:
            read_json(body)
        assert error.value.is_json


def test_line_breaks_and_tabs_in_a_text_are_read_as_they_stand() -> None:
    assert read_json(b'{"note": "one\ntwo\r\n\tthree\x01"}') == {"note": "one\ntwo\r\n\tthree\x01"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"\xff\xfe",
        b"{",
        b'{"note": "he said "no""}',
        b'{"note": "C:\\new \\x"}',
        b'{"note": "text\\"}',
        b"[" * 200_000,
        b'{"a":' * 50_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        b"nulll",
        b"\x00",
        b"\xed\xa0",
        b"{'a': 1}",
    ],
)
def test_what_is_no_json_is_reported_without_quoting_it(body: bytes) -> None:
    with pytest.raises(Unusable, match="the body is not JSON") as error:
        read_json(body)
    assert not error.value.is_json
    assert len(str(error.value)) < 200


@of_desks(*DESKS)
@pytest.mark.parametrize("note", ["\ud800", "a\udfffb", "\0"])
def test_half_a_character_and_nul_are_refused(desk: Desk, note: str) -> None:
    unusable(desk, a_payload(desk.name, note=note))
