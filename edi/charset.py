"""ISO 8859-1, the character set of EDIFACT's UNOC: what it lacks is spelled with letters that it has."""

import re
import unicodedata

from anyascii import anyascii

_LACKING = re.compile(r"[^\x00-\xff]")
_CONTROLS_TO_SPACES = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")


def to_latin1(text: str) -> str:
    """The text in ISO 8859-1 on one line, single-spaced; ValueError where a part of it would be lost without a trace.

    Characters that ISO 8859-1 has stay as they are (é stays é), the others are transliterated (Ł becomes L).
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    spelled = _LACKING.sub(lambda lacking: _spell(lacking[0]), unicodedata.normalize("NFC", text))
    line = " ".join(spelled.translate(_CONTROLS_TO_SPACES).split())
    if not line and text.strip():
        raise ValueError("nothing of it can be written in ISO 8859-1")
    return line


def _spell(character: str) -> str:
    """Combining marks, joiners and silent letters may vanish; an ideograph or an unassigned character is content."""
    spelled = anyascii(character)
    if not spelled and _is_content(character):
        raise ValueError(f"U+{ord(character):04X} cannot be written in ISO 8859-1")
    return spelled


def _is_content(character: str) -> bool:
    category = unicodedata.category(character)
    ideograph = category == "Lo" and unicodedata.east_asian_width(character) == "W"
    return ideograph or category in ("Cn", "Co", "Cs")
