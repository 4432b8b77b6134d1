"""Messages that could not be taken: kept with their bytes, until someone puts them back."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Update, and_, func, select, update
from sqlalchemy.dialects.postgresql import insert

from database.queries import AnyRow
from database.tables import DeadLetterState, change_request, dead_letter
from orders.messages import ChangeMessage, Unreadable, UnreadableMessage, parse_change

_WITHOUT_BYTES = (
    *(column for column in dead_letter.c if column.name not in ("raw", "repaired")),
    func.length(dead_letter.c.raw).label("bytes"),
    dead_letter.c.repaired.is_not(None).label("is_repaired"),
)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An unreadable message: where it came from, its bytes, and why it was not taken."""

    origin: str
    position: str | None
    raw: bytes
    reason: Unreadable
    error: str


def explain_conflict(message: ChangeMessage) -> str:
    """Says why a request cannot be taken whose key is known with other data."""
    return (
        f"request {message.id} of {message.source} is known with other data; the first one stays. "
        "Send a new request with an id of its own"
    )


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


def list_dead_letters(
    connection: Connection, *, state: str | None = None, reason: str | None = None, limit: int | None = None
) -> Sequence[AnyRow]:
    """Returns dead letters, up to `limit` of them, oldest first; how many bytes each has, and not the bytes."""
    listed = select(*_WITHOUT_BYTES).order_by(dead_letter.c.id).limit(limit)
    if state is not None:
        listed = listed.where(dead_letter.c.state == state)
    if reason is not None:
        listed = listed.where(dead_letter.c.reason == reason)
    return connection.execute(listed).all()


def find_dead_letter(connection: Connection, letter_id: int) -> AnyRow | None:
    """Returns one dead letter with its bytes; None if there is none of that id."""
    whole = select(*_WITHOUT_BYTES, dead_letter.c.raw, dead_letter.c.repaired).where(dead_letter.c.id == letter_id)
    return connection.execute(whole).one_or_none()


def repair(connection: Connection, letter_id: int, body: bytes) -> bool:
    """Keeps what is to be put back in place of a dead letter's bytes; False if it is on the broker again already.

    Raises UnreadableMessage if that would be a dead letter as well.
    """
    message = parse_change(body)
    request = change_request.c
    its_key = and_(request.source == message.source, request.external_id == message.id)
    known = connection.execute(select(request.data_sha256).where(its_key)).scalar_one_or_none()
    if known is not None and known != message.data_sha256():
        raise UnreadableMessage(Unreadable.CONFLICTING_DUPLICATE, explain_conflict(message))
    return connection.execute(_of(letter_id).values(repaired=body)).rowcount == 1


def mark_requeued(connection: Connection, letter_id: int) -> bool:
    """Notes that a dead letter is back on the broker; False if that was noted before."""
    return connection.execute(_of(letter_id).values(state=DeadLetterState.REQUEUED)).rowcount == 1


def _of(letter_id: int) -> Update:
    return update(dead_letter).where(dead_letter.c.id == letter_id, dead_letter.c.state == DeadLetterState.NEW)
