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
        self, told: str, field: str = "", problem: Problem = Problem.CHARACTERS, limit: int | None = None
    ) -> None:
        super().__init__(told)
        self.field = field
        self.problem = problem
        self.limit = limit


def faults_of(
    role: AddressRole, address: Address, fields: "Fields", parts: Iterable[AddressPart]
) -> tuple[AddressFault, ...]:
    """Returns what the parts of a document's address cannot say of this one; none if it goes in whole."""
    faults = []
    for part in parts:
        try:
            part(role, address, fields)
        except Misfit as misfit:
            faults.append(AddressFault(role, misfit.field.removeprefix(f"{role} "), misfit.problem, misfit.limit))
    return tuple(dict.fromkeys(faults))


def refusal(order: OrderDocument, misfit: Misfit) -> CannotRender:
    """Returns what holds this one order back."""
    return CannotRender(
        f"order {order.number}: {misfit}; it is held back until it changes or `countermand export` tries it again"
    )


@dataclass(frozen=True, slots=True)
class Fields:
    """Writes fields in the character set of one partner; `version` is the directory that its messages name."""

    version: str
    character_set: CharacterSet

    def text(self, field: str, value: str | None) -> str:
        """The value spelled in the character set; blank stays blank."""
        try:
            return charset.spell(value or "", self.character_set)
        except ValueError as lost:
            # Names and streets stay out of what is stored and listed; `countermand orders show` has them.
            raise Misfit(f"{field}: {lost}", field, Problem.CHARACTERS) from lost

    def required(self, field: str, value: str) -> str:
        """The same of a field that must not be blank."""
        text = self.text(field, value)
        if not text:
            raise Misfit(f"{field} is blank, the document needs it", field, Problem.MISSING)
        return text

    def identifier(self, field: str, value: str, limit: int, *, at_least: int = 1) -> str:
        """Goes as it is or not at all: respelled, it might be that of another order or article."""
        text = self.required(field, value)
        if text != value:
            name = charset.name_of(self.character_set)
            raise Misfit(f"{field} {_shown(value)} is an identification, and {name} could only say {_shown(text)}")
        return self.fit(f"{field} {_shown(text)}", text, limit, at_least=at_least)

    def fit(self, field: str, text: str, limit: int, *, at_least: int = 0) -> str:
        """The text if it has a length that the directory allows."""
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
        """The texts one after the other, each broken at spaces into rows of this width; nothing is ever cut."""
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
        """Cut to what fits, or left out where it cannot be spelled: for what is only informative."""
        try:
            return _broken(charset.spell(value, self.character_set), width, break_long_words=True)[:limit]
        except ValueError:
            return []

    def fitting(self, value: str | None, limit: int) -> str:
        """Blank where it does not fit: for what is only informative, and misleads if it is cut."""
        try:
            return self.fit("", self.text("", value), limit)
        except Misfit:
            return ""

    def number(self, field: str, value: Decimal, limit: int) -> str:
        """Plain notation; the digits are counted before they are written, as 1E+999999 would be a million of them."""
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int):
            raise Misfit(f"{field} {value} is not a number")
        number = value or Decimal(0)  # no -0, no 0E+7
        # Sign and decimal mark do not count.
        if number and max(number.adjusted() + 1, 1) + max(-exponent, 0) > limit:
            raise Misfit(f"{field} {value} has too many digits, {self.version} allows {limit}")
        return f"{number:f}"


def utc(moment: datetime) -> datetime:
    """The moment in UTC; ValueError if it does not say where."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone, and the one of this machine may not be guessed")
    return moment.astimezone(UTC)


def _broken(text: str, width: int, *, break_long_words: bool) -> list[str]:
    if len(text) <= width:  # nearly all are, and `wrap` is slow
        return [text] if text else []
    return wrap(text, width, break_long_words=break_long_words, break_on_hyphens=False)


def _shown(value: str | None) -> str:
    return repr(value if value is None or len(value) <= 60 else f"{value[:60]}…")
