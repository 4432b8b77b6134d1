"""Made-up acknowledgements."""

from dataclasses import replace

import pytest

from edi.acknowledgements.standards import (
    Acknowledgement,
    UnreadableAcknowledgement,
    read_acknowledgements,
)
from edi.partners import Partner, Standard
from tests.edi_orders import EDIFACT, X12

X12_4010 = replace(X12, standard=Standard.X12_940_004010)


def contrl(
    *segments: str, kind: str = "CONTRL:D:3:UN", una: str = "", test: bool = False, reference: str = "77"
) -> bytes:
    """An interchange of one message from the partner to us."""
    header = f"UNB+UNOC:3+{EDIFACT.their_id}:14+{EDIFACT.our_id}:14+261123:0945+{reference}{'++++++1' if test else ''}'"
    message = "".join(f"{segment}'" for segment in segments)
    trailer = f"UNT+{len(segments) + 2}+1'UNZ+1+{reference}'"
    return f"{una}{header}UNH+1+{kind}'{message}{trailer}".encode("latin-1")


def uci(action: str, number: str = "1000000042") -> str:
    """Our interchange, as its receiver repeats it."""
    return f"UCI+{number}+{EDIFACT.our_id}:14+{EDIFACT.their_id}:14+{action}"


def ucm(reference: int, action: str) -> str:
    """One of our messages."""
    return f"UCM+{reference}+ORDERS:D:96A:UN+{action}"


def x12(
    *sets: str, group: str = "FA", ta1: str = "", number: str = "000000077", release: str = "004010", usage: str = "P"
) -> bytes:
    """An interchange from the partner to us; a set is its type and its segments, all but ST and SE."""
    is_new = release >= "005010"
    isa = (
        f"ISA*00*{'':10}*00*{'':10}*{X12.their_qualifier}*{X12.their_id:15}*{X12.our_qualifier}*{X12.our_id:15}"
        f"*261123*0945*{'^' if is_new else 'U'}*{'00501' if is_new else '00401'}*{number}*0*{usage}*>~"
    )
    groups = ""
    if sets:
        groups = f"GS*{group}*{X12.their_id}*{X12.our_id}*20261123*0945*7*X*{release}~"
        for place, one in enumerate(sets, 1):
            kind, body = one.split("~", 1)
            groups += f"ST*{kind}*{place:04d}~{body}SE*{body.count('~') + 2}*{place:04d}~"
        groups += f"GE*{len(sets)}*7~"
    return f"{isa}{ta1}{groups}IEA*{1 if sets else 0}*{number}~".encode("latin-1")


ACCEPTED_997 = "997~AK1*OW*42~AK9*A*2*2*2~"


def one(raw: bytes, partner: Partner = EDIFACT) -> Acknowledgement:
    """The only thing that the file holds."""
    reading = read_acknowledgements(raw, partner)
    assert reading.others == ()
    [acknowledgement] = reading.acknowledgements
    return acknowledgement


def refused(raw: bytes, partner: Partner = EDIFACT) -> str:
    """What is wrong with the file."""
    with pytest.raises(UnreadableAcknowledgement) as caught:
        read_acknowledgements(raw, partner)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 250
    return message
