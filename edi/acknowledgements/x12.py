"""X12 997, 999 and TA1: which interchange of ours they accept or reject, and why.

997 and 999 name the group's control number, which equals the interchange's: we send one group in each.
"""

from collections.abc import Iterator, Sequence

from edi.acknowledgements.codes import X12_ELEMENT, X12_GROUP, X12_INTERCHANGE, X12_SEGMENT, X12_SET
from edi.acknowledgements.segments import (
    Delimiters,
    Segment,
    begins,
    check_parties,
    check_trailer,
    control_number,
    digits,
    enclosed,
    explained,
    interchanges,
    remarks,
    skip_blank,
    stray,
    tag_of,
    taken,
    the_only,
)
from edi.acknowledgements.verdicts import Acknowledgement, Kind, UnreadableAcknowledgement, Verdict
from edi.partners import Partner

_OURS = "OW"  # GS01 of a 940

_ISA = 106
_ISA_WIDTHS = (2, 10, 2, 10, 2, 15, 2, 15, 6, 4, 1, 5, 9, 1, 1, 1)

# 715 and 717. P is for a group with both accepted and rejected sets, but our interchange has one verdict.
_ACCEPTED = {"A": "accepted", "E": "accepted with errors"}
_REJECTED = {
    "P": "rejected in part", "R": "rejected", "M": "rejected, message authentication code failed",
    "W": "rejected, assurance failed validity tests", "X": "rejected, decrypted content could not be analysed",
}  # fmt: skip
_DUPLICATE = "025"
_OF_AN_ANSWER = ("AK1", "AK2", "AK3", "AK4", "AK5", "AK9", "IK3", "IK4", "IK5")


def read(text: str, partner: Partner) -> Iterator[Acknowledgement | str]:
    """Yields each answer to an interchange of ours, and the name of anything else; raises UnreadableAcknowledgement."""
    for interchange in interchanges(_segments(text), "ISA", "IEA"):
        yield from _answers(interchange, partner)


def _segments(text: str) -> Iterator[Segment]:
    """Yields the segments; each ISA defines its interchange's delimiters at fixed positions."""
    place = skip_blank(text, 0)
    delimiters = _delimiters(taken(text, place, _ISA)[0])
    while place < len(text):
        if begins(text, place, "ISA"):
            delimiters = _delimiters(taken(text, place, _ISA)[0])
        segment, place = delimiters.segment_at(place, text)
        yield segment


def _delimiters(isa: str) -> Delimiters:
    widths = [len(element) for element in isa[:-1].split(isa[3:4] or None)]
    if widths != [3, *_ISA_WIDTHS]:
        raise UnreadableAcknowledgement(f"has no ISA of {_ISA} characters where an interchange was expected")
    return Delimiters(isa[104], isa[3], isa[105])


def _answers(interchange: Sequence[Segment], partner: Partner) -> Iterator[Acknowledgement | str]:
    isa, *body, iea = interchange
    check_parties((isa.at(6), isa.at(5)), (isa.at(8), isa.at(7)), partner)
    reference, test = isa.at(13), isa.at(15) == "T"
    if control_number(reference) is None:
        raise UnreadableAcknowledgement("has a control number in ISA that is not of digits")
    groups, outside = enclosed(body, "GS", "GE")
    check_trailer(iea, len(groups), reference)
    # It belongs before the groups, but counts anywhere.
    for segment in body:
        if segment.tag == "TA1":
            yield _ta1(segment, reference, test=test)
    yield from stray(_but_ta1(outside), _OF_AN_ANSWER, "a group")
    for group in groups:
        sets, outside = enclosed(group[1:-1], "ST", "SE")
        check_trailer(group[-1], len(sets), group[0].at(6))
        yield from stray(_but_ta1(outside), _OF_AN_ANSWER, "a transaction set")
        for one in sets:
            check_trailer(one[-1], len(one), one[0].at(2))
            kind = tag_of(one[0].at(1))
            is_answer = kind in (Kind.X12_997, Kind.X12_999)
            yield _functional(one, Kind(kind), reference, test=test) if is_answer else kind


def _but_ta1(segments: Sequence[Segment]) -> list[Segment]:
    return [segment for segment in segments if segment.tag != "TA1"]


def _ta1(segment: Segment, reference: str, *, test: bool) -> Acknowledgement:
    number, code, note = control_number(segment.at(1)), segment.at(4), segment.at(5)
    if number is None or code not in ("A", "E", "R"):
        raise UnreadableAcknowledgement("has a TA1 without a control number and one of the codes A, E and R")
    refusal = Verdict.DUPLICATE if note == _DUPLICATE else Verdict.REJECTED
    verdict = refusal if code == "R" else Verdict.ACKNOWLEDGED
    described = {**_ACCEPTED, **_REJECTED}[code]
    reasons = () if code == "A" else (f"the interchange is {described}: {explained(note, X12_INTERCHANGE)}",)
    return Acknowledgement(Kind.TA1, number, verdict, reasons, reference, test)


def _functional(one: Sequence[Segment], kind: Kind, reference: str, *, test: bool) -> Acknowledgement | str:
    """Returns the answer, or its name if it is about a group that we cannot have sent."""
    ak1, ak9 = the_only(one, "AK1"), the_only(one, "AK9")
    number = control_number(ak1.at(2))
    if ak1.at(1) != _OURS or number is None:
        return f"{kind} about a group {tag_of(ak1.at(1))}"
    # AK9 is the verdict on all sets; if it accepts them but one is rejected, the rejection counts.
    judged = [_code(segment) for segment in one if segment.tag in ("AK5", "IK5")]
    is_rejected = any(code in _REJECTED for code in [_code(ak9), *judged])
    verdict = Verdict.REJECTED if is_rejected else Verdict.ACKNOWLEDGED
    return Acknowledgement(kind, number, verdict, remarks(_reasons(one)), reference, test)


def _reasons(one: Sequence[Segment]) -> Iterator[str]:
    place = where = ""
    for segment in one:
        match segment.tag:
            case "AK2":
                place = where = f"transaction set {digits(segment.at(2))}"
            case "AK3" | "IK3":
                where = f"{place}, segment {digits(segment.at(2))} ({tag_of(segment.at(1))})"
                if code := segment.at(4):
                    yield f"{where}: {explained(code, X12_SEGMENT)}"
            case "AK4" | "IK4":
                component = f", component {digits(segment.at(1, 1))}" if segment.at(1, 1) else ""
                code = explained(segment.at(3), X12_ELEMENT)
                yield f"{where}, data element {digits(segment.at(1))}{component}: {code}"
            case "AK5" | "IK5":
                yield from _judgement(place, segment, [segment.at(n) for n in range(2, 7)], X12_SET)
            case "AK9":
                yield from _judgement("the group", segment, [segment.at(n) for n in range(5, 10)], X12_GROUP)


def _judgement(level: str, segment: Segment, codes: Sequence[str], words: dict[str, str]) -> Iterator[str]:
    """Yields the verdict of AK5 or AK9 on its level, unless it is unconditional acceptance."""
    code, errors = _code(segment), [explained(error, words) for error in codes if error]
    if code == "A" and not errors:
        return
    described = {**_ACCEPTED, **_REJECTED}[code]
    yield f"{level} is {described}" + (f": {'; '.join(errors)}" if errors else "")


def _code(segment: Segment) -> str:
    code = segment.at(1)
    if code not in _ACCEPTED and code not in _REJECTED:
        raise UnreadableAcknowledgement(
            f"has {explained(code, {})} in {segment.tag}, expected one of {', '.join([*_ACCEPTED, *_REJECTED])}"
        )
    return code
