"""What partners answer: each file of an inbox is stored as it was, and what it says of our interchanges is applied."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from database import locks
from database.queries import AnyRow
from database.tables import AcknowledgementState, InterchangeState, Verdict, acknowledgement, interchange, partner_file
from edi import outcomes
from edi.acknowledgements.standards import Acknowledgement, Reading, UnreadableAcknowledgement, read_acknowledgements
from edi.interchanges import in_flight
from edi.partners import Partner

# What cannot be read may still be being written, under its final name; after this long nobody does.
STILL_WRITTEN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Applied:
    """One acknowledgement and what it was to us; `settled` is the state that it brought its interchange into."""

    acknowledgement: Acknowledgement
    state: AcknowledgementState
    settled: InterchangeState | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the inbox that was stored: what it said, what it holds besides, or why it could not be read.

    `again`: it was stored before under the same name, and nothing of it is applied. Until it `is_whole`, the
    partner may still be writing it.
    """

    applied: tuple[Applied, ...] = ()
    others: tuple[str, ...] = ()
    error: str | None = None
    again: bool = False
    is_whole: bool = True


def store(connection: Connection, partner: Partner, name: str, content: bytes) -> StoredFile:
    """Stores a file from a partner's inbox and applies what it says, once.

    What cannot be read is stored too, with the reason.
    """
    reading, error = _read(partner, content)
    sha256 = hashlib.sha256(content).hexdigest()
    inserted = upsert(partner_file).values(
        partner=partner.name,
        name=name,
        content=content,
        sha256=sha256,
        error=f"holds what we do not read: {', '.join(reading.others)}" if reading.others else error,
    )
    file_id = connection.execute(inserted.on_conflict_do_nothing().returning(partner_file.c.id)).scalar_one_or_none()
    if file_id is None:
        is_whole = error is None or _is_written(connection, partner, name, sha256)
        return StoredFile(others=reading.others, error=error, again=True, is_whole=is_whole)
    locks.lock_partner(connection, partner.name)
    numbered = enumerate(reading.acknowledgements, start=1)
    applied = tuple(_apply(connection, partner, (file_id, sha256), place, one) for place, one in numbered)
    return StoredFile(applied, reading.others, error, is_whole=error is None)


def _is_written(connection: Connection, partner: Partner, name: str, sha256: str) -> bool:
    """True if the file has been as it is for so long that nobody writes it any more."""
    file = partner_file.c
    since = file.at <= func.clock_timestamp() - STILL_WRITTEN
    return _is_there(connection, file.partner == partner.name, file.name == name, file.sha256 == sha256, since)


def _read(partner: Partner, content: bytes) -> tuple[Reading, str | None]:
    try:
        return read_acknowledgements(content, partner), None
    except UnreadableAcknowledgement as error:
        return Reading((), ()), str(error)


def _apply(
    connection: Connection, partner: Partner, file: tuple[int, str], place: int, one: Acknowledgement
) -> Applied:
    row = locks.lock_interchange_by_number(connection, partner.name, one.control_number)
    settled = None
    is_anothers = one.test and not partner.test
    if row is None or row.state == InterchangeState.RELEASED or is_anothers:
        # Of one that was released a partner can say nothing, or it was released wrongly: a person has to look. A test
        # speaks of the interchange of that number which was marked as one.
        state, row = AcknowledgementState.UNMATCHED, None
    elif _was_said(connection, row, one, file):
        # Not applied again: it may be older than what an operator has done since.
        state = AcknowledgementState.REPEATED
    else:
        state, settled = AcknowledgementState.MATCHED, _settle(connection, row, one)
    connection.execute(
        insert(acknowledgement).values(
            partner_file_id=file[0],
            place=place,
            kind=one.kind,
            reference=one.reference,
            control_number=one.control_number,
            verdict=one.verdict,
            reasons=list(one.reasons),
            state=state,
            interchange_id=row.id if row else None,
        )
    )
    return Applied(one, state, settled)


def _settle(connection: Connection, row: AnyRow, one: Acknowledgement) -> InterchangeState | None:
    """Brings the interchange where the acknowledgement says it is; returns its new state, None if it stays."""
    state = InterchangeState(row.state)
    if state is InterchangeState.CLAIMED:
        # Whatever they say of it, they have it: its sender died, or does not know.
        outcomes.confirm(connection, in_flight(row, row.content))
        state = InterchangeState.SENT
    following = _following(connection, row, state, Verdict(one.verdict))
    if following is not state:
        answered = update(interchange).where(interchange.c.id == row.id)
        connection.execute(
            answered.values(state=following, answered_at=func.clock_timestamp(), answer_reasons=list(one.reasons))
        )
    return None if following == row.state else following


def _following(connection: Connection, row: AnyRow, state: InterchangeState, verdict: Verdict) -> InterchangeState:
    """A rejection may follow an acknowledgement (a TA1 that accepts, a 997 that does not); nothing undoes a rejection.

    A duplicate is an interchange that they had before: what they said of it then holds. Of one that was sent only once
    it means that they have another under this number, and not this one.
    """
    if verdict is Verdict.REJECTED:
        return InterchangeState.REJECTED
    if state is not InterchangeState.SENT:
        return state
    if verdict is Verdict.DUPLICATE and (row.fence - row.clean_fence <= 1 or _was_rejected(connection, row)):
        return InterchangeState.REJECTED
    return InterchangeState.ACKNOWLEDGED


def _was_rejected(connection: Connection, row: AnyRow) -> bool:
    said = acknowledgement.c
    return _is_there(connection, said.interchange_id == row.id, said.verdict == Verdict.REJECTED)


def _was_said(connection: Connection, row: AnyRow, one: Acknowledgement, file: tuple[int, str]) -> bool:
    said, stored = acknowledgement.c, partner_file.c
    if row.state == InterchangeState.SENT:
        # What was said before it was sent again is about an earlier copy; about this one all but the same file is news.
        file_id, sha256 = file
        same_file = said.partner_file_id == stored.id, stored.id != file_id, stored.sha256 == sha256
        return _is_there(connection, said.interchange_id == row.id, *same_file)
    # With the verdict: a CONTRL that rejects may follow one that says `received` in the same interchange of theirs, and
    # some partners give all their answers one reference.
    same = said.kind == one.kind, said.reference == one.reference, said.verdict == one.verdict
    return _is_there(connection, said.interchange_id == row.id, *same)


def _is_there(connection: Connection, *conditions: object) -> bool:
    # Not `*`: of what partners sent, an exporter may not read all.
    found = select(literal(1)).where(*conditions)  # type: ignore[arg-type]
    return bool(connection.execute(select(found.exists())).scalar_one())


def note_late(connection: Connection, partner: Partner) -> list[int]:
    """Returns the control numbers of interchanges whose acknowledgement is late, each of them once."""
    # Before several interchanges, as applying an answer does: else the two could deadlock.
    locks.lock_partner(connection, partner.name)
    late = (
        update(interchange)
        .where(
            interchange.c.partner == partner.name,
            interchange.c.state == InterchangeState.SENT,
            interchange.c.late_told_at.is_(None),
            interchange.c.sent_at + interchange.c.acknowledge_within < func.clock_timestamp(),
        )
        .values(late_told_at=func.clock_timestamp())
        .returning(interchange.c.control_number)
    )
    return sorted(connection.scalars(late))
