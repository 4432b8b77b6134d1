"""Paging through tickets in the sequence of their last change, while they go on changing."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class Listed:
    """A ticket in a list: its id, when it was changed last, and whether its form may ask for something."""

    ticket: str
    changed_at: datetime
    may_ask: bool = True


def moment(text: str) -> datetime:
    """Reads a moment of an API; one without a zone is in UTC. Raises ValueError."""
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def zulu(at: datetime) -> str:
    """Writes a moment in UTC, in whole seconds, as all these APIs take it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def next_by_change(
    since: datetime, cursor: str | None, ask: Callable[[datetime, int], Sequence[Listed]]
) -> tuple[Sequence[str], str | None]:
    """Asks for one page of a list whose oldest change comes first; returns its tickets and the next cursor.

    The next page is the first one since the last change of this one: a ticket that changes meanwhile goes to the end of
    the list, and page two would begin one too late. Where a whole page was changed in one second, it is page two.
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
