"""What stands outside of groups and messages is heard or reported; how a file was carried means nothing."""

import codecs
from itertools import pairwise

import pytest

from edi.acknowledgements.standards import Kind, Verdict, read_acknowledgements
from tests.edi_orders import EDIFACT
from tests.unit.acknowledgements import ACCEPTED_997, X12_4010, contrl, one, refused, uci, ucm, x12

REJECTING = b"TA1*000000042*261123*0930*R*022~"
ACCEPTING = b"TA1*000000042*261123*0930*A*000~"


def verdicts(raw: bytes) -> dict[Kind, Verdict]:
    return {answer.kind: answer.verdict for answer in read_acknowledgements(raw, X12_4010).acknowledgements}


@pytest.mark.parametrize("before", [b"GS*FA", b"ST*997", b"AK9*", b"SE*", b"GE*", b"IEA*"], ids=bytes.decode)
def test_a_ta1_that_rejects_is_heard_wherever_it_stands(before: bytes) -> None:
    raw = x12(ACCEPTED_997).replace(before, REJECTING + before)
    if before in (b"AK9*", b"SE*"):
        raw = raw.replace(b"SE*4", b"SE*5")
    assert verdicts(raw) == {Kind.TA1: Verdict.REJECTED, Kind.X12_997: Verdict.ACKNOWLEDGED}


def test_a_ta1_alone_is_an_answer() -> None:
    answer = one(x12(ta1=REJECTING.decode()), X12_4010)
    assert (answer.kind, answer.verdict) == (Kind.TA1, Verdict.REJECTED)


def test_every_ta1_is_heard_also_behind_other_segments() -> None:
    raw = x12(ACCEPTED_997).replace(b"IEA*", ACCEPTING + b"ISE*1~" + REJECTING + b"IEA*")
    reading = read_acknowledgements(raw, X12_4010)
    assert [answer.verdict for answer in reading.acknowledgements] == [
        Verdict.ACKNOWLEDGED,
        Verdict.REJECTED,
        Verdict.ACKNOWLEDGED,
    ]
    assert reading.others == ("ISE outside of a group",)


@pytest.mark.parametrize(
    ("before", "others"),
    [(b"GS*FA", "TA3 outside of a group"), (b"ST*997", "TA3 outside of a transaction set")],
)
def test_a_segment_outside_that_nobody_knows_is_reported(before: bytes, others: str) -> None:
    reading = read_acknowledgements(x12(ACCEPTED_997).replace(before, b"TA3*X*Y~" + before), X12_4010)
    assert reading.others == (others,)
    assert [answer.verdict for answer in reading.acknowledgements] == [Verdict.ACKNOWLEDGED]


@pytest.mark.parametrize("tag", ["AK5", "AK9", "IK5"])
@pytest.mark.parametrize("before", ["GS*FA", "ST*997", "GE*", "IEA*"])
def test_a_judgement_outside_of_its_answer_is_not_passed_over(tag: str, before: str) -> None:
    raw = x12(ACCEPTED_997).replace(before.encode(), f"{tag}*R*5~{before}".encode())
    assert f"has {tag} outside of a" in refused(raw, X12_4010)


@pytest.mark.parametrize("stray", [uci("4"), ucm(1, "4+12"), "UCF+3+A+B+4+29", "UCS+7+13"])
@pytest.mark.parametrize("before", ["UNH+1", "UNZ+1"])
def test_a_judgement_outside_of_a_contrl_is_not_passed_over(stray: str, before: str) -> None:
    raw = contrl(uci("7")).replace(before.encode(), f"{stray}'{before}".encode())
    assert f"has {stray[:3]} outside of a message" in refused(raw)


def test_a_segment_outside_of_edifact_messages_is_reported() -> None:
    reading = read_acknowledgements(contrl(uci("7")).replace(b"UNZ+1", b"UXX+1'UNZ+1"), EDIFACT)
    assert reading.others == ("UXX outside of a message",)
    assert [answer.verdict for answer in reading.acknowledgements] == [Verdict.ACKNOWLEDGED]


