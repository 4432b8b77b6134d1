"""What others have written, as it may stand in texts of ours: it cannot pass for a text, a mark or a link of ours."""

import re
import unicodedata

# A note of a customer's may have any length.
_LONGEST_QUOTE = 500
_LONGEST_NAME = 60
# Words of letters, as names have them. Nothing that a mail program makes a link of: a full stop only after an initial
# or a title, and no digit, slash, colon or at sign.
_WORD = r"[^\W\d_]+(?:['’·-][^\W\d_]+)*[’']?"
_NAME = re.compile(rf"{_WORD}\.?,?(?: (?:{_WORD}\.?,?|&))*")
# Our marks have this word in them, whatever surrounds it.
_MARK = re.compile("(counter)(mand)", re.IGNORECASE)
# What helpdesks fill in when a comment is saved.
_PLACEHOLDER = re.compile(r"([{<])(?=[{%<])")


def greetable(name: str) -> str | None:
    """Returns a customer's name as a greeting may have it; None if it does not look like one.

    Anybody can write anything into the name of an order, and have us send it to somebody else's address.
    """
    plain = " ".join(unicodedata.normalize("NFC", name).split())
    return plain if len(plain) <= _LONGEST_NAME and _NAME.fullmatch(plain) else None


def quoted(text: str) -> str:
    """Returns what somebody wrote, in one line of at most 500 characters, none of them invisible."""
    seen = "".join(one if one.isprintable() else " " for one in text)
    plain = " ".join(_PLACEHOLDER.sub(r"\1 ", _MARK.sub(r"\1-\2", seen)).split())
    return plain if len(plain) <= _LONGEST_QUOTE else f"{plain[: _LONGEST_QUOTE - 1]}…"
