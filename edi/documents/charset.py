"""Writes text in the character set of a document; transliterates characters that the set lacks."""

import re
import string
import unicodedata
from dataclasses import dataclass
from functools import cache

from anyascii import anyascii

from edi.partners import CharacterSet

_ASCII = frozenset(map(chr, range(0x20, 0x7F)))
_SMALL = frozenset(string.ascii_lowercase)
_CONTROLS_TO_SPACES = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")
# Replacements for ASCII punctuation that a set lacks; every set has the characters on the right.
_REPLACEMENTS = {
    "#": "No.", "$": "dollar ", "%": " pct", "*": "-", "<": "(", ">": ")", "@": "(at)", "[": "(", "\\": "/", "]": ")",
    "^": "-", "_": "-", "`": "'", "{": "(", "|": "/", "}": ")", "~": "-",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Repertoire:
    name: str
    encoding: str
    characters: frozenset[str]


_UNOB = _ASCII - set("#$@[\\]^_`{|}~")
# X12 has no escape, so its data must not contain our delimiters: * > ~ and ^, which repeats elements in 005010.
_X12_BASIC = _ASCII - _SMALL - set("#$%*<>@[\\]^_`{|}~")
_REPERTOIRES = {
    # ISO 9735 up to version 3 lists them; the lists of version 4 also have the underscore.
    CharacterSet.UNOA: _Repertoire("UNOA", "ascii", _UNOB - _SMALL),
    CharacterSet.UNOB: _Repertoire("UNOB", "ascii", _UNOB),
    CharacterSet.UNOC: _Repertoire("ISO 8859-1", "latin-1", _ASCII | set(map(chr, range(0xA0, 0x100)))),
    CharacterSet.X12_BASIC: _Repertoire("the basic character set of X12", "ascii", _X12_BASIC),
    CharacterSet.X12_EXTENDED: _Repertoire(
        "the extended character set of X12", "ascii", _X12_BASIC | _SMALL | set("#$%<@[\\]_{|}")
    ),
}


def name_of(character_set: CharacterSet) -> str:
    """Returns the name of a character set for messages."""
    return _REPERTOIRES[character_set].name


def spell(text: str, character_set: CharacterSet) -> str:
    """Returns the text in this set on one line, single-spaced; raises ValueError if content would be lost.

    Characters of the set stay as they are, others are transliterated (Ł becomes L) and, in a set without small letters,
    upper-cased. Spelling twice changes nothing more.
    """
    if _lacking(character_set).search(text):
        composed = unicodedata.normalize("NFC", text).translate(_CONTROLS_TO_SPACES)
        spelled = _lacking(character_set).sub(lambda found: _spell(found[0], character_set), composed)
    else:
        spelled = text
    line = " ".join(spelled.split())
    if not line and text.strip():
        raise ValueError(f"nothing of it can be written in {name_of(character_set)}")
    return line


def decode(content: bytes) -> str:
    """Returns the text of one of our documents for display; never fails."""
    # Every character set that we write is ISO 8859-1 or a subset.
    return content.decode("latin-1")


def encode(text: str, character_set: CharacterSet, *, delimiters: str = "") -> bytes:
    """Returns the bytes of a document; raises ValueError for a character outside the set, except delimiters."""
    for stray in _lacking(character_set).finditer(text):
        if stray[0] not in delimiters:
            raise ValueError(f"U+{ord(stray[0]):04X} is not a character of {name_of(character_set)}")
    return text.encode(_REPERTOIRES[character_set].encoding)


@cache
def _lacking(character_set: CharacterSet) -> re.Pattern[str]:
    return re.compile(f"[^{re.escape(''.join(sorted(_REPERTOIRES[character_set].characters)))}]")


def _spell(character: str, character_set: CharacterSet) -> str:
    """Combining marks, joiners and silent letters may vanish; an ideograph or an unassigned character is content."""
    spelled = anyascii(character)
    if not spelled and _is_content(character):
        raise ValueError(f"U+{ord(character):04X} cannot be written in {name_of(character_set)}")
    has = _REPERTOIRES[character_set].characters
    written = "".join(one if one in has else _REPLACEMENTS.get(one, one) for one in spelled)
    return written if "a" in has else written.upper()


def _is_content(character: str) -> bool:
    category = unicodedata.category(character)
    ideograph = category == "Lo" and unicodedata.east_asian_width(character) == "W"
    return ideograph or category in ("Cn", "Co", "Cs")
