"""Telling colleagues, on the ticket, of what is not decided: written down here, delivered as answers are."""

from functools import partial

from sqlalchemy import Connection

from database.transactions import in_transaction
from desks.notes import write_note
from orders.messages import data_of
from orders.notes import NoteRow, find_wanted, write_notes
from tasks.helpdesks import helpdesks, store_texts
from tasks.running.wakeups import WakeUp, wake, wakeup_task

_LIMIT = 200


@wakeup_task(WakeUp.NOTE)
def note() -> None:
    """Writes the notes that are wanted on tickets of the desks that can be answered, and wakes the answerer."""
    sources = helpdesks().answering()
    while sources and (written := in_transaction(partial(_write, sources=sources))):
        wake(WakeUp.ANSWER)
        if written < _LIMIT:
            return


def _write(connection: Connection, sources: list[str]) -> int:
    rows = []
    for found in find_wanted(connection, sources, limit=_LIMIT):
        words = write_note(found.cause, data_of(found.body), wrong=found.error, texts=store_texts())
        rows.append(
            NoteRow(
                source=found.source,
                ticket=found.ticket,
                cause=found.cause,
                key=found.key,
                destination=found.source,
                subject=words.subject,
                body=words.body,
                change_request_id=found.id,
            )
        )
    return write_notes(connection, rows)
