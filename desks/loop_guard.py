"""Recognises our own comments when a desk sends them back, but not comments that only quote ours."""

import re
from collections.abc import Sequence

from desks.notices import MARK_BEGINS
from rules.mailboxes import same_mailbox

_MARK = re.compile(re.escape(MARK_BEGINS) + r"\S*\]")
_END_OF_A_LINE = re.compile(r"</(?:p|div|li)\s*>|<br[\s/]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


def is_own_comment(author: str, comment: str, *, customer: str, own: Sequence[str]) -> bool:
    """Returns whether we wrote a comment: by its author if `own` has our addresses, otherwise by its text.

    In doubt it is somebody else's, because it may be a request.
    """
    if own:
        return any(same_mailbox(author, address) for address in own)
    # An author that the desk does not name may be the customer.
    return bool(author) and not same_mailbox(author, customer) and _is_signed_by_us(comment)


def _is_signed_by_us(comment: str) -> bool:
    """Returns whether a comment ends with our mark and quotes nothing: a reply to us may quote us with our mark."""
    text = _TAG.sub("", _END_OF_A_LINE.sub("\n", comment))
    lines = [line for each in text.splitlines() if (line := each.strip())]
    quotes = "<blockquote" in comment.lower() or any(line.startswith((">", "&gt;")) for line in lines)
    return bool(lines) and not quotes and _MARK.fullmatch(lines[-1]) is not None
