"""An order's fields as a document standard takes them: in its character set and within its limits, or not at all."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from textwrap import wrap
from typing import TypeAlias

from edi.documents import charset
from edi.documents.order import CannotRender, OrderDocument
from edi.partners import CharacterSet
from rules.model import Address, AddressFault, AddressRole, Problem

# Writes a part of an address; raises Misfit.
AddressPart: TypeAlias = Callable[[AddressRole, Address, "Fields"], object]


class Misfit(ValueError):
    """One field does not fit; the message does not name the order yet. `limit` is in characters."""

    def __init__(
        self, message: str, field: str = "", problem: Problem = Problem.CHARACTERS, limit: int | None = None
    ) -> None:
        super().__init__(message)
        self.field = field
        self.problem = problem
        self.limit = limit


def faults_of(
    role: AddressRole, address: Address, fields: "Fields", parts: Iterable[AddressPart]
) -> tuple[AddressFault, ...]:
    """Returns why the parts of a document's address cannot hold this one; empty if it fits whole."""
    faults = []
    for part in parts:
        try:
            part(role, address, fields)
        except Misfit as misfit:
            faults.append(AddressFault(role, misfit.field.removeprefix(f"{role} "), misfit.problem, misfit.limit))
    return tuple(dict.fromkeys(faults))


def refusal(order: OrderDocument, misfit: Misfit) -> CannotRender:
    """Returns the error that holds this order back."""
    return CannotRender(f"order {order.number}: {misfit}")


@dataclass(frozen=True, slots=True)
class Fields:
    """Writes fields in the character set of one partner; `version` is the directory that its messages name."""

    version: str
    character_set: CharacterSet

    def text(self, field: str, value: str | None) -> str:
        """Returns the value spelled in the character set; blank stays blank."""
        try:
            return charset.spell(value or "", self.character_set)
        except ValueError as lost:
            # Names and streets must not get into stored errors and lists; `countermand orders show` has them.
            raise Misfit(f"{field}: {lost}", field, Problem.CHARACTERS) from lost

    def required(self, field: str, value: str) -> str:
        """Returns the spelled value of a field that must not be blank."""
        text = self.text(field, value)
        if not text:
            raise Misfit(f"{field} is blank, the document needs it", field, Problem.MISSING)
        return text

    def identifier(self, field: str, value: str, limit: int, *, at_least: int = 1) -> str:
        """Returns the value unchanged, or raises Misfit: respelled, it could identify another order or article."""
        text = self.required(field, value)
        if text != value:
            name = charset.name_of(self.character_set)
            raise Misfit(f"{field} {_shown(value)} is an identification, and {name} can only write {_shown(text)}")
        return self.fit(f"{field} {_shown(text)}", text, limit, at_least=at_least)

    def fit(self, field: str, text: str, limit: int, *, at_least: int = 0) -> str:
        """Returns the text if the directory allows its length, else raises Misfit."""
        if len(text) > limit:
            raise Misfit(
                f"{field} has {len(text)} characters, {self.version} allows {limit}", field, Problem.TOO_LONG, limit
            )
        if len(text) < at_least:
            raise Misfit(
                f"{field} has {len(text)} characters, {self.version} wants {at_least}",
                field,
                Problem.TOO_SHORT,
                at_least,
            )
        return text

    def rows(self, field: str, texts: Sequence[str], limit: int, width: int) -> list[str]:
        """Returns the texts broken at spaces into rows of this width, and never cuts a text."""
        rows = [row for text in texts for row in _broken(text, width, break_long_words=False)]
        if len(rows) > limit or max(map(len, rows)) > width:
            raise Misfit(
                f"{field} does not fit, {self.version} allows {limit} times {width} characters",
                field,
                Problem.TOO_LONG,
                limit * width,
            )
        return rows

    def excerpt(self, value: str, limit: int, width: int) -> list[str]:
        """Returns informative text cut to what fits, or nothing if it cannot be spelled."""
        try:
            return _broken(charset.spell(value, self.character_set), width, break_long_words=True)[:limit]
        except ValueError:
            return []

    def fitting(self, value: str | None, limit: int) -> str:
        """Returns informative text that would mislead if cut, or blank if it does not fit."""
        try:
            return self.fit("", self.text("", value), limit)
        except Misfit:
            return ""

    def number(self, field: str, value: Decimal, limit: int) -> str:
        """Returns plain notation; counts the digits first, because 1E+999999 would write a million of them."""
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int):
            raise Misfit(f"{field} {value} is not a number")
        number = value or Decimal(0)  # no -0, no 0E+7
        # Sign and decimal mark do not count.
        if number and max(number.adjusted() + 1, 1) + max(-exponent, 0) > limit:
            raise Misfit(f"{field} {value} has too many digits, {self.version} allows {limit}")
        return f"{number:f}"


def utc(moment: datetime) -> datetime:
    """Returns the moment in UTC; raises ValueError if it has no time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone, and the one of this machine may not be guessed")
    return moment.astimezone(UTC)


def _broken(text: str, width: int, *, break_long_words: bool) -> list[str]:
    if len(text) <= width:  # nearly all are, and `wrap` is slow
        return [text] if text else []
    return wrap(text, width, break_long_words=break_long_words, break_on_hyphens=False)


def _shown(value: str | None) -> str:
    return repr(value if value is None or len(value) <= 60 else f"{value[:60]}…")
