"""Character sets: what each of them keeps, how it spells the rest, and what it refuses."""

import string
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edi.documents.charset import encode, name_of, spell
from edi.partners import CharacterSet

# As the standards list them; X12's without what delimits.
LETTERS_AND_DIGITS = string.ascii_letters + string.digits
CAPITALS_AND_DIGITS = string.ascii_uppercase + string.digits
LEVELS = " .,-()/='+:?!\"%&*;<>"
BASIC = " !\"&'()+,-./:;?="
KEPT = {
    CharacterSet.UNOA: CAPITALS_AND_DIGITS + LEVELS,
    CharacterSet.UNOB: LETTERS_AND_DIGITS + LEVELS,
    CharacterSet.UNOC: "".join(map(chr, [*range(0x20, 0x7F), *range(0xA1, 0x100)])),
    CharacterSet.X12_BASIC: CAPITALS_AND_DIGITS + BASIC,
    CharacterSet.X12_EXTENDED: LETTERS_AND_DIGITS + BASIC + "%@[]_{}\\|<#$",
}
every_set = pytest.mark.parametrize("character_set", CharacterSet)


@every_set
def test_what_a_set_has_stays_as_it_is_and_no_other_character_does(character_set: CharacterSet) -> None:
    kept = KEPT[character_set]
    assert {one for one in map(chr, range(0x100)) if spelled(one, character_set) == one} == set(kept) - {" "}


def spelled(character: str, character_set: CharacterSet) -> str | None:
    try:
        return spell(character, character_set)
    except ValueError:
        return None


def characters() -> Iterator[str]:
    """All of the scripts with alphabets, and a sample of the rest."""
    points = [*range(0x3000), *range(0x3000, sys.maxunicode + 1, 41)]
    return (chr(point) for point in points if not 0xD800 <= point < 0xE000)


@every_set
def test_every_character_gets_written_in_the_set_or_is_refused(character_set: CharacterSet) -> None:
    written = {text for one in characters() if (text := spelled(one, character_set)) is not None}
    assert len(written) > 2_000
    assert set("".join(written)) <= set(KEPT[character_set])


@pytest.mark.parametrize(
    ("text", "latin1"),
    [
        ("Café Müller", "Café Müller"),
        ("Cafe\u0301", "Café"),
        ("Łódź €5 “x”", 'Lódz EUR5 "x"'),
        ("a\tb\r\nc\x85d\x00 \u3000e", "a b c d e"),
        ("ΤΚ 263 29", "TK 263 29"),
        ("أحمد", "'hmd"),
        (" \n", ""),
    ],
)
def test_what_the_character_set_lacks_is_spelled_out(text: str, latin1: str) -> None:
    assert spell(text, CharacterSet.UNOC) == latin1


@pytest.mark.parametrize(
    ("character_set", "written"),
    [
        (CharacterSet.UNOA, "STRASSE 5, APT NO.7 (100% * A-B C/O X(AT)Y) CAFE DEC"),
        (CharacterSet.UNOB, "Strasse 5, Apt No.7 (100% * a-b c/o x(at)y) Cafe dec"),
        (CharacterSet.X12_BASIC, "STRASSE 5, APT NO.7 (100 PCT - A-B C/O X(AT)Y) CAFE DEC"),
        (CharacterSet.X12_EXTENDED, "Strasse 5, Apt #7 [100% - a_b c/o x@y] Cafe dec"),
    ],
)
def test_accents_small_letters_and_signs_are_folded_as_far_as_the_set_needs(
    character_set: CharacterSet, written: str
) -> None:
    assert spell("Straße 5,\tApt #7 [100% * a_b c/o x@y] Cafe\u0301 déc", character_set) == written


@every_set
@pytest.mark.parametrize("text", ["\u200b", "\x00", "\u0627"])
def test_a_text_of_which_nothing_would_remain_is_refused(text: str, character_set: CharacterSet) -> None:
    with pytest.raises(ValueError, match=f"nothing of it can be written in {name_of(character_set)}"):
        spell(text, character_set)


@every_set
@pytest.mark.parametrize("text", ["Ann \ue000", "山\U0003134a"])
def test_a_text_that_would_lose_content_is_refused(text: str, character_set: CharacterSet) -> None:
    with pytest.raises(ValueError, match=f"cannot be written in {name_of(character_set)}"):
        spell(text, character_set)


@every_set
@given(text=st.text())
@settings(max_examples=50, deadline=None)
def test_spelling_is_done_once_and_for_all(character_set: CharacterSet, text: str) -> None:
    try:
        line = spell(text, character_set)
    except ValueError:
        return
    assert set(line) <= set(KEPT[character_set])
    assert " ".join(line.split()) == line
    assert spell(line, character_set) == line
    assert encode(line, character_set).decode("latin-1") == line


@pytest.mark.parametrize(
    ("text", "character_set"),
    [("é", CharacterSet.UNOB), ("a", CharacterSet.UNOA), ("€", CharacterSet.UNOC), ("*", CharacterSet.X12_BASIC)],
)
def test_a_character_that_was_not_spelled_gets_into_no_bytes(text: str, character_set: CharacterSet) -> None:
    with pytest.raises(ValueError, match=f"U\\+{ord(text):04X} is not a character of {name_of(character_set)}"):
        encode(f"A{text}", character_set)


def test_delimiters_get_into_the_bytes_where_they_are_expected() -> None:
    assert encode("A*B~", CharacterSet.X12_BASIC, delimiters="*~") == b"A*B~"
    with pytest.raises(ValueError, match=r"U\+007E"):
        encode("A*B~", CharacterSet.X12_BASIC, delimiters="*")
