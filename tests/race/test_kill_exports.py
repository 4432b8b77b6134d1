"""An export's other ways killed at each point: an unclear failure, a schedule, and what an operator does to it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest

import tasks.export
from configuration.settings import settings
from database.transactions import in_transaction
from edi import interchanges, operator_actions, outcomes
from edi.operator_actions import NotPossible
from edi.transports.directory import DirectoryTransport
from edi.transports.transport import TransportError
from tasks.partners import partners
from tests.builders import rows
from tests.race.cancellations import Record, assert_that_every_promise_is_kept, kill_everywhere
from tests.race.commit_sites import kills_around
from tests.race.crash_points import has_passed
from tests.race.exports import SENT, Export, export_unheard, exporting
from workers.app import app

pytestmark = pytest.mark.usefixtures("system")


# These run in the processes that are killed.


def resending() -> None:
    app.finalize()
    with suppress(TransportError):
        tasks.export.resend(partners()[0], _last())


def releasing() -> None:
    app.finalize()
    # The run before may have done it.
    with suppress(NotPossible):
        tasks.export.release(partners()[0], _last(), asked_the_partner=True)


def delivering_late() -> None:
    """Exports; while it delivers its first file an operator, who has asked the partner, gives the orders free."""
    app.finalize()
    deliver = DirectoryTransport.put

    def late(self: DirectoryTransport, filename: str, content: bytes) -> None:
        if not (settings().home / "released").exists():
            rows("UPDATE interchange SET lease_until = now() WHERE state = 'claimed' RETURNING id")
            number = _last()
            in_transaction(lambda c: operator_actions.release(c, partners()[0], number, asked_the_partner=True))
            (settings().home / "released").touch()
        deliver(self, filename, content)

    with patch.object(DirectoryTransport, "put", late):
        tasks.export.export()


def _last() -> int:
    [(number,)] = rows("SELECT max(control_number) FROM interchange")
    return int(number)


# These run here.


class ExportOnSchedule(Export):
    """A cut-off has passed; it is kept once all that was due at it is on its way, and not before."""

    def prepare(self) -> None:
        super().prepare()
        self._began = datetime.now(UTC)
        rows("INSERT INTO partner (name) VALUES ('ACME') ON CONFLICT DO NOTHING RETURNING name")
        rows("UPDATE partner SET scheduled_until = now() - interval '1 year' RETURNING name")

    def look(self, passed: Sequence[str]) -> None:
        super().look(passed)
        assert self.is_kept() == has_passed(KEPT, passed)

    def check(self) -> None:
        assert self.is_kept()
        super().check()

    def is_kept(self) -> bool:
        [(until,)] = rows("SELECT scheduled_until FROM partner")
        return bool(until >= self._began)


KEPT = "keep a cut-off: commit"


class ExportInTheWay(Export):
    """Something else stands under the name: whether it was delivered is unclear, and nobody decides that but people."""

    def prepare(self) -> None:
        super().prepare()
        self._outbox.mkdir()
        self._file = self._outbox / f"ACME-{self._row:09}.edi"
        self._file.write_text("something else")

    def look(self, passed: Sequence[str]) -> None:
        stored = self.interchanges()
        assert [row.state for row in stored] == ["claimed"] * has_passed("claim: commit", passed)
        is_noted = has_passed("note a failed delivery: commit", passed)
        assert [row.error is not None for row in stored] == [is_noted] * len(stored)
        assert self._file.read_text() == "something else"

    def check(self) -> None:
        [row] = self.interchanges()
        assert (row.state, row.filename, row.error is not None) == ("claimed", self._file.name, True)
        self._file.unlink()
        self.recover()
        export_unheard()
        super().check()


class Resending(Export):
    """The partner has mislaid the file of an interchange that is sent."""

    def prepare(self) -> None:
        super().prepare()
        export_unheard()
        [row] = self.interchanges()
        self._content = row.content
        (self._outbox / row.filename).unlink()

    def look(self, passed: Sequence[str]) -> None:
        super().look(passed)
        assert self.order()["edi"] == "sent"
        assert len(self.sendings()) == 1 + has_passed("note a resend: commit", passed)

    def check(self) -> None:
        [row] = self.interchanges()
        assert (row.state, self.files()) == ("sent", {row.filename: self._content})
        # Once for each time that it was noted, and the last run has noted it.
        assert self.sendings()[1:] in (["operator"], ["operator"] * 2)
        assert_that_every_promise_is_kept()

    def sendings(self) -> list[str]:
        return [entry["actor"] for entry in self.order()["changelog"] if entry["action"] == "edi_sent"]


class Unsettled(Export):
    """An attempt has failed, unclearly; its interchange is open."""

    def prepare(self) -> None:
        super().prepare()
        claimed = in_transaction(lambda c: interchanges.claim(c, partners()[0], patience=timedelta(0))).interchange
        assert claimed is not None
        in_transaction(lambda c: outcomes.note_error(c, claimed, "the line was cut"))
        self._content = claimed.content


class ResendingInVain(Unsettled):
    """The operator's attempt fails as well, and stays open for the exporter."""

    def prepare(self) -> None:
        super().prepare()
        self._outbox.write_text("in the way")

    def clear(self) -> None:
        self._outbox.unlink() if self._outbox.is_file() else super().clear()

    def look(self, passed: Sequence[str]) -> None:
        [row] = self.interchanges()
        is_taken = has_passed("take to resend: commit", passed)
        is_noted = has_passed("note a failed resend: commit", passed)
        assert (row.state, row.fence) == ("claimed", 1 + is_taken)
        assert (row.error is None) == (is_taken and not is_noted)

    def check(self) -> None:
        self.clear()
        self.recover()
        export_unheard()
        super().check()


