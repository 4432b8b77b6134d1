"""What a partner leaves for us by SFTP, and trying a server without a delivery."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
from structlog.testing import capture_logs

from edi.transports import sftp
from edi.transports.sftp import SftpTransport
from edi.transports.transport import MOST_BYTES, NotDelivered, NotReady, NotReceived, NotTried
from tests.integration.sftp_server import CONTENT, NAME, Cut, Moment, Warehouse

# What a delivery does to files, in this sequence; the rest is looking.
DELIVERY = ["open hidden", "write", "fsync", "rename"]
LEFT_BY_A_CUT = ".countermand-check.0badc0de.part"
DENIED = asyncssh.SFTPPermissionDenied("denied")


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse(tmp_path / "warehouse").running() as running:
        yield running


@pytest.fixture
def transport(warehouse: Warehouse) -> SftpTransport:
    return SftpTransport(warehouse.config)


def test_files_that_wait_are_listed_in_order(warehouse: Warehouse, transport: SftpTransport) -> None:
    assert transport.list_inbox() == []
    for name in ("b.edi", "a 1.edi", "Ärger.edi"):
        (warehouse.inbox / name).write_bytes(b"UNB")
    assert transport.list_inbox() == ["a 1.edi", "b.edi", "Ärger.edi"]


def test_what_is_no_finished_file_with_a_safe_name_is_not_listed(
    warehouse: Warehouse, transport: SftpTransport
) -> None:
    unsafe = [".hidden", "a\nb.edi", "a\x1b[31m.edi", "a\\b.edi", "latin-1 \udce4.edi", "a\u2028b"]
    for name in (*unsafe, "coming.PART", "coming.tmp", "coming.edi.filepart"):
        (warehouse.inbox / name).write_bytes(b"UNB")
    (warehouse.inbox / "done").mkdir()
    (warehouse.inbox / "folder").mkdir()
    (warehouse.inbox / "link").symlink_to("/etc/passwd")
    with capture_logs() as logs:
        assert transport.list_inbox() == []
    assert sorted(log["file"] for log in logs) == sorted(ascii(name) for name in unsafe if name != ".hidden")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../drop/x", "/etc/passwd", "done", "done/x", ".hidden", "a\nb", "a\\b", "x.part"]
)
def test_such_a_name_is_neither_read_nor_archived(warehouse: Warehouse, transport: SftpTransport, name: str) -> None:
    for method in (transport.read, transport.archive):
        with pytest.raises(ValueError, match="cannot be a file of the inbox"):
            method(name)
    assert warehouse.journal == []


def test_a_partner_without_an_inbox_has_nothing_for_us(warehouse: Warehouse) -> None:
    transport = SftpTransport(replace(warehouse.config, inbox=None))
    assert transport.list_inbox() == []
    with pytest.raises(ValueError, match="the inbox None"):
        transport.read("a.edi")
    transport.check()


def test_a_file_is_read_whole_up_to_the_limit(
    warehouse: Warehouse, transport: SftpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(256)) * 1000
    monkeypatch.setattr(sftp, "MOST_BYTES", len(content))
    for some in (b"", content):
        (warehouse.inbox / "a.edi").write_bytes(some)
        assert transport.read("a.edi") == some


def test_a_file_beyond_the_limit_is_left_where_it_is(warehouse: Warehouse, transport: SftpTransport) -> None:
    with open(warehouse.inbox / "huge.edi", "wb") as huge:
        huge.truncate(1 << 40)
    with pytest.raises(NotReceived, match=f"out/huge.edi is longer than {MOST_BYTES} bytes"):
        transport.read("huge.edi")
    assert warehouse.files("out") == ["huge.edi"]


def test_archiving_never_overwrites(warehouse: Warehouse, transport: SftpTransport) -> None:
    for content in (b"1", b"2", b"3"):
        (warehouse.inbox / "a.edi").write_bytes(content)
        transport.archive("a.edi")
    assert warehouse.files("out") == ["done"]
    archived = [(path.name, path.read_bytes()) for path in sorted((warehouse.inbox / "done").iterdir())]
    assert archived == [("a.edi", b"1"), ("a.edi.2", b"2"), ("a.edi.3", b"3")]


def test_what_is_gone_is_neither_read_nor_archived(warehouse: Warehouse, transport: SftpTransport) -> None:
    for method in (transport.read, transport.archive):
        with pytest.raises(NotReceived, match="'No such file or directory'"):
            method("a.edi")


@pytest.mark.parametrize("moment", Moment)
def test_a_cut_while_archiving_loses_nothing(warehouse: Warehouse, transport: SftpTransport, moment: Moment) -> None:
    (warehouse.inbox / "a.edi").write_bytes(b"UNB")
    warehouse.cut = Cut("rename", moment=moment)
    if moment is Moment.ANSWERED:
        transport.archive("a.edi")
    else:
        with pytest.raises(NotReceived, match="the connection ended"):
            transport.archive("a.edi")
    warehouse.cut = None
    for name in transport.list_inbox():
        transport.archive(name)
    assert warehouse.files("out/done") == ["a.edi"]


@pytest.mark.parametrize("step", ["list", "open visible", "read", "close"])
def test_a_cut_while_reading_is_reported(warehouse: Warehouse, transport: SftpTransport, step: str) -> None:
    (warehouse.inbox / "a.edi").write_bytes(b"UNB")
    warehouse.cut = Cut(step)
    with pytest.raises(NotReceived, match="the connection ended"):
        transport.list_inbox() if step == "list" else transport.read("a.edi")


def test_a_check_does_what_a_delivery_does_and_removes_it(warehouse: Warehouse, transport: SftpTransport) -> None:
    for left in (LEFT_BY_A_CUT, "countermand-check-0badc0de.part"):
        (warehouse.drop / left).write_bytes(b"")
    SftpTransport(replace(warehouse.config, inbox=None)).check()
    assert warehouse.files() == []
    checked = [step for step in warehouse.journal if step in DELIVERY]
    warehouse.journal.clear()
    transport.put(NAME, CONTENT)
    delivered = [step for step in warehouse.journal if step in DELIVERY]
    assert list(dict.fromkeys(checked)) == list(dict.fromkeys(delivered)) == DELIVERY


def test_a_check_finds_that_names_with_a_dot_are_forbidden(warehouse: Warehouse, transport: SftpTransport) -> None:
    warehouse.forbids_hidden = True
    with pytest.raises(NotReady, match="the server has to allow names that begin with a dot"):
        transport.check()
    with pytest.raises(NotDelivered):
        transport.put(NAME, CONTENT)
    assert warehouse.files() == warehouse.files("out") == []


def test_a_check_says_what_it_could_not_remove(warehouse: Warehouse, transport: SftpTransport) -> None:
    warehouse.then["rename"] = lambda: warehouse.refusals.update(remove=DENIED)
    with pytest.raises(NotTried, match="can be delivered, but not removed again"):
        transport.check_outbox()


def test_a_probe_that_the_partner_collects_is_no_problem(warehouse: Warehouse, transport: SftpTransport) -> None:
    warehouse.then["rename"] = lambda: list(map(Path.unlink, warehouse.drop.iterdir()))
    transport.check()


@pytest.mark.parametrize("step", ["open hidden", "rename", "list"])
def test_a_check_finds_what_is_not_permitted_and_leaves_nothing(
    warehouse: Warehouse, transport: SftpTransport, step: str
) -> None:
    warehouse.refusals[step] = DENIED
    with pytest.raises(NotReady, match="the server says 'denied'"):
        transport.check()
    assert warehouse.files() == []


def test_a_check_makes_nothing_that_it_could_not_remove(warehouse: Warehouse, transport: SftpTransport) -> None:
    warehouse.refusals["remove"] = DENIED
    with pytest.raises(NotTried, match=r"delivered to drop was not tried: .* \(the server says 'denied'"):
        transport.check()
    assert "open hidden" not in warehouse.journal
    assert "list" in warehouse.journal  # the inbox is checked all the same


@pytest.mark.parametrize(("folder", "found"), [("missing", "nothing"), ("file", "no folder")])
def test_a_check_finds_a_missing_folder(warehouse: Warehouse, folder: str, found: str) -> None:
    (warehouse.root / "file").write_bytes(b"")
    with pytest.raises(NotReady, match=f"{folder}: found {found}, expected a folder"):
        SftpTransport(replace(warehouse.config, folder=folder)).check()
    with pytest.raises(NotReady, match=f"{folder}: found {found}, expected a folder"):
        SftpTransport(replace(warehouse.config, inbox=folder)).check()


@pytest.mark.parametrize("is_made", [False, True])
def test_a_check_leaves_the_inbox_as_it_was(warehouse: Warehouse, transport: SftpTransport, is_made: bool) -> None:
    (warehouse.inbox / LEFT_BY_A_CUT).mkdir()
    if is_made:
        (warehouse.inbox / "done").mkdir()
    transport.check()
    assert warehouse.files("out") == ([LEFT_BY_A_CUT, "done"] if is_made else [])


def test_a_check_finds_a_file_where_answers_are_archived(warehouse: Warehouse, transport: SftpTransport) -> None:
    (warehouse.inbox / "done").write_bytes(b"")
    with pytest.raises(NotReady, match="out/done: found no folder, expected a folder"):
        transport.check()


def test_a_check_finds_that_the_archive_cannot_be_made(warehouse: Warehouse, transport: SftpTransport) -> None:
    warehouse.refusals["mkdir"] = DENIED
    with pytest.raises(NotReady, match="out: `done` is not there and cannot be made: the server says 'denied'"):
        transport.check()
    assert warehouse.files("out") == []


def test_a_check_makes_no_folder_that_it_could_not_remove(warehouse: Warehouse, transport: SftpTransport) -> None:
    warehouse.refusals["rmdir"] = DENIED
    with pytest.raises(NotTried, match="whether `done` can be made in out was not tried"):
        transport.check()
    assert "mkdir" not in warehouse.journal
