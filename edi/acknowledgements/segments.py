"""Segments of either standard, as a partner's file has them: read within bounds, and only where they are consistent."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edi.acknowledgements.verdicts import UnreadableAcknowledgement
from edi.partners import Partner

Party = tuple[str, str]  # identification and qualifier

# No acknowledgement comes near: an interchange of ours holds some hundred orders, and a fault is a segment or two.
MOST_SEGMENTS = 200_000
LONGEST_SEGMENT = 10_000
_MOST_REMARKS = 50

# What stands between segments: line ends, what transfer programs fill the last block with, and the byte order mark
# (UTF-8, read as ISO 8859-1) of a file that was put behind another.
_BLANK = re.compile(r"(?:[\s\x00\x1a]|\xef\xbb\xbf)*+")
# Programs wrap long lines, anywhere. No element that is read has a line break in it.
_LINE_BREAK = re.compile(r"[\r\n]+")

# Stands in for a released character until its component is read: no character of ISO 8859-1 is there.
_RELEASED = 0xE000
_PLAIN = {_RELEASED + code: code for code in range(0x100)}


@dataclass(frozen=True)
class Delimiters:
    """What ends components, elements and segments; a blank `release` is none, as in X12."""

    component: str
    element: str
    terminator: str
    release: str = ""

    def __post_init__(self) -> None:
        needed = [self.component, self.element, self.terminator]
        characters = "".join(needed) + self.release
        if not all(needed) or len(set(characters)) != len(characters) or re.search("[A-Za-z0-9 ]", characters):
            raise UnreadableAcknowledgement("has delimiters that are missing, alike or letters in its UNA or ISA")

    def segment_at(self, place: int, text: str) -> tuple["Segment", int]:
        """The segment that starts there, and the place of what follows it."""
        found = self._segment.match(text, place)
        if not found or found.end() - place > LONGEST_SEGMENT:
            raise UnreadableAcknowledgement(
                f"has no segment of at most {LONGEST_SEGMENT} characters where one was expected, at character {place}"
            )
        return Segment(self._hidden(self._on_one_line(found[1])), self), skip_blank(text, found.end())

    def _on_one_line(self, text: str) -> str:
        return text if self.terminator in "\r\n" else without_line_breaks(text)

    def _hidden(self, text: str) -> str:
        if not self.release or self.release not in text:
            return text
        return self._released.sub(lambda found: chr(_RELEASED + ord(found[1])), text)

    @cached_property
    def _segment(self) -> re.Pattern[str]:
        released = rf"|{re.escape(self.release)}[\r\n]*+." if self.release else ""
        # Possessive: what does not match is given up at once.
        plain = f"[^{re.escape(self.terminator + self.release)}]++"
        return re.compile(f"((?:{plain}{released})*+){re.escape(self.terminator)}", re.DOTALL)

    @cached_property
    def _released(self) -> re.Pattern[str]:
        return re.compile(f"{re.escape(self.release)}(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment, split only where it is read: millions of elements that nobody asks for cost nothing."""

    text: str  # without release characters: what they released is hidden
    delimiters: Delimiters

    @property
    def tag(self) -> str:
        """What kind of segment it is."""
        return self.text.split(self.delimiters.element, 1)[0]

    def at(self, element: int, component: int = 0) -> str:
        """The component of the element; blank if it is not there. The tag is element 0, the first component is 0."""
        try:
            components = self.text.split(self.delimiters.element, element + 1)[element]
            found = components.split(self.delimiters.component, component + 1)[component]
        except IndexError:
            return ""
        return (found if found.isascii() else found.translate(_PLAIN)).rstrip(" ")


def skip_blank(text: str, place: int) -> int:
    """The place of what comes next that is not blank."""
    found = _BLANK.match(text, place)
    return found.end() if found else place


def without_line_breaks(text: str) -> str:
    """The text as it was before it was wrapped."""
    return _LINE_BREAK.sub("", text)


def begins(text: str, place: int, tag: str) -> bool:
    """True if a segment of this tag stands there, perhaps with a line break in the tag."""
    return without_line_breaks(text[place : place + 2 * len(tag)]).startswith(tag) and text.startswith(tag[0], place)


def taken(text: str, place: int, count: int) -> tuple[str, int]:
    """So many characters from there on, and the place of what follows them; line breaks before the last are skipped."""
    whole = text[place : place + count]
    if not _LINE_BREAK.search(whole[:-1]):
        return whole, place + count
    end = place
    unwrapped = ""
    while len(unwrapped) < count and end < len(text):
        unwrapped += "" if text[end] in "\r\n" else text[end]
        end += 1
    return unwrapped, end


