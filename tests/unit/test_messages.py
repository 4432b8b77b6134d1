"""What is taken as a change request and as an order, and what is said of the rest."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orders.messages import (
    MAX_MESSAGE_BYTES,
    ChangeMessage,
    OrderMessage,
    Unreadable,
    UnreadableMessage,
    data_of,
    parse_change,
    parse_order,
)
from rules.model import Kind
from tests.builders import (
    EMAIL,
    a_request,
    an_address,
    an_order,
    encoded,
)

SECRET = "Geheim-4711"


def why_not(raw: bytes) -> UnreadableMessage:
    with pytest.raises(UnreadableMessage) as caught:
        parse_change(raw)
    return caught.value


def why_no_order(raw: bytes) -> UnreadableMessage:
    with pytest.raises(UnreadableMessage) as caught:
        parse_order(raw)
    return caught.value


def said(parse: Callable[[bytes], ChangeMessage | OrderMessage], raw: bytes) -> str:
    """Returns what is said of a message; nothing if it is taken, and then all of it can be worked with."""
    try:
        message = parse(raw)
    except UnreadableMessage as error:
        return str(error)
    if isinstance(message, ChangeMessage):
        message.to_rules()
        message.data_sha256()
    return ""


def with_data(**changes: Any) -> dict[str, Any]:
    """Returns a request whose data are changed as they are, null and all."""
    event = a_request(id="1")
    return {**event, "data": {**event["data"], **changes}}


def with_address(**changes: Any) -> dict[str, Any]:
    return with_data(kind="change_address", addresses={"shipping": an_address(**changes)})


def with_lines(*lines: Any) -> dict[str, Any]:
    return with_data(kind="partial_cancel", lines=list(lines))


def without(value: dict[str, Any], *path: str) -> dict[str, Any]:
    *folders, last = path
    copy: dict[str, Any] = json.loads(json.dumps(value))
    found = copy
    for folder in folders:
        found = found[folder]
    del found[last]
    return copy


def replaced(value: dict[str, Any], path: tuple[str | int, ...], new: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(value))
    found: Any = copy
    for part in path[:-1]:
        found = found[part]
    found[path[-1]] = new
    return copy


FULL_ADDRESS = an_address(line2="Hof 2", region="NRW", phone="+49 221 1", company="Acme")
FULL_REQUEST = with_data(
    kind="change_address",
    addresses={"shipping": FULL_ADDRESS, "billing": FULL_ADDRESS},
    lines=[{"sku": "RED-1", "quantity": 2}],
)
FULL_ORDER = an_order(shipping=FULL_ADDRESS, billing=FULL_ADDRESS, hold_until="2026-12-01T00:00:00Z")

REQUEST_TEXTS: list[tuple[str | int, ...]] = [
    ("source",),
    ("id",),
    ("data", "order"),
    ("data", "ticket"),
    ("data", "note"),
    ("data", "requester"),
    ("data", "lines", 0, "sku"),
    *(("data", "addresses", role, name) for role in ("shipping", "billing") for name in FULL_ADDRESS),
]
ORDER_TEXTS: list[tuple[str | int, ...]] = [
    ("number",),
    ("warehouse",),
    ("currency",),
    ("customer", "name"),
    ("customer", "email"),
    ("lines", 0, "sku"),
    ("lines", 0, "description"),
    ("lines", 0, "unit_price"),
    *(("shipping", name) for name in FULL_ADDRESS),
]


def named(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))


# What is taken


def test_a_message_of_the_contract_is_taken_with_all_it_says() -> None:
    message = parse_change(encoded(FULL_REQUEST))
    assert (message.source, message.id, message.data.order) == ("zendesk:acme", "1", "1001")
    assert message.time == datetime(2026, 11, 23, 9, tzinfo=UTC)
    asked = message.to_rules()
    assert (asked.kind, asked.requester, asked.note) == (Kind.CHANGE_ADDRESS, EMAIL, "Ordered twice")
    assert asked.shipping is not None
    assert (asked.shipping.line2, asked.shipping.company) == ("Hof 2", "Acme")
    assert asked.shipping == asked.billing


@pytest.mark.parametrize("language", ["it-CH", None])
def test_the_language_of_a_request_is_the_one_that_its_message_says(language: str | None) -> None:
    raw = encoded(with_data(language=language))
    assert data_of(raw).get("language") == parse_change(raw).data.language == language


@pytest.mark.parametrize("extra", ["9" * 4300, "[" * 190 + "]" * 190, "NaN", "-Infinity", "1e999"])
def test_whatever_a_request_carries_beside_it_its_language_is_read_once_it_was_accepted(extra: str) -> None:
    raw = encoded(with_data(language="it", extra="here")).replace(b'"here"', extra.encode())
    assert data_of(raw).get("language") == parse_change(raw).data.language == "it"


def test_note_ticket_and_requester_are_optional() -> None:
    asked = parse_change(encoded(a_request(note=None, ticket=None, requester=None)))
    assert (asked.data.note, asked.data.ticket, asked.data.requester) == (None, None, None)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.CHANGE_ADDRESS])
def test_every_other_kind_needs_nothing_but_the_order(kind: Kind) -> None:
    assert parse_change(encoded(a_request(kind=kind))).data.kind is kind


def test_an_empty_address_is_the_same_as_none() -> None:
    message = parse_change(
        encoded(a_request(kind="change_address", addresses={"shipping": {}, "billing": an_address()}))
    )
    asked = message.to_rules()
    assert asked.shipping is None
    assert asked.billing is not None


@pytest.mark.parametrize("name", ["line2", "postal_code", "region", "phone", "company"])
def test_a_part_of_an_address_that_few_have_is_optional(name: str) -> None:
    parse_change(encoded(replaced(FULL_REQUEST, ("data", "addresses", "shipping", name), None)))
    parse_change(encoded(without(FULL_REQUEST, "data", "addresses", "shipping", name)))


def test_a_country_is_read_in_either_case_and_whether_it_exists_is_for_the_rules_to_say() -> None:
    for reported, read in (("de", "DE"), ("XX", "XX")):
        shipping = parse_change(encoded(with_address(country=reported))).to_rules().shipping
        assert shipping is not None
        assert shipping.country == read


def test_white_space_around_an_address_line_is_dropped() -> None:
    shipping = parse_change(encoded(with_address(city="  Köln "))).to_rules().shipping
    assert shipping is not None
    assert shipping.city == "Köln"


def test_a_moment_of_another_zone_is_read_as_utc() -> None:
    assert parse_change(encoded(a_request(time="2026-11-23T10:00:00+01:00"))).time == datetime(
        2026, 11, 23, 9, tzinfo=UTC
    )


def test_attributes_of_the_event_that_we_do_not_know_are_passed_over() -> None:
    parse_change(encoded({**a_request(), "subject": "x", "datacontenttype": "application/json", "traceparent": 7}))


def test_a_note_may_have_lines_and_letters_of_every_script() -> None:
    note = "Erste Zeile\r\n\tzweite: Łódź 東京 🎁 \u202e"
    assert parse_change(encoded(with_data(note=note))).data.note == note


@pytest.mark.parametrize(("sku", "quantity"), [("RED-1", 1), ("RED 1", 2_147_483_647)])
def test_a_partial_cancel_may_name_its_lines(sku: str, quantity: int) -> None:
    lines = parse_change(encoded(with_lines({"sku": sku, "quantity": quantity}))).data.lines
    assert lines is not None
    assert (lines[0].sku, lines[0].quantity) == (sku, quantity)


def test_a_message_exactly_at_the_cap_is_taken_and_one_byte_more_is_not() -> None:
    raw = encoded(a_request())
    assert parse_change(raw.ljust(MAX_MESSAGE_BYTES)).data.order == "1001"
    reported = why_not(raw.ljust(MAX_MESSAGE_BYTES + 1))
    assert reported.reason is Unreadable.TOO_LARGE
    assert str(reported) == "the message has 262,145 bytes; at most 262,144 are taken"


def test_an_oversize_message_is_not_even_parsed() -> None:
    assert why_not(b"[" * (MAX_MESSAGE_BYTES + 1)).reason is Unreadable.TOO_LARGE


# What is not JSON


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"hello",
        b"\xff\xfe\x00",
        b"\0",
        b"{'order': 1}",
        encoded(a_request())[:-1],
        encoded(a_request()) + b"{}",
        encoded(a_request()) + b"\n" + encoded(a_request()),
        b"\xef\xbb\xbf" + encoded(a_request()),
        json.dumps(a_request()).encode("utf-16"),
        json.dumps(a_request(note="Köln"), ensure_ascii=False).encode("latin-1"),
        b"[" * 100_000,
        b'{"a":' * 10_000,
        b'{"quantity": ' + b"9" * 10_000 + b"}",
    ],
    ids=repr,
)
def test_what_is_no_json_is_reported_as_such(raw: bytes) -> None:
    reported = why_not(raw)
    assert reported.reason is Unreadable.NOT_JSON
    assert str(reported).startswith("message: invalid JSON: ")


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"text"', b"true", b"NaN", b"[{}]"])
def test_json_that_is_no_object_is_an_invalid_message(raw: bytes) -> None:
    reported = why_not(raw)
    assert (reported.reason, str(reported)) == (Unreadable.INVALID_MESSAGE, "message: expected a JSON object")


@pytest.mark.parametrize("path", REQUEST_TEXTS, ids=named)
@pytest.mark.parametrize("written", [b"\0", b"\\ud800", b"\\udc00", b"\xed\xa0\x80"], ids=repr)
def test_raw_nul_bytes_and_lone_surrogates_are_no_json_in_any_text(path: tuple[str | int, ...], written: bytes) -> None:
    raw = encoded(replaced(FULL_REQUEST, path, "DEADBEEF")).replace(b"DEADBEEF", b"D" + written + b"E")
    assert why_not(raw).reason is Unreadable.NOT_JSON


@pytest.mark.parametrize("path", REQUEST_TEXTS, ids=named)
def test_an_escaped_nul_is_refused_in_every_text_of_a_request(path: tuple[str | int, ...]) -> None:
    reported = why_not(encoded(replaced(FULL_REQUEST, path, "D\0")))
    assert reported.reason is Unreadable.INVALID_MESSAGE
    assert str(reported).startswith(f"{named(path)}: must ")


@pytest.mark.parametrize("path", ORDER_TEXTS, ids=named)
def test_an_escaped_nul_is_refused_in_every_text_of_an_order(path: tuple[str | int, ...]) -> None:
    reported = why_no_order(encoded(replaced(FULL_ORDER, path, "D\0")))
    assert reported.reason is Unreadable.INVALID_MESSAGE
    assert str(reported).startswith(f"{named(path)}: ")


# What does not fit the schema


@pytest.mark.parametrize(
    ("message", "reported"),
    [
        ({}, "specversion: field required; type: field required; source: field required (and 3 more)"),
        (without(a_request(), "data"), "data: field required"),
        (without(a_request(), "id"), "id: field required"),
        (without(a_request(), "time"), "time: field required"),
        (without(a_request(), "data", "order"), "data.order: field required"),
        (without(a_request(), "data", "kind"), "data.kind: field required"),
        (replaced(a_request(), ("specversion",), "0.3"), "specversion: input should be '1.0'"),
        (replaced(a_request(), ("specversion",), 1.0), "specversion: input should be '1.0'"),
        (replaced(a_request(), ("type",), "order.created"), "type: input should be 'order.change.requested'"),
        (replaced(a_request(), ("data",), "{}"), "data: expected a JSON object"),
        (replaced(a_request(), ("data",), []), "data: expected a JSON object"),
        (a_request(source=""), "source: must not be empty"),
        (a_request(id=" 7"), "id: must not begin or end with white space"),
        (a_request(id="7\n"), "id: must not begin or end with white space"),
        (a_request(id="x" * 256), "id: string should have at most 255 characters"),
        (a_request(id=7), "id: input should be a valid string"),
        (with_data(order=536365), "data.order: input should be a valid string"),
        (with_data(order=" \u00a0"), "data.order: must not be blank"),
        (with_data(order="5363\t65"), "data.order: must not contain control characters"),
        (with_data(order=""), "data.order: must not be empty"),
        (with_data(order=None), "data.order: input should be a valid string"),
        (with_data(ticket=88121), "data.ticket: input should be a valid string"),
        (with_data(note=["x"]), "data.note: input should be a valid string"),
        (with_data(requester={}), "data.requester: input should be a valid string"),
        (with_data(addresses=[]), "data.addresses: expected a JSON object"),
        (with_data(addresses={"office": an_address()}), "data.addresses.office: is not a field that we know"),
        (with_address(street="x"), "data.addresses.shipping.street: is not a field that we know"),
        (with_address(name="  "), "data.addresses.shipping.name: must not be empty"),
        (with_address(line1=None), "data.addresses.shipping.line1: input should be a valid string"),
        (with_address(city="Köln\n\nEhrenfeld"), "data.addresses.shipping.city: must not contain control characters"),
        (with_address(city="x" * 257), "data.addresses.shipping.city: string should have at most 256 characters"),
        (with_address(postal_code=50667), "data.addresses.shipping.postal_code: input should be a valid string"),
        (with_lines({"sku": "A"}), "data.lines.0.quantity: field required"),
        (with_lines("A"), "data.lines.0: expected a JSON object"),
        (with_data(lines={"sku": "A"}), "data.lines: input should be a valid array"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_reported_by_its_field(message: dict[str, Any], reported: str) -> None:
    unreadable = why_not(encoded(message))
    assert (unreadable.reason, str(unreadable)) == (Unreadable.INVALID_MESSAGE, reported)


@pytest.mark.parametrize("kind", ["Cancel", "CANCEL", "refund", "", " cancel", None, 1, ["cancel"]])
def test_other_kinds_are_invalid(kind: Any) -> None:
    reported = why_not(encoded(with_data(kind=kind)))
    assert reported.reason is Unreadable.INVALID_MESSAGE
    assert str(reported).startswith("data.kind: ")


@pytest.mark.parametrize("country", ["Germany", "DEU", "D", "", "4Z", "ıı", "🇩🇪", " DE", None, 49])
def test_what_is_no_country_code_is_invalid(country: Any) -> None:
    reported = why_not(encoded(with_address(country=country)))
    assert reported.reason is Unreadable.INVALID_MESSAGE
    assert str(reported).startswith("data.addresses.shipping.country: ")


@pytest.mark.parametrize("addresses", [None, {}, {"shipping": None}, {"shipping": {}, "billing": {}}], ids=str)
def test_a_change_of_address_without_any_address_is_invalid(addresses: Any) -> None:
    reported = why_not(encoded(with_data(kind="change_address", addresses=addresses)))
    assert str(reported) == "data: a change_address needs `addresses` with `shipping` and/or `billing`"


@pytest.mark.parametrize("name", ["name", "line1", "city", "country"])
def test_half_an_address_is_invalid(name: str) -> None:
    reported = why_not(encoded(without(FULL_REQUEST, "data", "addresses", "billing", name)))
    assert str(reported) == f"data.addresses.billing.{name}: field required"


ABSURD_MOMENTS = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-23:59",
    "1999-12-31T23:59:59Z",
    "2100-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "2026-11-23T09:00:00",
    "2026-11-23",
    "2026-02-30T09:00:00Z",
    "2026-11-23T25:00:00Z",
    "2026-11-23T09:00:00+99:99",
    "23.11.2026 09:00",
    "yesterday",
    "",
    "1764000000",
    "1764000000.5",
    1764000000,
    1764000000.5,
    True,
    None,
    {},
]


@pytest.mark.parametrize("moment", ABSURD_MOMENTS)
def test_an_absurd_moment_is_invalid(moment: Any) -> None:
    reported = why_not(encoded(replaced(a_request(), ("time",), moment)))
    assert reported.reason is Unreadable.INVALID_MESSAGE
    assert str(reported).startswith("time: ")
    for name in ("placed_at", "hold_until")[: 1 if moment is None else 2]:
        assert str(why_no_order(encoded(an_order(**{name: moment})))).startswith(f"{name}: ")


ABSURD_QUANTITIES = [0, -1, 2_147_483_648, 10**30, 1.5, 1.0, "1", True, None, float("nan"), float("inf")]


@pytest.mark.parametrize("quantity", ABSURD_QUANTITIES)
def test_an_absurd_quantity_is_invalid(quantity: Any) -> None:
    reported = why_not(encoded(with_lines({"sku": "A", "quantity": quantity})))
    assert reported.reason is Unreadable.INVALID_MESSAGE
    assert str(reported).startswith("data.lines.0.quantity: ")
    order = replaced(an_order(), ("lines", 1, "quantity"), quantity)
    assert str(why_no_order(encoded(order))).startswith("lines.1.quantity: ")


@pytest.mark.parametrize("path", [*REQUEST_TEXTS, ("time",), ("data", "kind")], ids=named)
def test_a_number_that_is_none_is_no_text(path: tuple[str | int, ...]) -> None:
    assert why_not(encoded(replaced(FULL_REQUEST, path, float("nan")))).reason is Unreadable.INVALID_MESSAGE


# Orders


def test_an_order_of_the_contract_is_taken_with_all_it_says() -> None:
    order = parse_order(encoded(FULL_ORDER))
    assert (order.number, order.status, order.currency, order.warehouse) == ("1001", "validated", "EUR", "MAIN")
    assert order.hold_until == datetime(2026, 12, 1, tzinfo=UTC)
    assert [(line.sku, line.quantity, line.price) for line in order.lines] == [
        ("RED-1", 3, Decimal("4.50")),
        ("BLUE-2", 1, Decimal("5")),
    ]


def test_an_order_of_ten_thousand_lines_is_taken_though_no_message_may_be_so_large() -> None:
    line = an_order()["lines"][0]
    raw = encoded(an_order(lines=[line] * 10_000))
    assert len(raw) > MAX_MESSAGE_BYTES
    assert len(parse_order(raw).lines) == 10_000


def test_the_same_sku_on_two_lines_stays_two_lines() -> None:
    line = an_order()["lines"][0]
    assert [one.sku for one in parse_order(encoded(an_order(lines=[line, line]))).lines] == ["RED-1", "RED-1"]


@pytest.mark.parametrize("price", ["0", "0.00", "999999999999.999999", "1"])
def test_a_price_is_a_decimal_as_text(price: str) -> None:
    order = parse_order(encoded(replaced(an_order(), ("lines", 0, "unit_price"), price)))
    assert order.lines[0].price == Decimal(price)


@pytest.mark.parametrize("price", [4.5, 4, "-1", "+1", "1e3", "1,50", "", " 1", "1\n", "٤", "NaN", "1.", ".5", None])
def test_what_is_no_price_is_invalid(price: Any) -> None:
    reported = why_no_order(encoded(replaced(an_order(), ("lines", 0, "unit_price"), price)))
    assert str(reported).startswith("lines.0.unit_price: ")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"number": "10 01"}, "number"),
        ({"number": 1001}, "number"),
        ({"number": "x" * 65}, "number"),
        ({"status": "cancelled"}, "status"),
        ({"status": "abandoned"}, "status"),
        ({"currency": "eur"}, "currency"),
        ({"currency": "EURO"}, "currency"),
        ({"currency": "EUR\n"}, "currency"),
        ({"warehouse": ""}, "warehouse"),
        ({"customer": None}, "customer"),
        ({"customer": {"name": "Jane"}}, "customer.email"),
        ({"customer": {"name": "", "email": EMAIL}}, "customer.name"),
        ({"shipping": {}}, "shipping.name"),
        ({"shipping": None}, "shipping"),
        ({"lines": []}, "lines"),
        ({"lines": [{"sku": "A", "description": "A", "quantity": 1}]}, "lines.0.unit_price"),
        ({"edi": "sent"}, "edi"),
    ],
    ids=str,
)
def test_an_order_that_does_not_fit_is_reported_by_its_field(changes: dict[str, Any], field: str) -> None:
    reported = why_no_order(encoded(an_order(**changes)))
    assert reported.reason is Unreadable.INVALID_MESSAGE
    assert str(reported).startswith(f"{field}: ")


# What an error says


@pytest.mark.parametrize("path", [*REQUEST_TEXTS, ("time",), ("type",), ("data", "kind")], ids=named)
@pytest.mark.parametrize("bad", [[SECRET], {SECRET: SECRET}, f"{SECRET}\0", SECRET * 60_000, f" {SECRET}\n\t{SECRET}"])
def test_an_error_of_a_request_quotes_no_value(path: tuple[str | int, ...], bad: Any) -> None:
    reported = said(parse_change, encoded(replaced(FULL_REQUEST, path, bad)))
    assert SECRET not in reported
    assert "\n" not in reported


@pytest.mark.parametrize("path", [*ORDER_TEXTS, ("placed_at",), ("status",)], ids=named)
@pytest.mark.parametrize("bad", [[SECRET], {SECRET: SECRET}, f"{SECRET}\0"])
def test_an_error_of_an_order_quotes_no_value(path: tuple[str | int, ...], bad: Any) -> None:
    assert SECRET not in str(why_no_order(encoded(replaced(FULL_ORDER, path, bad))))


@pytest.mark.parametrize(
    "name", [EMAIL, "x\0y", "x" * 50_000, "two words", "", "\x1b[31m", "Straße"], ids=lambda n: n[:9]
)
def test_a_field_whose_name_may_be_anything_is_not_named(name: str) -> None:
    reported = str(why_not(encoded(with_address(**{name: 1}))))
    assert reported == "data.addresses.shipping.(unnamed): is not a field that we know"


def test_an_error_tells_the_first_three_fields_and_how_many_more() -> None:
    reported = str(why_not(encoded(with_lines(*({"sku": "A", "quantity": 0} for _ in range(1000))))))
    assert reported.count("quantity") == 3
    assert reported.endswith(" (and 997 more)")


# The hash that tells a repeat from a conflict


def sha256(message: dict[str, Any] | bytes) -> str:
    return parse_change(message if isinstance(message, bytes) else encoded(message)).data_sha256()


def shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        names = list(value)
        chance.shuffle(names)
        return {name: shuffled(value[name], chance) for name in names}
    return [shuffled(one, chance) for one in value] if isinstance(value, list) else value


@given(st.randoms(use_true_random=False), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_the_hash_does_not_depend_on_how_the_json_is_written(
    chance: random.Random, indent: int | str | None, ascii_only: bool
) -> None:
    written = json.dumps(shuffled(FULL_REQUEST, chance), indent=indent, ensure_ascii=ascii_only)
    assert sha256(written.encode()) == sha256(FULL_REQUEST)


def test_an_explicit_null_counts_as_absent() -> None:
    absent = a_request(ticket=None, note=None, requester=None)
    event = {**absent, "data": {**absent["data"], "ticket": None, "note": None, "requester": None, "lines": None}}
    assert sha256(event) == sha256(absent)
    assert sha256(with_address(line2=None, region=None)) == sha256(with_address())


def test_the_hash_is_of_the_data_alone() -> None:
    assert sha256(a_request(id="1")) == sha256(a_request(id="2", source="other", time="2026-11-24T09:00:00Z"))


DIFFERENT_DATA: list[tuple[tuple[str | int, ...], Any]] = [
    *((path, "XY") for path in REQUEST_TEXTS if path[0] == "data" and path[-1] != "country"),
    *((("data", "addresses", role, "country"), "FR") for role in ("shipping", "billing")),
    (("data", "kind"), "cancel"),
    (("data", "note"), None),
    (("data", "note"), "ordered twice"),
    (("data", "note"), "Ordered twice "),
    (("data", "addresses", "billing"), None),
    (("data", "addresses", "shipping", "line2"), None),
    (("data", "lines"), None),
    (("data", "lines"), []),
    (("data", "lines", 0, "quantity"), 3),
]


@pytest.mark.parametrize(("path", "other"), DIFFERENT_DATA, ids=str)
def test_the_hash_differs_when_anything_in_the_data_differs(path: tuple[str | int, ...], other: Any) -> None:
    assert sha256(replaced(FULL_REQUEST, path, other)) != sha256(FULL_REQUEST)


def test_shipping_and_billing_cannot_be_mistaken_for_each_other() -> None:
    one, other = ({"kind": "change_address", "addresses": {role: an_address()}} for role in ("shipping", "billing"))
    assert sha256(with_data(**one)) != sha256(with_data(**other))


# Whatever comes


def parses_or_is_unreadable(raw: bytes) -> None:
    for parse in (parse_change, parse_order):
        reported = said(parse, raw)
        assert reported.isprintable()
        assert len(reported) < 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["1e999", "\0", "DE", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
PATHS: list[tuple[str | int, ...]] = [
    *REQUEST_TEXTS,
    ("specversion",),
    ("type",),
    ("time",),
    ("data",),
    ("data", "kind"),
    ("data", "addresses"),
    ("data", "addresses", "shipping"),
    ("data", "lines"),
    ("data", "lines", 0),
    ("data", "lines", 0, "quantity"),
    ("data", "unknown"),
    ("unknown",),
]
ORDER_PATHS: list[tuple[str | int, ...]] = [*ORDER_TEXTS, ("placed_at",), ("hold_until",), ("lines",), ("customer",)]


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf{}")
def test_any_bytes_parse_or_are_unreadable(raw: bytes) -> None:
    parses_or_is_unreadable(raw)


@given(st.sampled_from(PATHS), JSON)
def test_a_request_with_any_value_in_any_field_parses_or_is_unreadable(path: tuple[str | int, ...], new: Any) -> None:
    parses_or_is_unreadable(encoded(replaced(FULL_REQUEST, path, new)))


@given(st.sampled_from(ORDER_PATHS), JSON)
def test_an_order_with_any_value_in_any_field_parses_or_is_unreadable(path: tuple[str | int, ...], new: Any) -> None:
    parses_or_is_unreadable(encoded(replaced(FULL_ORDER, path, new)))


@given(st.integers(0, 10_000), st.integers(0, 30), st.binary(max_size=8))
def test_a_message_with_bytes_cut_out_or_put_in_parses_or_is_unreadable(start: int, gone: int, put_in: bytes) -> None:
    raw = encoded(FULL_REQUEST)
    start %= len(raw)
    parses_or_is_unreadable(raw[:start] + put_in + raw[start + gone :])


def hash_of(**extra: Any) -> str:
    return parse_change(encoded(a_request(**extra))).data_sha256()


def test_data_are_the_same_with_unknown_fields_in_another_order_and_other_with_other_values() -> None:
    first = hash_of(channel={"name": "chat", "agent": "Kim"}, urgent=True)
    assert hash_of(urgent=True, channel={"agent": "Kim", "name": "chat"}) == first
    assert hash_of(channel={"name": "chat", "agent": "Lee"}, urgent=True) != first
    assert hash_of(channel={"name": "chat", "agent": "Kim"}) != first
    shipping = {"shipping": an_address()}
    two, three = ([{"sku": "RED-1", "quantity": 1, "gift": gift}] for gift in ("two", "three"))
    assert hash_of(lines=two, addresses=shipping) != hash_of(lines=three, addresses=shipping)
