"""GS1 numbers, recognised by their form and check digit: articles (GTIN) and locations (GLN)."""

# Shorter and longer numbers are too often a store's own. EDIFACT (7143) and X12 (235) use the same two codes.
_ARTICLES = {12: "UP", 13: "EN"}
_LOCATION = 13


def article_type(number: str) -> str | None:
    """Returns the code for a number in the form of a U.P.C. (UP) or of an EAN (EN)."""
    return _ARTICLES.get(len(number)) if _is_checked(number) else None


def is_location(number: str) -> bool:
    """Returns True if the number has the form of a GLN."""
    return len(number) == _LOCATION and _is_checked(number)


def no_location(number: str) -> str | None:
    """Returns why a number does not have the form of a GLN; None if it has."""
    if is_location(number):
        return None
    if len(number) == _LOCATION and _has_digits(number):
        return f"check digit {_check_digit(number[:-1])} expected"
    return f"{_LOCATION} digits expected"


def _is_checked(number: str) -> bool:
    return _has_digits(number) and int(number[-1]) == _check_digit(number[:-1])


def _has_digits(number: str) -> bool:
    return number.isascii() and number.isdigit()


def _check_digit(digits: str) -> int:
    """Returns the digit that, appended, makes the sum weighted 1, 3, 1, 3 … from the right a multiple of ten."""
    weighted = [int(digit) for digit in reversed(digits)]
    return -(3 * sum(weighted[::2]) + sum(weighted[1::2])) % 10
