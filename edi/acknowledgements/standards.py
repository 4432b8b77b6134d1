"""Reads the acknowledgements that a partner leaves in our inbox, in its standard."""

import codecs
import re

from edi.acknowledgements import contrl
from edi.acknowledgements import x12 as x12_acknowledgements
from edi.acknowledgements.segments import remarks, skip_blank, tag_of
from edi.acknowledgements.verdicts import Acknowledgement, Kind, Reading, UnreadableAcknowledgement, Verdict
from edi.partners import Partner

_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# How much a transfer program may write before the first segment.
_LONGEST_HEADER = 2_000

__all__ = ["Acknowledgement", "Kind", "Reading", "UnreadableAcknowledgement", "Verdict", "read_acknowledgements"]


def read_acknowledgements(raw: bytes, partner: Partner) -> Reading:
    """Returns what a file holds; raises UnreadableAcknowledgement unless all of it is valid and from this partner."""
    text = _from_its_beginning(_decoded(raw), partner)
    read = x12_acknowledgements.read if partner.standard.is_x12 else contrl.read
    answers = list(read(text, partner))
    if not answers:
        raise UnreadableAcknowledgement("holds no message, expected an acknowledgement")
    return Reading(
        tuple(answer for answer in answers if isinstance(answer, Acknowledgement)),
        remarks(answer for answer in answers if isinstance(answer, str)),
    )


def _decoded(raw: bytes) -> str:
    # All that we read is ASCII, except perhaps identifications, which are in one of our sets: all within ISO 8859-1.
    for mark, encoding in _BYTE_ORDER_MARKS:
        if raw.startswith(mark):
            try:
                text = raw.decode(encoding).replace("\ufeff", "")
                text.encode("latin-1")
            except UnicodeError:
                raise UnreadableAcknowledgement(
                    f"has the byte order mark of {encoding.upper()}, and what follows is not in it or beyond ISO 8859-1"
                ) from None
            return text
    return raw.decode("latin-1")


def _from_its_beginning(text: str, partner: Partner) -> str:
    """Returns the text from its first segment on, without lines that a transfer program has put before it."""
    expected = ("ISA",) if partner.standard.is_x12 else ("UNA", "UNB")
    begin = skip_blank(text, 0)
    if text.startswith(expected, begin):
        return text[begin:]
    later = re.compile(rf"^(?:{'|'.join(expected)})(?=[^A-Za-z0-9 ]{{1,2}})", re.MULTILINE)
    found = later.search(text, begin, begin + _LONGEST_HEADER)
    if not found:
        start = text[begin : begin + 3]
        beginning = f"begins with {start!a}" if start else "is empty"
        raise UnreadableAcknowledgement(f"{beginning}, expected {' or '.join(expected)} as in {partner.standard}")
    element = text[found.end() + (found[0] == "UNA")]
    # A segment before its envelope is not a transfer program's header: it may be a rejection.
    if segment := re.search(
        rf"^\W*([A-Z][A-Z0-9]{{1,2}}){re.escape(element)}", text[begin : found.start()], re.MULTILINE
    ):
        raise UnreadableAcknowledgement(f"has {tag_of(segment[1])} before {found[0]}: it is damaged")
    return text[found.start() :]
