"""Delivery by SFTP to a real server: whole or not at all, never over another file, and failures say what is known."""

from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import asyncssh
import pytest
from asyncssh.sftp import SFTPServerHandler

from edi.transports.sftp import SftpTransport
from edi.transports.transport import DeliveryConflict, DeliveryUnknown, NotDelivered, TransportError
from tests.integration.sftp_server import CONTENT, NAME, Cut, Moment, Warehouse
from tests.logs import logging_as_in_production

LEFTOVER = f".{NAME}.0badc0de.part"
THEIRS = b"theirs".ljust(len(CONTENT))


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse(tmp_path / "warehouse").running() as running:
        yield running
        assert running.torn == []


@pytest.fixture
def transport(warehouse: Warehouse) -> SftpTransport:
    return SftpTransport(warehouse.config)


def test_sending_the_same_bytes_again_writes_nothing(warehouse: Warehouse, transport: SftpTransport) -> None:
    transport.put(NAME, CONTENT)
    warehouse.journal.clear()
    transport.put(NAME, CONTENT)
    assert not {"open hidden", "write", "rename"} & set(warehouse.journal)
    assert transport.is_present(NAME, CONTENT)


@pytest.mark.parametrize("theirs", [b"theirs", THEIRS], ids=["of another size", "of the same size"])
def test_other_content_under_the_name_is_left_alone_and_described(
    warehouse: Warehouse, transport: SftpTransport, theirs: bytes
) -> None:
    (warehouse.drop / NAME).write_bytes(theirs)
    for look in (transport.put, transport.is_present):
        with pytest.raises(DeliveryConflict, match=f"found {len(theirs)} bytes.*, expected {len(CONTENT)} bytes with"):
            look(NAME, CONTENT)
    assert (warehouse.drop / NAME).read_bytes() == theirs
    assert warehouse.files() == [NAME]
    warehouse.torn.clear()


def test_a_file_that_cannot_be_read_back_means_unknown(warehouse: Warehouse, transport: SftpTransport) -> None:
    (warehouse.drop / NAME).write_bytes(CONTENT)
    warehouse.refusals["open visible"] = asyncssh.SFTPPermissionDenied("a letter box")
    with pytest.raises(DeliveryUnknown, match=r"expected size, but cannot be read: .*'a letter box'"):
        transport.put(NAME, CONTENT)


def test_a_look_that_is_cut_means_unknown(warehouse: Warehouse, transport: SftpTransport) -> None:
    assert not transport.is_present(NAME, CONTENT)
    warehouse.cut = Cut("stat visible", 2)
    with pytest.raises(DeliveryUnknown, match="the connection ended"):
        transport.is_present(NAME, CONTENT)


def test_a_partner_that_collects_at_once_is_no_error(warehouse: Warehouse, transport: SftpTransport) -> None:
    warehouse.then["rename"] = (warehouse.drop / NAME).unlink
    transport.put(NAME, CONTENT)
    assert warehouse.files() == []


def test_what_was_collected_before_its_answer_came_is_sent_again(
    warehouse: Warehouse, transport: SftpTransport
) -> None:
    collected = warehouse.root / "collected"
    warehouse.then["rename"] = lambda: (warehouse.drop / NAME).rename(collected)
    warehouse.cut = Cut("rename", moment=Moment.UNANSWERED)
    with pytest.raises(DeliveryUnknown, match="may be in place or not"):
        transport.put(NAME, CONTENT)
    assert not transport.is_present(NAME, CONTENT)  # which proves nothing
    warehouse.then.clear()
    transport.put(NAME, CONTENT)
    assert collected.read_bytes() == (warehouse.drop / NAME).read_bytes() == CONTENT


def test_two_attempts_at_once_deliver_one_file_and_both_succeed(warehouse: Warehouse, transport: SftpTransport) -> None:
    warehouse.then["stat hidden"] = lambda: (warehouse.drop / NAME).write_bytes(CONTENT)
    transport.put(NAME, CONTENT)
    assert warehouse.files() == [NAME]


def test_an_attempt_whose_temporary_file_was_swept_by_the_other_succeeds(
    warehouse: Warehouse, transport: SftpTransport
) -> None:
    def the_other_delivers() -> None:
        next(warehouse.drop.glob(".*.part")).rename(warehouse.drop / NAME)

    warehouse.then["stat hidden"] = the_other_delivers
    transport.put(NAME, CONTENT)
    assert warehouse.files() == [NAME]


