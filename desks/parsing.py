"""JSON that others wrote."""

import json
import re
from typing import Any

# As deep as the parser goes that reads a request next (pydantic's). What a desk sends has a handful of levels.
_DEEPEST = 200
# A text ends with the body where it has no end: to look for that from each quote on would take for ever.
_TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def parse_json(raw: bytes, **options: Any) -> Any:
    """Parses JSON as `json.loads` does, with its options. Raises ValueError, also for more than 200 levels."""
    text = raw.decode(json.detect_encoding(raw), "surrogatepass")
    if text.count("[") + text.count("{") > _DEEPEST:
        _expect_few_levels(text)
    return json.loads(text, **options)


def _expect_few_levels(text: str) -> None:
    # Prevents: a parser at the end of its stack, where whatever the garbage collector finalises fails, and nobody sees.
    levels = 0
    for found in _TEXT_OR_BRACKET.finditer(text):
        levels += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if levels > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} levels")