# How it was carried

CONTRL = contrl(uci("7"), ucm(1, "4+12"), "UCS+9", "UCD+12+2", una="UNA:+.? '")
FILES = {
    "EDIFACT": (CONTRL, EDIFACT),
    "EDIFACT without UNA": (CONTRL.removeprefix(b"UNA:+.? '"), EDIFACT),
    "EDIFACT with released characters": (contrl(uci("7"), una="UNA:+.? '", reference="7?'?+7"), EDIFACT),
    "X12": (x12(ACCEPTED_997, ta1=REJECTING.decode()), X12_4010),
}
every_file = pytest.mark.parametrize(("raw", "partner"), FILES.values(), ids=FILES)


@every_file
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=ascii)
@pytest.mark.parametrize("width", [*range(9, 105), 106, 107, 132])
def test_wrapped_lines_are_read(raw: bytes, partner: object, end: str, width: int) -> None:
    places = [*range(0, len(raw), width), len(raw)]
    wrapped = end.encode().join(raw[start:stop] for start, stop in pairwise(places))
    assert read_acknowledgements(wrapped, partner) == read_acknowledgements(raw, partner)  # type: ignore[arg-type]


@every_file
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=ascii)
def test_two_wrapped_interchanges_behind_one_another_are_read(raw: bytes, partner: object, end: str) -> None:
    both = raw + raw
    wrapped = end.encode().join(both[start : start + 80] for start in range(0, len(both), 80))
    assert read_acknowledgements(wrapped, partner) == read_acknowledgements(both, partner)  # type: ignore[arg-type]


def test_an_x12_file_whose_segments_end_in_line_ends_is_read_as_it_is() -> None:
    raw = x12(ACCEPTED_997, ta1=REJECTING.decode())
    assert read_acknowledgements(raw.replace(b"~", b"\n"), X12_4010) == read_acknowledgements(raw, X12_4010)


@every_file
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_means_nothing(raw: bytes, partner: object, encoding: str) -> None:
    marked = raw.decode("latin-1").encode(encoding)
    assert read_acknowledgements(marked, partner) == read_acknowledgements(raw, partner)  # type: ignore[arg-type]
    again = codecs.BOM_UTF8 + raw + codecs.BOM_UTF8 + raw
    assert read_acknowledgements(again, partner) == read_acknowledgements(raw + raw, partner)  # type: ignore[arg-type]


def test_a_file_that_is_not_what_its_byte_order_mark_says_is_refused() -> None:
    assert "has the byte order mark of UTF-8" in refused(codecs.BOM_UTF8 + CONTRL + b"\xff")
    assert "has the byte order mark of UTF-8" in refused(codecs.BOM_UTF8 + CONTRL + "€".encode())


@every_file
@pytest.mark.parametrize(
    "header",
    ["$$ADD ID=WH01 BID='CONTRL'\n", "#EOH\r\n", "From: edi@warehouse.example\r\nSubject: 997\r\n\r\n", "\ufeffX\n"],
)
def test_a_header_line_means_nothing(raw: bytes, partner: object, header: str) -> None:
    assert read_acknowledgements(header.encode() + raw, partner) == read_acknowledgements(raw, partner)  # type: ignore[arg-type]


def test_a_segment_before_the_envelope_is_no_header() -> None:
    assert "has TA1 before ISA: it is damaged" in refused(REJECTING + b"\n" + x12(ACCEPTED_997), X12_4010)
    assert "has UCI before UNB: it is damaged" in refused(f"{uci('4')}'\n".encode() + contrl(uci("7")))


def test_what_has_no_envelope_within_the_first_lines_is_refused() -> None:
    assert "begins with 'a h'" in refused(b"a header" + b"\n" * 3000 + CONTRL)
