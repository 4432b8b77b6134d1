"""The judges of our documents are awake: each objects to what it is there for, and to nothing that is right."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from edi.documents.standards import assemble, render_order
from edi.partners import CharacterSet, Partner, Standard
from tests.edi_checks import assert_answered, read_edifact, read_x12
from tests.edi_oracles import by_bots, by_mock_edi, by_x12_doctor, findings
from tests.edi_orders import EDIFACT, MADE_UP, X12, read_orders

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
PARTNER_X12 = replace(X12, standard=Standard.X12_940_004010, character_set=CharacterSet.X12_EXTENDED)


ORDERS = [order for order in read_orders(MADE_UP) if order.number in ("SO-10001", "SO-10018")]


def a_document(partner: Partner) -> bytes:
    return assemble([render_order(order, partner) for order in ORDERS], partner, 42, AT)


EDIFACT_RAW, X12_RAW = a_document(EDIFACT), a_document(PARTNER_X12)


def damaged(raw: bytes, right: bytes, wrong: bytes) -> bytes:
    result = re.sub(right, wrong, raw, count=1)
    assert result != raw, f"{right!r} is not there to be damaged"
    return result


def test_what_is_right_is_right() -> None:
    assert findings(EDIFACT_RAW) == []
    assert findings(X12_RAW) == []


@pytest.mark.parametrize(
    ("oracle", "right", "wrong"),
    [
        (by_bots, rb"BGM\+220\+", b"BGM+220+" + b"9" * 30),
        (by_bots, rb"UNS\+S'", b""),
        (by_bots, rb"QTY\+21:", b"QTY+21:x"),
        (by_bots, rb"UNT\+", b"UNT+1"),
        (by_bots, rb"UNZ\+2\+42", b"UNZ+2+43"),
        (by_bots, rb"\+DE'", b"+GERMANY'"),
        (by_bots, rb"MOA\+79:[0-9.]*'CNT", b"MOA+79:1234567890123456789'CNT"),
        (by_bots, rb"CUX", b"XXX+1'CUX"),
        (by_mock_edi, rb"DTM\+137:202611", b"DTM+137:202613"),
        (by_mock_edi, rb"NAD\+DP", b"NAD+XX"),
        (by_mock_edi, rb"QTY\+21:[0-9]*:PCE", b"QTY+21:3:XXX"),
        (by_mock_edi, rb"UNT\+", b"UNT+1"),
        (by_mock_edi, rb"UNZ\+2\+42", b"UNZ+2+43"),
        (by_mock_edi, rb"CNT\+2", b"TOD+2'CNT+2"),
        (by_mock_edi, rb"LIN\+2", b"LIN+1"),
    ],
)
def test_an_oracle_sees_damage_to_an_edifact_document(
    oracle: Callable[[bytes], list[str]], right: bytes, wrong: bytes
) -> None:
    assert oracle(EDIFACT_RAW) == []
    assert oracle(damaged(EDIFACT_RAW, right, wrong)) != []


@pytest.mark.parametrize(
    ("oracle", "right", "wrong"),
    [
        (by_bots, rb"W05\*N\*", b"W05*N*" + b"9" * 20),
        (by_bots, rb"W05[^~]*~", b""),
        (by_bots, rb"W66\*PP\*U", b"W66*PP"),
        (by_bots, rb"N4\*[^*]*\*\*", b"N4*Springfield*Ohio*"),
        (by_bots, rb"N4\*[^*]*\*", b"N4*A*"),
        (by_bots, rb"G69\*", b"G69*" + b"9" * 45),
        (by_bots, rb"W01\*[0-9]*\*", b"W01*three*"),
        (by_bots, rb"LX\*1~", b"LX*1~QQ*1~"),
        (by_x12_doctor, rb"SE\*", b"SE*1"),
        (by_x12_doctor, rb"GE\*2", b"GE*3"),
        (by_x12_doctor, rb"IEA\*1\*000000042", b"IEA*1*000000043"),
        (by_x12_doctor, rb"SHOP01 ", b"SHOP01"),
        (by_x12_doctor, rb"00401", b"00501"),
        (by_x12_doctor, rb"~IEA", b"~~IEA~x"),
    ],
)
def test_an_oracle_sees_damage_to_an_x12_document(
    oracle: Callable[[bytes], list[str]], right: bytes, wrong: bytes
) -> None:
    assert oracle(X12_RAW) == []
    assert oracle(damaged(X12_RAW, right, wrong)) != []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Köln".encode("latin-1"), "Köln".encode()),  # UTF-8 under UNOC
        (rb"UNOC", b"UNOB"),
        (rb"MOA\+79:", b"MOA+79:1"),
        (rb"CNT\+2:", b"CNT+2:1"),
        (rb"NAD\+IV", b"NAD+DP"),
        (rb"UNT\+", b"UNT+1"),
        (rb"UNH\+2", b"UNH+3"),
        (rb"\+42'UNH", b"+42++++++1'UNH"),
        (rb"UNZ\+2\+42'", b"UNZ+2+42'\r\n"),
    ],
)
def test_our_own_reading_sees_what_the_oracles_miss_in_edifact(right: bytes, wrong: bytes) -> None:
    judge_edifact(EDIFACT_RAW)
    with pytest.raises((AssertionError, UnicodeDecodeError)):
        judge_edifact(damaged(EDIFACT_RAW, right, wrong))


def judge_edifact(raw: bytes) -> None:
    character_set = raw[13:17].decode()
    assert_answered(read_edifact(raw, character_set=character_set, test=False), ORDERS, character_set)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (rb"W76\*", b"W76*1"),
        (rb"\*\*VN\*[^~]*~", b"~"),
        (rb"VN\*[^~]*~", b"VN~"),
        (rb"Koln\*\*", b"Koln*9Z*"),
        (rb"N4\*Koln", b"N4*K\xc3\xb6ln"),
        (rb"N1\*WH\*\*1\*", b"N1*WH**1~N9*"),
        (rb"W66\*PP\*U~", b"W66*PP~"),
        (rb"N4\*Leeds", b"N4*Bonn"),
        (rb"Zoe", b"Zoe^"),
        (rb"\*X\*004010", b"*X*005010"),
        (rb"\*0\*P\*>~", b"*0*T*>~"),
        (rb"LX\*2~", b"LX*3~"),
        (rb"W05\*N", b"W05*F"),
        (rb"SE\*", b"SE*1"),
        (rb"Koln\*\*50667\*DE", b"Koln**50667*DE*"),
        (rb"~GS", b"~\nGS"),
    ],
)
def test_our_own_reading_sees_what_the_oracles_miss_in_x12(right: bytes, wrong: bytes) -> None:
    judge_x12(X12_RAW)
    with pytest.raises((AssertionError, UnicodeDecodeError)):
        judge_x12(damaged(X12_RAW, right, wrong))


def judge_x12(raw: bytes, character_set: str = "x12-extended") -> None:
    assert_answered(read_x12(raw, release="004010", character_set=character_set, test=False), ORDERS, character_set)


def test_our_own_reading_tells_the_basic_set_from_the_extended() -> None:
    with pytest.raises(AssertionError):
        judge_x12(X12_RAW, "x12-basic")