def test_a_file_that_turns_up_at_the_last_moment_is_not_replaced(
    warehouse: Warehouse, transport: SftpTransport
) -> None:
    warehouse.then["stat hidden"] = lambda: (warehouse.drop / NAME).write_bytes(THEIRS)
    with pytest.raises(DeliveryConflict):
        transport.put(NAME, CONTENT)
    assert (warehouse.drop / NAME).read_bytes() == THEIRS
    assert warehouse.files() == [NAME]
    warehouse.torn.clear()


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (asyncssh.SFTPPermissionDenied("never"), NotDelivered),
        (asyncssh.SFTPOpUnsupported("never"), NotDelivered),
        # The code of `exists` too: it may have been there and been collected.
        (asyncssh.SFTPFailure("never"), DeliveryUnknown),
    ],
)
def test_a_refused_rename_with_nothing_there_is_reported_by_its_code(
    warehouse: Warehouse, transport: SftpTransport, refusal: Exception, expected: type[TransportError]
) -> None:
    warehouse.refusals["rename"] = refusal
    with pytest.raises(expected, match="the server says 'never'"):
        transport.put(NAME, CONTENT)
    assert warehouse.files() == []


def test_a_refused_rename_is_unknown_if_nobody_can_look(warehouse: Warehouse, transport: SftpTransport) -> None:
    warehouse.refusals["rename"] = asyncssh.SFTPPermissionDenied("never")
    warehouse.cut = Cut("stat visible", 2)
    with pytest.raises(DeliveryUnknown, match="cannot be looked at"):
        transport.put(NAME, CONTENT)


def test_a_temporary_file_that_is_taken_away_means_unknown(warehouse: Warehouse, transport: SftpTransport) -> None:
    warehouse.then["close"] = lambda: next(warehouse.drop.glob(".*.part")).unlink()
    with pytest.raises(DeliveryUnknown, match="gone: collected or removed"):
        transport.put(NAME, CONTENT)


def test_a_file_that_was_not_written_whole_is_not_put_in_place(warehouse: Warehouse, transport: SftpTransport) -> None:
    warehouse.then["close"] = lambda: next(warehouse.drop.glob(".*.part")).write_bytes(b"torn")
    with pytest.raises(NotDelivered, match=f"found 4 bytes, expected {len(CONTENT)}"):
        transport.put(NAME, CONTENT)
    assert warehouse.files() == []


@pytest.mark.parametrize("step", ["open hidden", "write", "fsync", "close"])
def test_a_full_disk_means_not_delivered_and_leaves_nothing(
    warehouse: Warehouse, transport: SftpTransport, step: str
) -> None:
    warehouse.refusals[step] = asyncssh.SFTPFailure("disk full")
    with pytest.raises(NotDelivered, match="the server says 'disk full'"):
        transport.put(NAME, CONTENT)
    assert warehouse.files() == []


def test_a_server_without_fsync_is_not_asked_for_it(
    warehouse: Warehouse, transport: SftpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SFTPServerHandler, "_extensions", [(b"newline", b"\n")])
    transport.put(NAME, CONTENT)
    assert "fsync" not in warehouse.journal
    assert warehouse.files() == [NAME]


@pytest.mark.parametrize("folder", ["drop/missing", "/nowhere"])
def test_a_missing_folder_means_not_delivered(warehouse: Warehouse, folder: str) -> None:
    with pytest.raises(NotDelivered, match=r"the server says 'No such file"):
        SftpTransport(replace(warehouse.config, folder=folder)).put(NAME, CONTENT)


def test_a_folder_may_be_absolute_or_where_we_are_put_at_login(warehouse: Warehouse) -> None:
    for folder in ("/drop/", "drop/", ""):
        SftpTransport(replace(warehouse.config, folder=folder)).put(NAME, CONTENT)
    assert (warehouse.root / NAME).read_bytes() == CONTENT
    assert warehouse.files() == [NAME]


def test_what_a_cut_left_of_this_file_is_swept_and_of_others_not(
    warehouse: Warehouse, transport: SftpTransport
) -> None:
    others = [f".{NAME}.x.0badc0de.part", f".x{NAME}.0badc0de.part", f".{NAME}.part"]
    for name in (LEFTOVER, *others):
        (warehouse.drop / name).write_bytes(CONTENT[:5])
    transport.put(NAME, CONTENT)
    assert warehouse.files() == sorted([*others, NAME])


def test_a_name_that_is_not_utf_8_in_the_folder_is_no_hindrance(warehouse: Warehouse, transport: SftpTransport) -> None:
    (warehouse.drop / LEFTOVER).write_bytes(b"")
    (warehouse.drop / ".M\udce4rz").write_bytes(b"")
    transport.put(NAME, CONTENT)
    assert warehouse.files() == [".M\udce4rz", NAME]


@pytest.mark.parametrize("name", ["", "..", "../escape.edi", "sub/file.edi", "/etc/file.edi", ".hidden", "a\nb"])
def test_a_name_that_leads_elsewhere_is_a_mistake_of_the_caller(transport: SftpTransport, name: str) -> None:
    with pytest.raises(ValueError, match="not a plain file name"):
        transport.put(name, CONTENT)


def test_a_connection_is_no_event_of_the_log(warehouse: Warehouse, transport: SftpTransport) -> None:
    with logging_as_in_production(StringIO()) as log:
        transport.put(NAME, CONTENT)
    assert warehouse.files() == [NAME]
    # The server speaks in the same process.
    assert [line for line in log.getvalue().splitlines() if "paramiko" in line] == []
