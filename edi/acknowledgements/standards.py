"""What a partner puts into our inbox in answer to our interchanges, read in its standard."""

from edi.acknowledgements import contrl
from edi.acknowledgements import x12 as x12_acknowledgements
from edi.acknowledgements.segments import remarks
from edi.acknowledgements.verdicts import Acknowledgement, Kind, Reading, UnreadableAcknowledgement, Verdict
from edi.partners import Partner

__all__ = ["Acknowledgement", "Kind", "Reading", "UnreadableAcknowledgement", "Verdict", "read_acknowledgements"]


def read_acknowledgements(raw: bytes, partner: Partner) -> Reading:
    """All that the file says; UnreadableAcknowledgement unless the whole of it is sound and from this partner to us."""
    # All that is read is ASCII but perhaps an identification, which is in a character set of ours: part of this one.
    text = raw.decode("latin-1")
    expected = ("ISA",) if partner.standard.is_x12 else ("UNA", "UNB")
    start = text.lstrip()[:3]
    if start not in expected:
        found = f"begins with {start!a}" if start else "is empty"
        raise UnreadableAcknowledgement(f"{found}, expected {' or '.join(expected)} as in {partner.standard}")
    read = x12_acknowledgements.read if partner.standard.is_x12 else contrl.read
    answers = list(read(text, partner))
    if not answers:
        raise UnreadableAcknowledgement("holds no message, expected an acknowledgement")
    return Reading(
        tuple(answer for answer in answers if isinstance(answer, Acknowledgement)),
        remarks(answer for answer in answers if isinstance(answer, str)),
    )
