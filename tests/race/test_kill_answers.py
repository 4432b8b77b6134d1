"""The answerer killed at each of its points, between its calls too: the answer stands on the ticket once."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from database.transactions import in_transaction
from orders.notes import Cause, NoteRow, write_notes
from tasks.answers import answer_one
from tests.builders import rows
from tests.helpdesks.asking import (
    answers_to,
    ask,
    assert_answered_once,
    broken_promises,
    let_time_pass,
    standing,
    try_again,
)
from tests.helpdesks.desks_file import DesksFile, desks_file
from tests.helpdesks.fake import TICKET
from tests.helpdesks.faults import after_storing, hangs_up
from tests.helpdesks.zendesk import FakeZendesk
from tests.race.cancellations import Record, kill_everywhere
from tests.race.commit_sites import kills_around
from tests.race.crash_points import has_passed
from workers.app import app
from workers.embedded import Services

pytestmark = pytest.mark.usefixtures("system")


_numbers = count(1)

# This runs in the processes that are killed.


def answering() -> None:
    app.finalize()
    answer_one()


# These run here.

LEASED = "lease an answer: commit"
CONFIRMED = "confirm an answer: commit"
FAILED = "note that an answer failed: commit"


class Answering:
    """A decision that is to be told on the ticket of a desk that counts comments."""

    def __init__(self, desk: FakeZendesk) -> None:
        self._desk = desk
        self._event: dict[str, Any] = {}

    def prepare(self) -> None:
        self._event = ask(self._desk)

    def look(self, passed: Sequence[str]) -> None:
        found = standing(self._event)
        is_done = has_passed(CONFIRMED, passed)
        is_leased = has_passed(LEASED, passed)
        assert (found.state, found.delivery_state) == (
            ("done", "sent") if is_done else ("pending", "sending" if is_leased else "pending")
        )
        assert len(answers_to(self._desk, self._event)) == any(": the desk's PUT → " in point for point in passed)

    def recover(self) -> None:
        """The lease runs out."""
        let_time_pass()

    def check(self) -> None:
        assert_answered_once(self._desk, self._event)


class AnsweringUnheard(Answering):
    """The desk has the comment, and its answer is lost: the try has failed, and may have succeeded."""

    def prepare(self) -> None:
        super().prepare()
        self._desk.next("write", after_storing(hangs_up))

    def look(self, passed: Sequence[str]) -> None:
        assert len(answers_to(self._desk, self._event)) == any(": the desk's PUT → " in point for point in passed)
        assert (standing(self._event).error is not None) == has_passed(FAILED, passed)

    def check(self) -> None:
        while try_again():
            pass
        super().check()


class Noting:
    """A note for colleagues that is to be written on a ticket."""

    def __init__(self, desk: FakeZendesk) -> None:
        self._desk = desk

    def prepare(self) -> None:
        self._key = f"unknown-{next(_numbers)}"
        words = "For a colleague", f"Nobody knows order {self._key}."
        row = NoteRow(self._desk.source, TICKET, Cause.UNKNOWN_ORDER, self._key, self._desk.source, *words)
        assert in_transaction(lambda connection: write_notes(connection, [row])) == 1

    def look(self, passed: Sequence[str]) -> None:
        expected = "pending"
        if has_passed(LEASED, passed):
            expected = "sending"
        if has_passed(CONFIRMED, passed):
            expected = "sent"
        assert self._state() == expected
        assert self._standing() == any(": the desk's PUT → " in point for point in passed)

    def recover(self) -> None:
        """The lease runs out."""
        let_time_pass()

    def check(self) -> None:
        assert (self._state(), self._standing()) == ("sent", 1)
        assert not try_again()
        assert broken_promises() == {}

    def _state(self) -> str:
        [row] = rows("SELECT state FROM ticket_note WHERE key = :key", key=self._key)
        return str(row.state)

    def _standing(self) -> int:
        mark = f"[countermand:{self._desk.source}/note:unknown_order:{self._key}]"
        return sum(mark == comment.mark for comment in self._desk.comments(TICKET))


@pytest.fixture
def file(system: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DesksFile]:
    with desks_file(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def desk(file: DesksFile) -> FakeZendesk:
    fake = FakeZendesk()
    file.write(fake)
    return fake


@kills_around(LEASED, CONFIRMED)
def test_an_answerer_killed_anywhere_tells_a_decision_once(desk: FakeZendesk, record_property: Record) -> None:
    kill_everywhere(answering, Answering(desk), record_property)


@kills_around(LEASED, CONFIRMED)
def test_an_answerer_killed_anywhere_writes_a_note_once(desk: FakeZendesk, record_property: Record) -> None:
    kill_everywhere(answering, Noting(desk), record_property)


@kills_around(LEASED, FAILED)
def test_an_answerer_killed_anywhere_after_an_answer_was_lost_tells_a_decision_once(
    desk: FakeZendesk, record_property: Record
) -> None:
    kill_everywhere(answering, AnsweringUnheard(desk), record_property)
