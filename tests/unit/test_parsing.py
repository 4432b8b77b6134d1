"""JSON that others wrote: as the standard library reads it, but never to the end of the stack."""

import json
from typing import Any

import pytest

from desks.parsing import parse_json

LEVELS = 200


def nested(levels: int, opening: str, closing: str) -> bytes:
    return (opening * levels + "1" + closing * levels).encode()


BRACKETS = pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"]":', "}]")])


@BRACKETS
def test_two_hundred_levels_are_read(opening: str, closing: str) -> None:
    body = nested(LEVELS // sum(opening.count(one) for one in "[{"), opening, closing)
    assert parse_json(body) == json.loads(body)


@BRACKETS
@pytest.mark.parametrize("levels", [LEVELS + 1, 990, 5000, 100_000])
def test_deeper_ones_are_refused_before_anything_parses_them(
    levels: int, opening: str, closing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    for body in (nested(levels, opening, closing), (opening * levels).encode()):
        with pytest.raises(ValueError, match="more than 200 levels"):
            parse_json(body)


@pytest.mark.parametrize(
    "value",
    [
        [[]] * 1000,
        {"note": "[" * 1000, 'a "quoted" [{': "\\" * 7 + "{" * 300},
        ["\\", "[{" * 200, '"', '\\"' + "[" * 300],
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_brackets_that_are_no_levels_do_not_count(value: Any, encoding: str) -> None:
    assert parse_json(json.dumps(value).encode(encoding)) == value


def test_a_text_without_an_end_is_looked_through_once() -> None:
    # Looked through from each quote on, it would take an hour.
    with pytest.raises(json.JSONDecodeError):
        parse_json(b"{" + b"[]" * 201 + b'"' + b'\\"' * 1_000_000)


def test_options_are_those_of_the_standard_library() -> None:
    assert parse_json(b'"one\ntwo"', strict=False) == "one\ntwo"
    with pytest.raises(json.JSONDecodeError):
        parse_json(b'"one\ntwo"')
