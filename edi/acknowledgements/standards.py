"""What a partner puts into our inbox in answer to our interchanges, read in its standard."""

import codecs
import re

from edi.acknowledgements import contrl
from edi.acknowledgements import x12 as x12_acknowledgements
from edi.acknowledgements.segments import remarks, skip_blank, tag_of
from edi.acknowledgements.verdicts import Acknowledgement, Kind, Reading, UnreadableAcknowledgement, Verdict
from edi.partners import Partner

_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# How much a program that carries files may write before the first segment.
_LONGEST_HEADER = 2_000

__all__ = ["Acknowledgement", "Kind", "Reading", "UnreadableAcknowledgement", "Verdict", "read_acknowledgements"]


def read_acknowledgements(raw: bytes, partner: Partner) -> Reading:
    """All that the file says; UnreadableAcknowledgement unless the whole of it is sound and from this partner to us."""
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
    # All that is read is ASCII but perhaps an identification, which is in a character set of ours: part of ISO 8859-1.
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
    """The text from its first segment on, without lines that some program has put before it."""
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
    # A segment that came before its envelope is no header: it may reject.
    if segment := re.search(
        rf"^\W*([A-Z][A-Z0-9]{{1,2}}){re.escape(element)}", text[begin : found.start()], re.MULTILINE
    ):
        raise UnreadableAcknowledgement(f"has {tag_of(segment[1])} before {found[0]}: it is damaged")
    return text[found.start() :]