class Releasing(Unsettled):
    """The partner has said that it has not got it: the order is free, and goes with the next interchange."""

    def look(self, passed: Sequence[str]) -> None:
        is_released = has_passed("release for an operator: commit", passed)
        [row] = self.interchanges()
        assert (row.state, self.order()["edi"]) == (("released", "not_sent") if is_released else ("claimed", "claimed"))
        assert self.files() == {}

    def check(self) -> None:
        assert [row.state for row in self.interchanges()] == ["released"]
        export_unheard()
        [_, sent] = self.interchanges()
        assert (sent.state, self.files()) == ("sent", {sent.filename: sent.content})
        assert [entry["action"] for entry in self.order()["changelog"]] == ["loaded", *RELEASED, *SENT]
        assert_that_every_promise_is_kept()


RELEASED = ["edi_claimed", "edi_released"]


class DeliveringLate(Export):
    """What was released and delivered all the same is noted; the order goes out again, under another number."""

    def __init__(self, outbox: Path, home: Path) -> None:
        super().__init__(outbox)
        self._released = home / "released"
        home.mkdir(exist_ok=True)

    def prepare(self) -> None:
        super().prepare()
        self._released.unlink(missing_ok=True)

    def look(self, passed: Sequence[str]) -> None:
        first = self.interchanges()[:1]
        is_noted = has_passed(NOTED, passed)
        assert [row.delivered_late_at is not None for row in first] == [is_noted] * len(first)

    def check(self) -> None:
        first, sent = self.interchanges()
        assert (first.state, sent.state) == ("released", "sent")
        assert self.files()[sent.filename] == sent.content
        # Of one that died before it could note it nobody knows whether it had delivered.
        assert self.files().get(first.filename, first.content) == first.content
        assert [entry["action"] for entry in self.order()["changelog"]] == ["loaded", *RELEASED, *SENT]
        assert_that_every_promise_is_kept()


NOTED = "note a late delivery: commit"


class ExportAfterAFailure(Export):
    """The way to a partner that failed before is tried first, by one exporter, and costs no number."""

    def prepare(self) -> None:
        super().prepare()
        rows("INSERT INTO partner (name) VALUES ('ACME') ON CONFLICT DO NOTHING RETURNING name")
        rows("UPDATE partner SET failures = 1, not_before = now(), error = 'it failed' RETURNING name")

    def recover(self) -> None:
        """The lease and the rest run out."""
        super().recover()
        rows("UPDATE partner SET not_before = now() WHERE failures > 0 RETURNING name")

    def check(self) -> None:
        assert self.failures() == 0
        super().check()

    def failures(self) -> int:
        [(failures,)] = rows("SELECT failures FROM partner")
        return int(failures)


