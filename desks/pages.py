"""Pages through tickets in the order of their last change, while they keep changing."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class Listed:
    """A ticket in a list: its id, its last change, and whether its form may ask for something."""

    ticket: str
    changed_at: datetime
    may_ask: bool = True


def moment(text: str) -> datetime:
    """Reads a time from an API, in UTC unless it has a zone. Raises ValueError."""
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def zulu(at: datetime) -> str:
    """Formats a time in UTC, in whole seconds, as all these APIs accept it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def next_by_change(
    since: datetime, cursor: str | None, ask: Callable[[datetime, int], Sequence[Listed]]
) -> tuple[Sequence[str], str | None]:
    """Asks for one page of a list with the oldest change first; returns its tickets and the next cursor.

    A ticket that changes meanwhile moves to the end of the list, so page two would skip one. Instead, the next page is
    the first page since the last change on this one. Only if a whole page changed within one second is it page two.
    """
    begins, page = since, 1
    if cursor is not None:
        stored, page = json.loads(cursor)
        begins = moment(stored)
    listed = ask(begins, page)
    found = [one.ticket for one in listed if one.may_ask]
    if len(listed) < PAGE_SIZE:
        return found, None
    last = listed[-1].changed_at.replace(microsecond=0)
    following = (zulu(last), 1) if last > begins else (zulu(begins), page + 1)
    return found, json.dumps(following)
