"""The export killed at each of its points: the partner ends with one interchange of the number, of the bytes stored."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from threading import Event

import psutil
import pytest

import tasks.receipts
from database.transactions import in_transaction
from edi import interchanges
from tasks.partners import partners
from tests.builders import rows
from tests.integration.sftp_server import PASSWORD, USER, Warehouse
from tests.race.cancellations import Record, assert_that_every_promise_is_kept, report
from tests.race.commit_sites import kills_around
from tests.race.crash_points import has_passed, steps_in
from tests.race.crashes import crash_table
from tests.race.exports import SENT, Export, ExportThatFails, exporting
from tests.race.kills import PATIENCE_SECONDS
from workers.app import app

pytestmark = pytest.mark.usefixtures("system")


# This runs in the processes that are killed.


def reading() -> None:
    app.finalize()
    tasks.receipts.read_inboxes()


# These run here.

ANSWER = (
    "UNB+UNOA:3+4012345000009:14+STORE:14+261123:0945+{0}'UNH+1+CONTRL:D:3:UN'"
    "UCI+{0}+STORE:14+4012345000009:14+7'UNT+3+1'UNZ+1+{0}'"
)


class Acknowledged(Export):
    """The partner's answer waits in its inbox; the sender died before it could know that its file has arrived."""

    def __init__(self, outbox: Path, inbox: Path) -> None:
        super().__init__(outbox)
        self._inbox = inbox
        inbox.mkdir()

    def prepare(self) -> None:
        super().prepare()
        shutil.rmtree(self._inbox / "done", ignore_errors=True)
        [partner] = partners()
        claimed = in_transaction(lambda c: interchanges.claim(c, partner, patience=timedelta(0))).interchange
        assert claimed is not None
        partner.transport.put(claimed.filename, claimed.content)
        self._content = claimed.content
        self._answer = ANSWER.format(self._row).encode()
        (self._inbox / f"{self._row}.edi").write_bytes(self._answer)

    def look(self, passed: Sequence[str]) -> None:
        super().look(passed)
        is_read = has_passed("store and apply a file: commit", passed)
        assert [row.state for row in self.interchanges()] == ["acknowledged" if is_read else "claimed"]

    def recover(self) -> None:
        """The turn of a reader that died ends."""
        super().recover()
        rows("UPDATE partner SET inbox_lease_until = now() RETURNING name")

    def check(self) -> None:
        [row] = self.interchanges()
        assert (row.state, self.files()) == ("acknowledged", {row.filename: self._content})
        assert [entry["action"] for entry in self.order()["changelog"]] == ["loaded", *SENT]
        answers = rows("SELECT state FROM acknowledgement WHERE interchange_id = :id", id=row.id)
        kept = rows("SELECT content FROM partner_file WHERE name = :name", name=f"{self._row}.edi")
        assert (answers, kept) == ([("matched",)], [(self._answer,)])
        assert [*self._inbox.iterdir()] == [self._inbox / "done"]
        # A crash in the middle of the move may leave it there under two names.
        assert {file.read_bytes() for file in (self._inbox / "done").iterdir()} == {self._answer}
        assert_that_every_promise_is_kept()


class ExportBySftp(Export):
    """The folder is a server's, which may go on with a request for a moment after whoever sent it was killed."""

    def __init__(self, warehouse: Warehouse) -> None:
        super().__init__(warehouse.drop)
        self._port = warehouse.port

    def clear(self) -> None:
        for file in self._outbox.iterdir():
            file.unlink()

    def look(self, passed: Sequence[str]) -> None:
        for _ in range(int(PATIENCE_SECONDS / 0.005)):
            if not self._is_connected():
                return super().look(passed)
            Event().wait(0.005)
        raise AssertionError("the server has not noticed that the process is gone")

    def _is_connected(self) -> bool:
        lines = psutil.Process().net_connections("tcp")
        return any(line.laddr.port == self._port and line.status != psutil.CONN_LISTEN for line in lines)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """A real SFTP server."""
    with Warehouse(tmp_path / "warehouse").running() as running:
        yield running


@kills_around("claim: commit", "confirm: commit")
def test_an_export_to_a_directory_killed_anywhere_once_or_twice_ends_as_if_it_had_not_been(
    configure: Callable[[str], None], tmp_path: Path, record_property: Record
) -> None:
    configure(f'directory.outbox = "{tmp_path / "outbox"}"')
    table = crash_table(exporting, Export(tmp_path / "outbox"), crashes=2)
    report(table, record_property)
    assert steps_in(table) >= {
        "claim: commit",
        "directory._write: open",
        "directory._write: BufferedWriter.flush",
        "directory._write: fsync",
        "directory._link: link",
        "directory._place: unlink",
        "directory._sync: fsync",
        "directory._remove_leftovers: unlink",
        "confirm: commit",
        "export._send: waking countermand.apply_changes",
    }


@kills_around("release what was not delivered: commit")
@pytest.mark.parametrize("reuse", ["false", "true"], ids=["a new number", "the same number"])
def test_an_export_that_fails_killed_anywhere_is_released_or_sent_in_the_end(
    configure: Callable[[str], None], tmp_path: Path, record_property: Record, reuse: str
) -> None:
    configure(f'reuse_released_numbers = {reuse}\ndirectory.outbox = "{tmp_path / "outbox"}"')
    table = crash_table(exporting, ExportThatFails(tmp_path / "outbox"))
    report(table, record_property)
    assert steps_in(table) >= {
        "release what was not delivered: commit",
        "export._not_sent: waking countermand.apply_changes",
    }


@kills_around(
    "note late acknowledgements: commit",
    "begin a round: commit",
    "take a turn: commit",
    "store and apply a file: commit",
    "end a turn: commit",
)
def test_a_reader_killed_anywhere_applies_what_the_partner_answers_once(
    configure: Callable[[str], None], tmp_path: Path, record_property: Record
) -> None:
    configure(f'directory = {{outbox = "{tmp_path / "outbox"}", inbox = "{tmp_path / "inbox"}"}}')
    table = crash_table(reading, Acknowledged(tmp_path / "outbox", tmp_path / "inbox"))
    report(table, record_property)
    assert steps_in(table) >= {"store and apply a file: commit", "directory.DirectoryTransport.archive: link"}


def test_an_export_by_sftp_killed_anywhere_once_or_twice_ends_as_if_it_had_not_been(
    configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, warehouse: Warehouse, record_property: Record
) -> None:
    monkeypatch.setenv("SFTP_PASSWORD", PASSWORD)
    configure(f"""
        sftp.host = "127.0.0.1"
        sftp.port = {warehouse.port}
        sftp.user = "{USER}"
        sftp.password = "SFTP_PASSWORD"
        sftp.host_key = "{warehouse.host_key.strip()}"
        sftp.outbox = "drop"
    """)
    table = crash_table(exporting, ExportBySftp(warehouse), crashes=2)
    report(table, record_property)
    requests = ("STAT", "OPEN", "WRITE", "EXTENDED", "CLOSE", "RENAME", "OPENDIR", "READDIR", "REMOVE", "READ")
    reported = {step.partition(": ")[2] for step in steps_in(table)}
    assert reported >= {f"{way} {one}" for one in requests for way in ("sending", "the answer to")}
    assert steps_in(table) >= {"claim: commit", "confirm: commit"}
