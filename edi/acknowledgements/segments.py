"""Segments of either standard, read from a partner's file within limits and only if they are consistent."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edi.acknowledgements.verdicts import UnreadableAcknowledgement
from edi.partners import Partner

Party = tuple[str, str]  # identification and qualifier

# No acknowledgement comes near: our interchanges hold some hundred orders, and each error takes a segment or two.
MOST_SEGMENTS = 200_000
LONGEST_SEGMENT = 10_000
_MOST_REMARKS = 50

# Ignored between segments: line ends, the padding of transfer programs, and the byte order mark (UTF-8, read as
# ISO 8859-1) of a file that was appended to another.
_BLANK = re.compile(r"(?:[\s\x00\x1a]|\xef\xbb\xbf)*+")
# Some programs wrap long lines anywhere. No element that we read contains a line break.
_LINE_BREAK = re.compile(r"[\r\n]+")

# Added to a released character's code until its component is read; ISO 8859-1 has no characters there.
_RELEASED = 0xE000
_PLAIN = {_RELEASED + code: code for code in range(0x100)}


@dataclass(frozen=True)
class Delimiters:
    """The characters that end components, elements and segments; `release` is blank if there is none, as in X12."""

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
        """Returns the segment that starts at this place, and the place of the next one."""
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
        # Possessive, so that text that does not match fails at once.
        plain = f"[^{re.escape(self.terminator + self.release)}]++"
        return re.compile(f"((?:{plain}{released})*+){re.escape(self.terminator)}", re.DOTALL)

    @cached_property
    def _released(self) -> re.Pattern[str]:
        return re.compile(f"{re.escape(self.release)}(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment, split only where it is read, because a file may have millions of elements."""

    text: str  # without release characters; released characters are hidden
    delimiters: Delimiters

    @property
    def tag(self) -> str:
        """The name of the segment, its element 0."""
        return self.text.split(self.delimiters.element, 1)[0]

    def at(self, element: int, component: int = 0) -> str:
        """Returns a component of an element; blank if missing. The tag is element 0, the first component is 0."""
        try:
            components = self.text.split(self.delimiters.element, element + 1)[element]
            found = components.split(self.delimiters.component, component + 1)[component]
        except IndexError:
            return ""
        return (found if found.isascii() else found.translate(_PLAIN)).rstrip(" ")


def skip_blank(text: str, place: int) -> int:
    """Returns the place of the next character that is not blank."""
    found = _BLANK.match(text, place)
    return found.end() if found else place


def without_line_breaks(text: str) -> str:
    """Returns the text as it was before it was wrapped."""
    return _LINE_BREAK.sub("", text)


def begins(text: str, place: int, tag: str) -> bool:
    """Returns True if a segment with this tag starts there, even if the tag is broken across lines."""
    return without_line_breaks(text[place : place + 2 * len(tag)]).startswith(tag) and text.startswith(tag[0], place)


def taken(text: str, place: int, count: int) -> tuple[str, int]:
    """Returns `count` characters from this place, without line breaks, and the place after them."""
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
    """Returns the runs from the opening to the closing tag, both included, and the segments outside of them."""
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
    """Returns the runs of a whole file; raises UnreadableAcknowledgement if a segment is outside of them."""
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
    """Yields the names of misplaced segments; raises if one belongs to an answer, because it may be a rejection."""
    for segment in segments:
        if segment.tag in of_an_answer:
            raise UnreadableAcknowledgement(f"has {segment.tag} outside of {where}: it is damaged")
        yield f"{tag_of(segment.tag)} outside of {where}"


def the_only(segments: Sequence[Segment], tag: str) -> Segment:
    """Returns the one segment with this tag; raises UnreadableAcknowledgement if there is not exactly one."""
    found = [segment for segment in segments if segment.tag == tag]
    if len(found) != 1:
        raise UnreadableAcknowledgement(f"has {len(found)} {tag} in a message, expected one")
    return found[0]


def check_trailer(trailer: Segment, count: int, reference: str) -> None:
    """Raises UnreadableAcknowledgement unless the trailer has this count and reference: else the file is damaged."""
    if control_number(trailer.at(1)) != count:
        raise UnreadableAcknowledgement(
            f"has {count} where its {trailer.tag} counts {digits(trailer.at(1))}: it is damaged"
        )
    if trailer.at(2).lstrip("0") != reference.lstrip("0"):
        raise UnreadableAcknowledgement(f"has another reference in {trailer.tag} than in the header: it is damaged")


def check_parties(sender: Party, recipient: Party, partner: Partner) -> None:
    """Raises UnreadableAcknowledgement unless it is from the partner to us."""
    them, us = (partner.their_id, partner.their_qualifier), (partner.our_id, partner.our_qualifier)
    if (sender, recipient) != (them, us):
        raise UnreadableAcknowledgement(f"is {from_to(sender, recipient)}; expected one {from_to(them, us)}")


def from_to(sender: Party, recipient: Party) -> str:
    """Returns both parties for a message; they identify companies, not persons."""
    return f"from {_shown(sender)} to {_shown(recipient)}"


def _shown(party: Party) -> str:
    return ascii(":".join(party)[:40])


def control_number(text: str) -> int | None:
    """Returns the number if it can be one of ours, which consist of digits; else None."""
    return int(text) if re.fullmatch(r"[0-9]{1,14}", text) else None


def digits(text: str) -> str:
    """Returns a count or place from the partner's file, or a question mark: messages quote nothing else from it."""
    return text if re.fullmatch(r"[0-9]{1,14}", text) else "?"


def tag_of(text: str) -> str:
    """Returns a segment's tag or a message's type from the partner's file, or a question mark."""
    return text if re.fullmatch(r"[A-Z0-9]{2,6}", text) else "?"


def explained(code: str, words: Mapping[str, str]) -> str:
    """Returns the code with its meaning, if known."""
    if not re.fullmatch(r"[A-Z0-9]{1,3}", code):
        return "code ?"
    return f"code {code}, {words[code]}" if code in words else f"code {code}"


def remarks(lines: Iterable[str]) -> tuple[str, ...]:
    """Returns each line once, and at most as many as somebody would read."""
    once = tuple(dict.fromkeys(lines))
    if len(once) <= _MOST_REMARKS:
        return once
    return (*once[:_MOST_REMARKS], f"and {len(once) - _MOST_REMARKS} more")
