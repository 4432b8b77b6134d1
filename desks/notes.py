"""Notes for colleagues on a ticket where nothing was decided: what was read, what is wrong, what to do.

What was read is untrusted text: it is quoted so that no desk renders any of it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from desks.notices import one_line
from desks.texts import OUR_TEXTS, Texts

_LONGEST = 80
# HTML and Markdown for links, images and markup, imitations of our mark, and placeholders that desks fill in.
_HARMLESS = str.maketrans({"[": "(", "]": ")", "<": "‹", ">": "›", "`": "'", "“": '"', "”": '"', "\\": "/"})
_BROKEN = (("{", "{ "), ("}", " }"), ("://", ": //"), ("](", "] ("), ("www.", "www ."))
_PLACEHOLDERS = ("{{", "}}", "{%", "%}", "#{")


@dataclass(frozen=True, slots=True)
class Note:
    """The text of a note; `key` distinguishes it from others with the same cause on its ticket."""

    subject: str
    body: str

    @property
    def key(self) -> str:
        """A hash of the text."""
        return hashlib.sha256(self.body.encode()).hexdigest()[:16]


def write_note(cause: str, form: Mapping[str, Any], *, wrong: str | None = None, texts: Texts = OUR_TEXTS) -> Note:
    """Writes a note; `form` is the request's `data`, or as much as could be read, and `wrong` is an error."""
    language = texts.language_for(form["language"] if isinstance(form.get("language"), str) else None)
    read = [(name, text) for name, value in _shown(form) if (text := as_text(value).strip())]
    body = texts.render(
        language,
        "attention",
        cause=cause,
        read=[(name, quoted(text)) for name, text in read],
        wrong=quoted(wrong or "?", at_most=400),
        has_placeholder=any(sign in text for _, text in read for sign in _PLACEHOLDERS),
    )
    return Note(one_line(texts.fixed(language, "attention_subject")), body)


def as_text(value: Any) -> str:
    """Returns a value of a form as a text; "" if it is neither a text nor a number."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if isinstance(value, str) or is_number else ""


def quoted(text: str, *, at_most: int = _LONGEST) -> str:
    """Returns an untrusted text on one line, shortened, without anything that a desk would render or fill in."""
    line = "".join(character if character.isprintable() else " " for character in text[: 4 * at_most])
    for sign, broken in _BROKEN:
        line = line.replace(sign, broken)
    line = " ".join(line.translate(_HARMLESS).split())
    return line if len(line) <= at_most else f"{line[: at_most - 1]}…"


def _shown(form: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Returns the parts of a form that a colleague needs; names and streets are on the ticket."""
    addresses = form.get("addresses")
    countries = [
        (f"{role} country", address.get("country"))
        for role in ("shipping", "billing")
        if isinstance(addresses, Mapping) and isinstance(address := addresses.get(role), Mapping)
    ]
    return [("order", form.get("order")), ("kind", form.get("kind")), *countries]