def enclosed(segments: Iterable[Segment], opening: str, closing: str) -> tuple[list[list[Segment]], list[Segment]]:
    """The runs from one tag to the other, both included, and what stands outside of them."""
    runs: list[list[Segment]] = []
    outside: list[Segment] = []
    inside = False
    for segment in segments:
        tag = segment.tag
        if tag == (opening if inside else closing):
            raise UnreadableAcknowledgement(f"has {tag} where {closing if inside else opening} was expected")
        if tag == opening:
            runs.append([])
            inside = True
        (runs[-1] if inside else outside).append(segment)
        inside = inside and tag != closing
    if inside:
        raise UnreadableAcknowledgement(f"ends before the {closing} of its last {opening}: it is cut short")
    return runs, outside


def interchanges(segments: Iterable[Segment], opening: str, closing: str) -> list[list[Segment]]:
    """The same of a whole file, where nothing may stand outside."""
    everything: list[Segment] = []
    for segment in segments:
        if len(everything) == MOST_SEGMENTS:
            raise UnreadableAcknowledgement(f"has more than {MOST_SEGMENTS} segments, expected an acknowledgement")
        everything.append(segment)
    runs, outside = enclosed(everything, opening, closing)
    if not runs or outside:
        raise UnreadableAcknowledgement(f"has segments outside of {opening} and {closing}: it is damaged")
    return runs


def stray(segments: Iterable[Segment], of_an_answer: Collection[str], where: str) -> Iterator[str]:
    """What to call segments that stand where none should; raises if one belongs to an answer, for it may reject."""
    for segment in segments:
        if segment.tag in of_an_answer:
            raise UnreadableAcknowledgement(f"has {segment.tag} outside of {where}: it is damaged")
        yield f"{tag_of(segment.tag)} outside of {where}"


def the_only(segments: Sequence[Segment], tag: str) -> Segment:
    """The one segment of this tag."""
    found = [segment for segment in segments if segment.tag == tag]
    if len(found) != 1:
        raise UnreadableAcknowledgement(f"has {len(found)} {tag} in a message, expected one")
    return found[0]


def check_trailer(trailer: Segment, count: int, reference: str) -> None:
    """The trailer counts what came and repeats the header's reference, or a part of the file is missing or damaged."""
    if control_number(trailer.at(1)) != count:
        raise UnreadableAcknowledgement(
            f"has {count} where its {trailer.tag} counts {digits(trailer.at(1))}: it is damaged"
        )
    if trailer.at(2).lstrip("0") != reference.lstrip("0"):
        raise UnreadableAcknowledgement(f"has another reference in {trailer.tag} than in the header: it is damaged")


def check_parties(sender: Party, recipient: Party, partner: Partner) -> None:
    """From the partner to us: nobody else may answer for it."""
    them, us = (partner.their_id, partner.their_qualifier), (partner.our_id, partner.our_qualifier)
    if (sender, recipient) != (them, us):
        raise UnreadableAcknowledgement(f"is {from_to(sender, recipient)}; expected one {from_to(them, us)}")


def from_to(sender: Party, recipient: Party) -> str:
    """Both parties for a message; identifications are of companies, not of persons."""
    return f"from {_shown(sender)} to {_shown(recipient)}"


def _shown(party: Party) -> str:
    return ascii(":".join(party)[:40])


def control_number(text: str) -> int | None:
    """The number if it can be one of ours, which are of digits alone."""
    return int(text) if re.fullmatch(r"[0-9]{1,14}", text) else None


def digits(text: str) -> str:
    """A count or place as the partner writes it, or a question mark: nothing else of theirs is ever quoted."""
    return text if re.fullmatch(r"[0-9]{1,14}", text) else "?"


def tag_of(text: str) -> str:
    """A segment's tag or a message's type as the partner writes it, or a question mark."""
    return text if re.fullmatch(r"[A-Z0-9]{2,6}", text) else "?"


def explained(code: str, words: Mapping[str, str]) -> str:
    """The code with its words, if we know them."""
    if not re.fullmatch(r"[A-Z0-9]{1,3}", code):
        return "code ?"
    return f"code {code}, {words[code]}" if code in words else f"code {code}"


def remarks(lines: Iterable[str]) -> tuple[str, ...]:
    """Each line once, and no more of them than someone reads."""
    once = tuple(dict.fromkeys(lines))
    if len(once) <= _MOST_REMARKS:
        return once
    return (*once[:_MOST_REMARKS], f"and {len(once) - _MOST_REMARKS} more")
