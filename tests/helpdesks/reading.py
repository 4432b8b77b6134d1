"""Tickets that are read by the API of a fake desk, and what has become of them."""

from typing import Any

from tasks.helpdesks import helpdesks
from tasks.pulling import list_page
from tasks.tickets import Read, read_one, readable
from tests.builders import rows
from tests.helpdesks.fake import FakeDesk

FORM: dict[str, Any] = {"order": "1001", "kind": "cancel", "note": "Ordered twice"}


def read_all() -> list[Read]:
    """Reads what is due, and returns what became of each reading."""
    done = []
    while (one := read_one(readable())) is not None:
        done.append(one)
    return done


def list_all(desk: FakeDesk, **since: Any) -> int:
    """Lists what has changed, to the last page; returns how many tickets were found that may ask for something."""
    ours, found = helpdesks().desks[desk.kind], 0
    page = list_page(ours, **since)
    while page is not None:
        found += page.found
        page = None if page.is_last else list_page(ours)
    return found


def listing(desk: FakeDesk) -> Any:
    """Returns how far a desk's tickets have been listed."""
    (row,) = rows("SELECT *, not_before > now() AS rests FROM desk_progress WHERE source = :name", name=desk.source)
    return row


def unread() -> list[Any]:
    """Returns the tickets that wait to be read."""
    return list(rows("SELECT * FROM ticket_to_read WHERE read < wanted ORDER BY id"))


def taken() -> list[tuple[str, str]]:
    """Returns the keys of all requests, in the sequence of their acceptance."""
    return [(row.source, row.external_id) for row in rows("SELECT source, external_id FROM change_request ORDER BY id")]


def letters() -> list[tuple[str, bytes, str]]:
    """Returns the dead letters: where each is from, what it holds, and why."""
    found = rows("SELECT origin, raw, error FROM dead_letter ORDER BY id")
    return [(row.origin, bytes(row.raw), row.error) for row in found]


def let_time_pass() -> None:
    """Ends every pause, every lease and every rest."""
    rows("UPDATE ticket_to_read SET not_before = now(), lease_until = NULL RETURNING id")
    rows("UPDATE desk_progress SET not_before = NULL, lease_until = NULL RETURNING source")
