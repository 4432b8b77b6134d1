"""Whether two e-mail addresses are the same mailbox, as row 1 of the decision table means it."""

import idna

# Spaces and line breaks, which forms and templates leave around a value. Nothing else is stripped.
BLANKS = " \t\r\n"
_TO_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
# RFC 1035, 2.3.4, with room for the spelling in Unicode. A longer text is not a domain.
_LONGEST_DOMAIN = 255


def same_mailbox(one: str, other: str) -> bool:
    """Returns whether two addresses are the same mailbox.

    Surrounding spaces, the case of ASCII letters, and the spelling of the domain (IDNA, RFC 5891) do not matter.

    A domain in Unicode is the same as its `xn--` form. Letters that only resemble each other (ſ and s, ß and ss, the
    Kelvin sign and k) are different, because they may belong to different people.
    """
    return _canonical(one) == _canonical(other)


def _canonical(address: str) -> str:
    local, at, domain = _ascii_lower(address.strip(BLANKS)).rpartition("@")
    return f"{local}{at}{_canonical_domain(domain)}"


def _ascii_lower(text: str) -> str:
    """Returns a text with its ASCII capital letters in lower case and every other character as it is."""
    return text.translate(_TO_LOWER)


def _canonical_domain(domain: str) -> str:
    """Returns a domain in ASCII, or the unchanged text if IDNA does not accept it as a domain."""
    if len(domain) > _LONGEST_DOMAIN:
        return domain
    try:
        # Label by label, because `idna.encode` also treats characters other than the full stop as dots.
        return ".".join(idna.alabel(label).decode("ascii") for label in domain.split("."))
    except (idna.IDNAError, UnicodeError):
        return domain
