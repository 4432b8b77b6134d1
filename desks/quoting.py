"""Quotes untrusted text in our texts, so that it cannot pass for our own text, a mark or a link."""

import re
import unicodedata

# A customer's note may have any length.
_LONGEST_QUOTE = 500
_LONGEST_NAME = 60
# Words of letters, as in names. Nothing that a mail program turns into a link: a full stop only after an initial or a
# title, and no digit, slash, colon or at sign.
_WORD = r"[^\W\d_]+(?:['’·-][^\W\d_]+)*[’']?"
_NAME = re.compile(rf"{_WORD}\.?,?(?: (?:{_WORD}\.?,?|&))*")
# Every mark of ours contains this word.
_MARK = re.compile("(counter)(mand)", re.IGNORECASE)
# Helpdesks fill in placeholders when a comment is saved.
_PLACEHOLDER = re.compile(r"([{<])(?=[{%<])")


def greetable(name: str) -> str | None:
    """Returns a customer's name for a greeting, None if it does not look like a name.

    Anybody can write anything into the name on an order, and have us send it to somebody else's address.
    """
    plain = " ".join(unicodedata.normalize("NFC", name).split())
    return plain if len(plain) <= _LONGEST_NAME and _NAME.fullmatch(plain) else None


def quoted(text: str) -> str:
    """Returns an untrusted text on one line, with at most 500 characters, all of them visible."""
    seen = "".join(one if one.isprintable() else " " for one in text)
    plain = " ".join(_PLACEHOLDER.sub(r"\1 ", _MARK.sub(r"\1-\2", seen)).split())
    return plain if len(plain) <= _LONGEST_QUOTE else f"{plain[: _LONGEST_QUOTE - 1]}…"
