"""The published descriptions: made from the code, valid by the official schemas, and true of what is taken."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

import jsonschema  # type: ignore[import-untyped]  # it publishes no types
import pytest
import yaml  # type: ignore[import-untyped]  # it publishes no types
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel

from desks.payload import ADDRESS_FIELDS, Ignored, TicketPayload, Unusable, read_payload
from orders.messages import MAX_MESSAGE_BYTES, Unreadable, UnreadableMessage, parse_change
from rules.model import Kind
from tests.builders import a_request, an_address, encoded
from tests.openapi import OPENAPI
from tools.specs.examples import ANSWERS, EVENTS
from tools.specs.files import ROOT, dangling, texts
from tools.specs.schemas import schemas_of
from tools.specs.words import FIELDS
from workers import broker

DATA = ROOT / "tests" / "data"
ASYNCAPI: dict[str, Any] = yaml.safe_load((ROOT / "asyncapi.yaml").read_text())
OFFICIAL: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    file: (json.loads((DATA / file).read_text()), dialect, document)
    for file, dialect, document in (
        ("asyncapi-3.1.0.json", jsonschema.Draft7Validator, ASYNCAPI),
        ("openapi-3.1.json", jsonschema.Draft202012Validator, OPENAPI),
    )
}


def published(name: str, *, by: str = "openapi-3.1.json") -> Any:
    """Returns a validator of one published schema, in the dialect of its file."""
    _, dialect, document = OFFICIAL[by]
    schema = {"$ref": f"#/components/schemas/{name}"}
    return dialect({"components": document["components"], "allOf": [schema]})


CHANGES = [published("ChangeMessage", by=file) for file in OFFICIAL]
PAYLOAD = published("TicketPayload")


# The files


@pytest.mark.parametrize("name", ["asyncapi.yaml", "openapi.json"])
def test_the_file_is_what_the_generator_makes(name: str) -> None:
    assert (ROOT / name).read_text() == texts()[name], "run `make specs`"


@pytest.mark.parametrize("file", OFFICIAL)
def test_the_file_is_valid_by_the_official_schema(file: str) -> None:
    schema, dialect, document = OFFICIAL[file]
    dialect.check_schema(schema)
    dialect(schema).validate(document)


@pytest.mark.parametrize("file", OFFICIAL)
def test_the_official_schema_would_tell_a_misspelled_key(file: str) -> None:
    schema, dialect, document = OFFICIAL[file]
    misspelled = {**document, "info": {**document["info"], "licence": {"name": "MIT"}}}
    assert not dialect(schema).is_valid(misspelled)


@pytest.mark.parametrize("file", OFFICIAL)
def test_the_official_schema_is_the_one_whose_origin_is_noted(file: str) -> None:
    sha256 = hashlib.sha256((DATA / file).read_bytes()).hexdigest()
    assert sha256 in (DATA / "README.md").read_text()


@pytest.mark.parametrize("file", OFFICIAL)
def test_every_schema_in_the_file_is_one_of_the_files_dialect(file: str) -> None:
    _, dialect, document = OFFICIAL[file]
    for schema in document["components"]["schemas"].values():
        dialect.check_schema(schema)


@pytest.mark.parametrize("file", OFFICIAL)
def test_every_reference_leads_somewhere_and_nothing_stands_beside_it(file: str) -> None:
    document = OFFICIAL[file][2]
    for holder in _objects(document):
        if "$ref" in holder:
            found: Any = document
            for part in holder["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            assert holder.keys() == {"$ref"}


def test_a_reference_that_leads_nowhere_stops_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**OPENAPI, "paths": {"/x": {"$ref": "#/components/schemas/HelpscoutPayload"}}}
    assert dangling(wrong) == ["#/components/schemas/HelpscoutPayload"]
    monkeypatch.setattr("tools.specs.files.openapi", lambda: wrong)
    with pytest.raises(ValueError, match="not have: #/components/schemas/HelpscoutPayload; nothing"):
        texts()


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(child)


def test_both_files_describe_a_change_request_alike() -> None:
    for name, schema in ASYNCAPI["components"]["schemas"].items():
        assert OPENAPI["components"]["schemas"][name] == schema


def test_all_that_is_said_of_fields_is_in_the_file() -> None:
    for field, words in FIELDS.items():
        name, _, attribute = field.partition(".")
        assert OPENAPI["components"]["schemas"][name]["properties"][attribute]["description"] == words


def test_a_validator_that_nobody_has_described_stops_the_generator() -> None:
    def _must_rhyme(text: str) -> str:
        return text

    class Poem(BaseModel):
        line: Annotated[str, AfterValidator(_must_rhyme)]

    with pytest.raises(KeyError, match="_must_rhyme"):
        schemas_of([Poem])


# AsyncAPI: what it says of the brokers


def test_the_channels_are_the_stream_and_the_queue_that_are_read() -> None:
    stream, queue = ASYNCAPI["channels"]["stream"], ASYNCAPI["channels"]["queue"]
    assert (stream["address"], stream["x-field"], stream["x-consumer-group"]) == (
        broker.STREAM,
        broker.FIELD,
        broker.GROUP,
    )
    assert queue["address"] == queue["bindings"]["amqp"]["queue"]["name"] == broker.QUEUE
    assert queue["x-queue-arguments"] == broker.CHANGE_QUEUE.queue_arguments


def test_both_channels_are_received_from() -> None:
    received = {one["channel"]["$ref"]: one["action"] for one in ASYNCAPI["operations"].values()}
    assert received == {f"#/channels/{name}": "receive" for name in ASYNCAPI["channels"]}


def test_every_reason_of_a_dead_letter_is_reported() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", ASYNCAPI["info"]["description"], re.MULTILINE)) == set(Unreadable)


def test_the_cap_is_reported() -> None:
    assert f"{MAX_MESSAGE_BYTES:,} bytes" in ASYNCAPI["info"]["description"]


# Examples


def test_there_is_an_example_of_every_kind() -> None:
    (message,) = ASYNCAPI["components"]["messages"].values()
    assert {one["payload"]["data"]["kind"] for one in message["examples"]} == set(Kind)


@pytest.mark.parametrize("name", EVENTS)
def test_an_example_of_a_change_request_is_taken(name: str) -> None:
    event = EVENTS[name][1]
    parse_change(encoded(event))
    assert all(schema.is_valid(event) for schema in CHANGES)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_example_of_an_answer_fits_its_schema(name: str) -> None:
    published(name).validate(ANSWERS[name])


# What is taken, and what the schemas say is taken


def is_taken(event: dict[str, Any]) -> bool:
    try:
        parse_change(encoded(event))
    except UnreadableMessage:
        return False
    return True


def with_data(**changes: Any) -> dict[str, Any]:
    event = a_request(id="1")
    return {**event, "data": {**event["data"], **changes}}


def with_address(**changes: Any) -> dict[str, Any]:
    return with_data(kind="change_address", addresses={"shipping": an_address(**changes)})


def with_lines(*lines: Any) -> dict[str, Any]:
    return with_data(kind="partial_cancel", lines=list(lines))


NO_ADDRESS: list[Any] = [None, {}, {"shipping": None}, {"shipping": {}, "billing": {}}]


def without(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


@pytest.mark.parametrize(
    "event",
    [
        a_request(note=None, ticket=None, requester=None),
        with_data(language="x" * 1000),
        with_data(note=None, ticket=None, requester=None, language=None, addresses=None, lines=None),
        {**a_request(), "subject": "an attribute that we do not know"},
        with_data(colour="a field that we do not know"),
        with_data(addresses={}),
        with_data(addresses={"shipping": {}, "billing": None}),
        with_data(kind="change_address", addresses={"shipping": {}, "billing": an_address()}),
        with_address(line2=None, country="de", city="  Köln\n", line1=""),
        with_address(city=" " * 300),
        with_address(city=f"{' ' * 300}{'x' * 256}\r\n"),
        with_lines({"sku": "RED 1", "quantity": 2_147_483_647, "colour": "red"}),
        a_request(time="2026-11-23t10:00:00.5+0100"),
        a_request(id="x" * 255, source="🎁"),
    ],
    ids=str,
)
def test_what_is_taken_is_valid(event: dict[str, Any]) -> None:
    assert is_taken(event)
    assert [schema.is_valid(event) for schema in CHANGES] == [True, True]


@pytest.mark.parametrize(
    "event",
    [
        {},
        *(without(a_request(), name) for name in a_request()),
        {**a_request(), "specversion": "0.3"},
        {**a_request(), "type": "order.created"},
        {**a_request(), "data": []},
        a_request(source=""),
        a_request(id=" 7"),
        a_request(id="7\u2003"),
        a_request(id="7\x7f"),
        a_request(id="x" * 256),
        a_request(id=7),
        a_request(time="2026-11-23T09:00:00"),
        a_request(time="2026-11-23"),
        a_request(time="1999-12-31T23:59:59Z"),
        a_request(time="2100-01-01T00:00:00Z"),
        a_request(time="1764000000"),
        a_request(time=1764000000),
        with_data(order=""),
        with_data(order=" "),
        with_data(order="5363\t65"),
        with_data(order="x" * 65),
        with_data(order=536365),
        with_data(kind="Cancel"),
        with_data(kind="refund"),
        with_data(note="\0"),
        with_data(note=7),
        with_data(ticket=""),
        with_data(addresses={"shipping": {"name": "Jane"}}),
        with_data(addresses={"home": an_address()}),
        with_data(kind="change_address"),
        *(with_data(kind="change_address", addresses=addresses) for addresses in NO_ADDRESS),
        with_address(street="Hofstraße 5"),
        with_address(name="  "),
        with_address(city="Köln\nKalk"),
        with_address(city="\x1fKöln"),
        with_address(city="x" * 257),
        with_address(city=None),
        *(with_address(country=country) for country in ("Germany", "DEU", "D", "4Z", "ıı", " DE", "DE\n", None)),
        with_lines({"sku": "A"}),
        with_lines({"sku": "", "quantity": 1}),
        *(with_lines({"sku": "A", "quantity": quantity}) for quantity in (0, 2_147_483_648, 1.5, "1", True)),
    ],
    ids=str,
)
def test_what_is_not_taken_is_not_valid(event: dict[str, Any]) -> None:
    assert not is_taken(event)
    assert [schema.is_valid(event) for schema in CHANGES] == [False, False]


@pytest.mark.parametrize(
    "event",
    [with_lines({"sku": "A", "quantity": 1.0}), a_request(time="2026-02-30T09:00:00Z"), a_request(note="x" * 2**18)],
    ids=["a fraction of nothing", "a day that there is not", "too large"],
)
def test_what_the_schema_cannot_say_is_said_in_words(event: dict[str, Any]) -> None:
    assert not is_taken(event)
    assert [schema.is_valid(event) for schema in CHANGES] == [True, True]


# Not U+001C to U+001F: white space to Python's regular expressions, and to nobody else's.
LETTERS = st.sampled_from("aZ7é東🎁-_.@\u200b\ufeff") | st.sampled_from(" \t\n\r\x0b\x85\xa0\u2003\u2028\x00\x01\x7f")
TEXT = (
    st.text(LETTERS, max_size=8)
    | st.text(LETTERS, min_size=60, max_size=70)
    | st.text(LETTERS, min_size=250, max_size=260)
)
ADDRESS = st.fixed_dictionaries(
    {"name": TEXT, "line1": TEXT, "city": TEXT, "country": st.sampled_from(["DE", "fr", "XX", "D", "DEU", "ıı"])},
    optional={name: TEXT | st.none() for name in ("line2", "postal_code", "region", "phone", "company", "street")},
)
ADDRESSES = st.fixed_dictionaries(
    {}, optional={role: ADDRESS | st.none() | st.just({}) for role in ("shipping", "billing")}
)
# No number with a fraction: that 1.0 is a whole number to a schema, and none to us, is said in words.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
LINE = st.fixed_dictionaries({"sku": TEXT, "quantity": st.integers(-1, 2**31)}) | ANYTHING
REQUESTS = st.builds(
    a_request,
    order=TEXT | ANYTHING,
    kind=st.sampled_from(Kind) | ANYTHING,
    id=TEXT | ANYTHING,
    source=TEXT,
    time=st.datetimes(timezones=st.timezones()).map(str) | ANYTHING,
    ticket=TEXT | ANYTHING,
    note=TEXT | ANYTHING,
    requester=TEXT | ANYTHING,
    language=TEXT | ANYTHING,
    addresses=ADDRESSES | st.none() | ANYTHING,
    lines=st.lists(LINE, max_size=2) | st.none() | ANYTHING,
    more=ANYTHING,
)
# Most of a request is well, or hardly any would be taken.
LIKELY = st.builds(
    lambda whole, made, names: {
        **made,
        "data": {**made["data"], **{name: whole["data"][name] for name in names if name in whole["data"]}},
    },
    REQUESTS,
    st.builds(a_request, kind=st.sampled_from(Kind), addresses=ADDRESSES),
    st.sets(
        st.sampled_from(["order", "kind", "ticket", "note", "requester", "language", "addresses", "lines", "more"])
    ),
)


@given(REQUESTS | LIKELY)
def test_a_message_is_valid_exactly_if_it_is_taken(event: dict[str, Any]) -> None:
    assert [schema.is_valid(event) for schema in CHANGES] == [is_taken(event)] * 2


TEMPLATE_TEXT = ANYTHING | TEXT
TEMPLATE_ADDRESS = st.dictionaries(st.sampled_from([*ADDRESS_FIELDS, "street"]), TEMPLATE_TEXT, max_size=3) | ANYTHING
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(TicketPayload.model_fields, TEMPLATE_TEXT),
        "addresses": st.dictionaries(st.sampled_from(["shipping", "billing"]), TEMPLATE_ADDRESS) | ANYTHING,
        "lines": st.lists(st.fixed_dictionaries({"sku": TEMPLATE_TEXT, "quantity": st.integers()})) | ANYTHING,
        "more": ANYTHING,
    },
).map(lambda made: {"ticket": "88121", "order": 536365, "kind": "cancel", "requester": None, **made})


@given(PAYLOADS)
@example({"ticket": 1, "order": 2, "kind": "cancel", "requester": None})
@example({"ticket": " ", "order": 2, "kind": "cancel", "requester": ""})
@example({"ticket": None, "order": 2, "kind": "cancel", "requester": ""})
# A form that was left blank is passed over: that is no fault of its desk, and no request.
@example({"ticket": "1", "order": None, "kind": "", "requester": None})
def test_a_templates_payload_is_valid_exactly_if_it_is_read(payload: dict[str, Any]) -> None:
    try:
        read_payload(payload)
    except (Unusable, Ignored):
        assert not PAYLOAD.is_valid(payload)
    else:
        assert PAYLOAD.is_valid(payload)
