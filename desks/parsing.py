"""Parses untrusted JSON."""

import json
import re
from typing import Any

# The limit of pydantic's parser, which reads a request next. A desk's payload has a handful of levels.
_DEEPEST = 200
# An unterminated text ends with the body: looking for its end from every quote would take quadratic time.
_TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def parse_json(raw: bytes, **options: Any) -> Any:
    """Parses JSON as `json.loads` does, with its options. Raises ValueError, also for more than 200 levels."""
    text = raw.decode(json.detect_encoding(raw), "surrogatepass")
    if text.count("[") + text.count("{") > _DEEPEST:
        _expect_few_levels(text)
    return json.loads(text, **options)


def _expect_few_levels(text: str) -> None:
    # Prevents: the parser exhausts the stack, and finalisers that the garbage collector runs there fail unseen.
    levels = 0
    for found in _TEXT_OR_BRACKET.finditer(text):
        levels += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if levels > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} levels")
