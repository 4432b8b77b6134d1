"""EDIFACT CONTRL, the syntax and service report: which interchange of ours it acknowledges or rejects, and why.

The syntax versions 2 to 4 agree in the segments that are read here; the codes are those of the lists 0083 and 0085.
"""

import re
from collections.abc import Iterator, Sequence

from edi.acknowledgements.codes import EDIFACT
from edi.acknowledgements.segments import (
    Delimiters,
    Party,
    Segment,
    begins,
    check_parties,
    check_trailer,
    control_number,
    digits,
    enclosed,
    explained,
    from_to,
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

# 0083: 7 acknowledges a level and the levels below it, unless one of those is rejected. 8 means that the interchange
# has arrived and its verdict follows; for us both prove the delivery. 1, 2, 3, 5 and 6 were removed in D.01A, but older
# partners still send them: 3 rejects something below, 5 and 6 are about UNB and UNZ only.
_RECEIVED = ("5", "8")
_ACKNOWLEDGED = ("1", "2", "7", *_RECEIVED)
_REJECTED = ("3", "4", "6")
_DUPLICATE = "26"
_OF_AN_ANSWER = ("UCI", "UCF", "UCM", "UCS", "UCD")

_UNA = 9

_DEFAULT = Delimiters(":", "+", "'", "?")


def read(text: str, partner: Partner) -> Iterator[Acknowledgement | str]:
    """Yields each answer to an interchange of ours, and the name of anything else; raises UnreadableAcknowledgement."""
    for interchange in interchanges(_segments(text), "UNB", "UNZ"):
        yield from _answers(interchange, partner)


def _segments(text: str) -> Iterator[Segment]:
    """Yields the segments; the UNA before an interchange sets its delimiters, else the default ones apply."""
    delimiters: Delimiters | None = None
    place = skip_blank(text, 0)
    while place < len(text):
        if delimiters is None:
            delimiters = _DEFAULT
            if begins(text, place, "UNA"):
                una, end = taken(text, place, _UNA)
                delimiters, place = _advised(una[3:]), skip_blank(text, end)
        segment, place = delimiters.segment_at(place, text)
        yield segment
        if segment.tag == "UNZ":
            delimiters = None


def _advised(una: str) -> Delimiters:
    # The third is the decimal mark, the fifth is reserved; a space in place of the release character means none.
    return Delimiters(una[0:1], una[1:2], una[5:6], una[3:4].strip(" "))


def _answers(interchange: Sequence[Segment], partner: Partner) -> Iterator[Acknowledgement | str]:
    header, *body, trailer = interchange
    check_parties(_party(header, 2), _party(header, 3), partner)
    reference = header.at(5)
    if not re.fullmatch(r"[ -~\xa0-\xff]{1,14}", reference):
        raise UnreadableAcknowledgement("has no control reference of 1 to 14 characters in UNB")
    messages, outside = enclosed(body, "UNH", "UNT")
    groups, _ = enclosed(body, "UNG", "UNE")
    check_trailer(trailer, len(groups) or len(messages), reference)
    yield from stray((one for one in outside if one.tag not in ("UNG", "UNE")), _OF_AN_ANSWER, "a message")
    for message in messages:
        check_trailer(message[-1], len(message), message[0].at(1))
        kind = tag_of(message[0].at(2))
        yield _contrl(message, reference, partner, test=header.at(11) == "1") if kind == Kind.CONTRL else kind


def _contrl(message: Sequence[Segment], reference: str, partner: Partner, *, test: bool) -> Acknowledgement | str:
    """Returns the answer, or its name if it is about an interchange that is not ours."""
    uci = the_only(message, "UCI")
    sender, recipient, number = _party(uci, 2), _party(uci, 3), control_number(uci.at(1))
    ours = _is(sender, partner.our_id, partner.our_qualifier)
    if number is None or not (ours and _is(recipient, partner.their_id, partner.their_qualifier)):
        return f"CONTRL about an interchange {from_to(sender, recipient)}"
    reasons = remarks(_reasons(message))
    return Acknowledgement(Kind.CONTRL, number, _verdict(message, uci), reasons, reference, test)


def _verdict(message: Sequence[Segment], uci: Segment) -> Verdict:
    if _action(uci) in _REJECTED:
        # Only a duplicate interchange counts. Our message references start at 1 in each interchange, so a partner that
        # expects them to be unique also calls new messages duplicates, and has processed none of them.
        return Verdict.DUPLICATE if uci.at(5) == _DUPLICATE else Verdict.REJECTED
    lower = [_action(segment) for segment in message if segment.tag in ("UCF", "UCM")]
    return Verdict.REJECTED if any(action in _REJECTED for action in lower) else Verdict.ACKNOWLEDGED


def _reasons(message: Sequence[Segment]) -> Iterator[str]:
    level = place = ""
    for segment in message:
        match segment.tag:
            case "UCI":
                level = place = "the interchange"
                yield from _judgement(level, segment)
            case "UCF":
                level = place = f"group {digits(segment.at(1))}"
                yield from _judgement(level, segment)
            case "UCM":
                level = place = f"message {digits(segment.at(1))}"
                yield from _judgement(level, segment)
            case "UCS":
                place = f"{level}, segment {digits(segment.at(1))}"
                if code := segment.at(2):
                    yield f"{place}: {explained(code, EDIFACT)}"
            case "UCD":
                yield f"{place}{_element(segment, 2)}: {explained(segment.at(1), EDIFACT)}"


def _judgement(level: str, segment: Segment) -> Iterator[str]:
    """Yields the verdict of UCI, UCF or UCM on its level, unless it is unconditional acceptance."""
    action, place = _action(segment), _place_of_action(segment)
    code = segment.at(place + 1)
    tag = f" in {tag_of(segment.at(place + 2))}" if segment.at(place + 2) else ""
    if action in _REJECTED:
        verdict = "is rejected" if code else "is rejected without a reason"
    elif action in _RECEIVED:
        verdict = "is received and not judged yet"
    elif code:
        verdict = "is acknowledged with an error"
    else:
        return
    yield f"{level} {verdict}" + (f": {explained(code, EDIFACT)}{tag}{_element(segment, place + 3)}" if code else "")


def _action(segment: Segment) -> str:
    action = segment.at(_place_of_action(segment))
    if action not in (*_ACKNOWLEDGED, *_REJECTED):
        raise UnreadableAcknowledgement(f"has the action {explained(action, {})} in {segment.tag}, expected 4, 7 or 8")
    return action


def _place_of_action(segment: Segment) -> int:
    return 3 if segment.tag == "UCM" else 4


def _element(segment: Segment, place: int) -> str:
    """Returns the position in S011, which counts the tag as element 1 and components from 1."""
    if not segment.at(place):
        return ""
    component = f", component {digits(segment.at(place, 1))}" if segment.at(place, 1) else ""
    return f", data element {digits(segment.at(place))}{component}"


def _party(segment: Segment, place: int) -> Party:
    return segment.at(place), segment.at(place, 1)


def _is(party: Party, identification: str, qualifier: str) -> bool:
    """Returns True if it is this party; the partner may repeat our UNB without the qualifier."""
    return party[0] == identification and party[1] in ("", qualifier)