class ExportInVain(ExportAfterAFailure):
    """Nothing reaches the partner yet: nothing is claimed, and the failure counted."""

    def clear(self) -> None:
        self._outbox.unlink() if self._outbox.is_file() else super().clear()

    def prepare(self) -> None:
        super().prepare()
        self._outbox.write_text("in the way")

    def look(self, passed: Sequence[str]) -> None:
        assert (self.interchanges(), self.failures()) == ([], 1 + has_passed(UNREACHABLE, passed))

    def check(self) -> None:
        # One that died between counting and its end is followed by another that counts.
        assert (self.interchanges(), self.failures() in (2, 3)) == ([], True)
        self.clear()
        self.recover()
        export_unheard()
        super().check()


class NothingToExport(ExportAfterAFailure):
    """Nothing is due by which the partner could show that it can be reached again."""

    def prepare(self) -> None:
        super().prepare()
        rows("UPDATE orders SET hold_until = now() + interval '1 year' WHERE edi_state = 'not_sent' RETURNING id")

    def look(self, passed: Sequence[str]) -> None:
        assert (self.interchanges(), self.failures()) == ([], 0 if has_passed(ENDED, passed) else 1)

    def check(self) -> None:
        assert (self.interchanges(), self.failures()) == ([], 0)


CHECKED = "begin to probe the partner: commit"
REACHABLE = "note that the partner is reachable: commit"
UNREACHABLE = "note that the partner is unreachable: commit"
ENDED = "forget failures: commit"


@pytest.fixture
def outbox(configure: Callable[[str], None], tmp_path: Path) -> Path:
    configure(f'directory.outbox = "{tmp_path / "outbox"}"')
    return tmp_path / "outbox"


@kills_around("look up a cut-off: commit", KEPT)
def test_an_export_on_a_schedule_killed_anywhere_keeps_a_cutoff_once_all_that_was_due_is_sent(
    configure: Callable[[str], None], tmp_path: Path, record_property: Record
) -> None:
    configure(f'schedule = ["1 1 * * *"]\ndirectory.outbox = "{tmp_path / "outbox"}"')
    kill_everywhere(exporting, ExportOnSchedule(tmp_path / "outbox"), record_property)


@kills_around("note a failed delivery: commit")
def test_an_export_that_meets_another_file_killed_anywhere_stays_open_and_is_sent_once_that_is_gone(
    outbox: Path, record_property: Record
) -> None:
    kill_everywhere(exporting, ExportInTheWay(outbox), record_property)


@kills_around("take to resend: commit", "note a resend: commit")
def test_an_operator_killed_anywhere_sends_the_same_bytes_again(outbox: Path, record_property: Record) -> None:
    kill_everywhere(resending, Resending(outbox), record_property)


@kills_around("take to resend: commit", "note a failed resend: commit")
def test_an_operator_killed_anywhere_while_sending_in_vain_leaves_an_interchange_that_is_sent_in_the_end(
    outbox: Path, record_property: Record
) -> None:
    kill_everywhere(resending, ResendingInVain(outbox), record_property)


@kills_around("look up before releasing: commit", "release for an operator: commit")
def test_an_operator_killed_anywhere_frees_an_order_once(outbox: Path, record_property: Record) -> None:
    kill_everywhere(releasing, Releasing(outbox), record_property)


@kills_around(NOTED, "look up an overtaken interchange: commit")
def test_an_exporter_killed_anywhere_after_its_interchange_was_released_sends_the_order_with_another(
    outbox: Path, home: Path, record_property: Record
) -> None:
    kill_everywhere(delivering_late, DeliveringLate(outbox, home), record_property)


@kills_around(CHECKED, REACHABLE)
def test_an_exporter_killed_anywhere_after_a_failure_tries_the_way_and_sends_once(
    outbox: Path, record_property: Record
) -> None:
    kill_everywhere(exporting, ExportAfterAFailure(outbox), record_property)


@kills_around(CHECKED, UNREACHABLE)
def test_an_exporter_killed_anywhere_while_nothing_reaches_the_partner_uses_no_number_up(
    outbox: Path, record_property: Record
) -> None:
    kill_everywhere(exporting, ExportInVain(outbox), record_property)


@kills_around(ENDED)
def test_an_exporter_killed_anywhere_with_nothing_to_send_forgets_the_failures(
    outbox: Path, record_property: Record
) -> None:
    kill_everywhere(exporting, NothingToExport(outbox), record_property)
