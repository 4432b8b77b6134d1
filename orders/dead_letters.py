"""Messages that could not be taken: kept with their bytes, until someone puts them back."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from orders.locks import AnyRow
from orders.messages import Unreadable
from orders.tables import DeadLetterState, dead_letter


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An unreadable message: where it came from, its bytes, and why it was not taken."""

    origin: str
    position: str | None
    raw: bytes
    reason: Unreadable
    error: str


def keep_dead_letters(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """Stores dead letters; one that its broker delivers again is stored once, and is new again if it was requeued."""
    if not letters:
        return
    # Twice in one batch would be a second update of the same row, which PostgreSQL refuses.
    distinct = {(one.origin, one.position or place): one for place, one in enumerate(letters)}.values()
    rows = [
        {"origin": one.origin, "position": one.position, "raw": one.raw, "reason": one.reason, "error": one.error}
        for one in distinct
    ]
    connection.execute(
        insert(dead_letter)
        .values(rows)
        .on_conflict_do_update(
            index_elements=[dead_letter.c.origin, dead_letter.c.position],
            set_={"state": DeadLetterState.NEW},
            where=dead_letter.c.state == DeadLetterState.REQUEUED,
        )
    )


def list_dead_letters(connection: Connection) -> Sequence[AnyRow]:
    """Returns all dead letters, oldest first; how many bytes each has, and not the bytes."""
    kept = [column for column in dead_letter.c if column is not dead_letter.c.raw]
    size = func.length(dead_letter.c.raw).label("bytes")
    return connection.execute(select(*kept, size).order_by(dead_letter.c.id)).all()


def find_dead_letter(connection: Connection, letter_id: int) -> AnyRow | None:
    """Returns one dead letter; None if there is none of that id."""
    size = func.length(dead_letter.c.raw).label("bytes")
    return connection.execute(select(dead_letter, size).where(dead_letter.c.id == letter_id)).one_or_none()


def mark_requeued(connection: Connection, letter_id: int) -> bool:
    """Notes that a dead letter is back on the broker; False if that was noted before."""
    marked = (
        update(dead_letter)
        .where(dead_letter.c.id == letter_id, dead_letter.c.state == DeadLetterState.NEW)
        .values(state=DeadLetterState.REQUEUED)
    )
    return connection.execute(marked).rowcount == 1
