"""Letting time pass for what waits for it: a lease of the dead, a rest after a failure."""

from typing import Any

from tests.chaos.books import Books
from tests.chaos.house import House

_ANSWERS = "SELECT change_request_id AS id, fence FROM notification WHERE state = 'sending'"
_END_ANSWER = """
    UPDATE effect SET not_before = now() FROM notification
    WHERE effect.change_request_id = :id AND effect.kind = 'notify' AND effect.state = 'pending'
        AND notification.change_request_id = :id AND notification.fence = :fence
"""
_INTERCHANGES = "SELECT id, fence FROM interchange WHERE state = 'claimed'"
_END_INTERCHANGE = "UPDATE interchange SET lease_until = now() WHERE id = :id AND fence = :fence AND state = 'claimed'"
LEASES = {"answerer": (_ANSWERS, _END_ANSWER), "exporter": (_INTERCHANGES, _END_INTERCHANGE)}

_REST = """
    UPDATE effect SET not_before = now() WHERE state = 'pending' AND not_before > now() AND NOT EXISTS (
        SELECT FROM notification WHERE notification.change_request_id = effect.change_request_id
            AND effect.kind = 'notify' AND notification.state = 'sending')
"""


def kill_and_end_leases(house: House, books: Books, program: str) -> None:
    """Kills the answerer or the exporter, and lets the time pass for which it held what it had."""
    leased, end = LEASES[program]
    held: list[Any] = []
    house.kill(program, lambda: held.extend(books.rows(leased)))
    # With another fence by now it is held by one who lives.
    for row in held:
        books.rows(end, id=row.id, fence=row.fence)


def end_rests(books: Books) -> None:
    """Lets the time pass for which work, desks and partners rest after a failure.

    Of the leases only that of a failed interchange: whoever still sends it meets another, as the fence allows.
    """
    books.rows("UPDATE change_request SET not_before = now() WHERE state = 'received' AND not_before > now()")
    books.rows(_REST)
    books.rows("UPDATE destination SET failures = 0, not_before = NULL, error = NULL")
    books.rows("UPDATE interchange SET lease_until = now() WHERE state = 'claimed' AND error IS NOT NULL")
    books.rows("UPDATE partner SET not_before = NULL WHERE not_before > now()")
