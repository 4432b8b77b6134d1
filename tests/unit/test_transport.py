"""The directory transport: whole or not at all, never over another file, and every failure says what is known."""

import errno
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from edi.transports.directory import DirectoryTransport
from edi.transports.sftp import SftpConfig, SftpTransport
from edi.transports.transport import (
    DeliveryConflict,
    DeliveryUnknown,
    NotDelivered,
    NotReady,
    NotReceived,
    NotTried,
    Transport,
    TransportError,
)

NAME = "WAREHOUSE-000000042.edi"
CONTENT = b"UNA:+.? 'UNZ+1+42'"


def put(folder: Path, filename: str, content: bytes) -> None:
    DirectoryTransport(folder).put(filename, content)


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_file_appears_whole_and_alone_in_a_folder_that_did_not_exist(tmp_path: Path) -> None:
    folder = tmp_path / "edi" / "WAREHOUSE"
    put(folder, NAME, CONTENT)
    assert (folder / NAME).read_bytes() == CONTENT
    assert files(folder) == [NAME]


def test_sending_the_same_bytes_again_changes_nothing(tmp_path: Path) -> None:
    put(tmp_path, NAME, CONTENT)
    before = (tmp_path / NAME).stat()
    put(tmp_path, NAME, CONTENT)
    after = (tmp_path / NAME).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files(tmp_path) == [NAME]


def test_other_content_under_the_name_is_left_alone_and_described(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"theirs")
    with pytest.raises(DeliveryConflict) as conflict:
        put(tmp_path, NAME, CONTENT)
    message = str(conflict.value)
    assert str(tmp_path / NAME) in message
    assert f"found 6 bytes with sha256 {sha256(b'theirs').hexdigest()}" in message
    assert f"expected {len(CONTENT)} bytes with sha256 {sha256(CONTENT).hexdigest()}" in message
    assert (tmp_path / NAME).read_bytes() == b"theirs"
    assert files(tmp_path) == [NAME]


def test_what_a_crash_left_behind_is_swept_away_with_the_next_delivery(tmp_path: Path) -> None:
    (tmp_path / f".{NAME}.0badc0de.part").write_bytes(CONTENT[:5])
    put(tmp_path, NAME, CONTENT)
    assert files(tmp_path) == [NAME]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_leftover_that_is_also_the_file_the_partner_took_is_not_written_into(tmp_path: Path) -> None:
    # A crash between the link and the unlink leaves two names for one file; the partner then moves one away.
    taken = tmp_path / "archive" / NAME
    taken.parent.mkdir()
    taken.write_bytes(b"as the partner took it")
    os.link(taken, tmp_path / f".{NAME}.0badc0de.part")
    put(tmp_path, NAME, CONTENT)
    assert taken.read_bytes() == b"as the partner took it"


def test_the_temporary_file_of_another_delivery_is_not_touched(tmp_path: Path) -> None:
    other = f".{NAME}x.0badc0de.part"
    (tmp_path / other).write_bytes(b"under way")
    put(tmp_path, NAME, CONTENT)
    assert files(tmp_path) == [other, NAME]


def test_a_folder_that_cannot_be_made_means_not_delivered(tmp_path: Path) -> None:
    (tmp_path / "edi").write_bytes(b"a file")
    with pytest.raises(NotDelivered, match=r"the folder .* cannot be made") as failure:
        put(tmp_path / "edi" / "WAREHOUSE", NAME, CONTENT)
    assert isinstance(failure.value.__cause__, OSError)


def test_a_full_disk_means_not_delivered_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotDelivered, match="No space left on device") as failure:
        put(tmp_path, NAME, CONTENT)
    assert isinstance(failure.value.__cause__, OSError)
    assert files(tmp_path) == []


def test_a_name_too_long_for_the_disk_means_not_delivered(tmp_path: Path) -> None:
    with pytest.raises(NotDelivered, match="cannot be written"):
        put(tmp_path, "W" * 250, CONTENT)
    assert files(tmp_path) == []


def test_a_file_system_without_hard_links_means_not_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(NotDelivered, match="cannot be put in place by a hard link"):
        put(tmp_path, NAME, CONTENT)
    assert files(tmp_path) == []


def test_a_directory_that_cannot_be_synced_means_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def fail_once_the_file_is_in_place(descriptor: int) -> None:
        if (tmp_path / NAME).exists():
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_once_the_file_is_in_place)
    with pytest.raises(DeliveryUnknown, match="Input/output error"):
        put(tmp_path, NAME, CONTENT)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_final_name_that_cannot_be_read_means_unknown(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(DeliveryUnknown, match="cannot be read"):
        put(tmp_path, NAME, CONTENT)
    assert files(tmp_path) == [NAME]


def just_before_the_link(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    """Lets something happen between our look at the final name and our link."""
    link = os.link

    def after_that(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        happen()
        link(source, target)

    monkeypatch.setattr(os, "link", after_that)


def test_two_attempts_at_once_deliver_one_file_and_both_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    just_before_the_link(monkeypatch, lambda: put(tmp_path, NAME, CONTENT))
    put(tmp_path, NAME, CONTENT)
    assert files(tmp_path) == [NAME]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_file_that_turns_up_at_the_last_moment_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    just_before_the_link(monkeypatch, lambda: (tmp_path / NAME).write_bytes(b"theirs"))
    with pytest.raises(DeliveryConflict):
        put(tmp_path, NAME, CONTENT)
    assert (tmp_path / NAME).read_bytes() == b"theirs"
    assert files(tmp_path) == [NAME]


def test_a_file_delivered_by_another_attempt_and_collected_at_once_means_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_and_gone(_source: Path, target: Path) -> None:
        raise FileExistsError(errno.EEXIST, "File exists", str(target))

    monkeypatch.setattr(os, "link", taken_and_gone)
    with pytest.raises(DeliveryUnknown, match="gone again"):
        put(tmp_path, NAME, CONTENT)
    assert files(tmp_path) == []


def test_a_file_collected_by_the_partner_may_be_delivered_again(tmp_path: Path) -> None:
    put(tmp_path, NAME, CONTENT)
    (tmp_path / NAME).unlink()
    put(tmp_path, NAME, CONTENT)
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["", "..", "../escape.edi", "sub/file.edi", "/etc/file.edi", ".hidden", "a\nb"])
def test_a_name_that_leads_elsewhere_is_a_mistake_of_the_caller(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a plain file name"):
        put(tmp_path, name, CONTENT)


def test_it_stands_or_it_does_not_or_something_else_does(tmp_path: Path) -> None:
    transport = DirectoryTransport(tmp_path)
    assert not transport.is_present(NAME, CONTENT)
    put(tmp_path, NAME, CONTENT)
    assert transport.is_present(NAME, CONTENT)
    with pytest.raises(DeliveryConflict):
        transport.is_present(NAME, b"other")


def test_a_check_makes_nothing(tmp_path: Path) -> None:
    DirectoryTransport(tmp_path / "edi" / "WAREHOUSE", tmp_path).check()
    assert files(tmp_path) == []


def test_a_check_finds_what_a_folder_cannot_be_made_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edi").write_bytes(b"a file")
    with pytest.raises(NotReady, match="edi is no directory; expected a directory"):
        DirectoryTransport(tmp_path / "edi" / "WAREHOUSE").check()
    with pytest.raises(NotReady, match="in is not there; expected a directory"):
        DirectoryTransport(tmp_path, tmp_path / "in").check()
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with pytest.raises(NotReady, match="lacks permissions that a transport needs"):
        DirectoryTransport(tmp_path).check()


def test_a_check_does_what_a_delivery_does_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    for name in ("link", "fsync"):
        original = getattr(os, name)

        def noted(*arguments: object, name: str = name, original: Callable[..., None] = original) -> None:
            done.append(name)
            original(*arguments)

        monkeypatch.setattr(os, name, noted)
    transport = DirectoryTransport(tmp_path)
    transport.check()
    assert files(tmp_path) == []
    checked = done.copy()
    done.clear()
    transport.put("X-1.edi", CONTENT)
    assert checked == done == ["fsync", "link", "fsync"]


def test_a_check_says_what_it_could_not_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(NotTried, match=r"a file can be delivered, but .*countermand-check-.* could not be removed"):
        DirectoryTransport(tmp_path).check()


@pytest.mark.parametrize("fails", ["link", "fsync", "open"])
def test_a_check_that_cannot_do_what_a_delivery_does_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, fails, refuse)
    with pytest.raises(NotReady, match=r"a file cannot be delivered: .*Operation not permitted"):
        DirectoryTransport(tmp_path).check_outbox()
    monkeypatch.undo()
    assert files(tmp_path) == []


def test_a_check_tries_to_archive_and_leaves_nothing(tmp_path: Path) -> None:
    transport = DirectoryTransport(tmp_path / "out", tmp_path / "in")
    (tmp_path / "in").mkdir()
    transport.check()
    (tmp_path / "in" / "done").mkdir()
    transport.check()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["done", "in"]


def test_a_check_finds_what_stands_where_answers_are_archived(tmp_path: Path) -> None:
    transport, done = DirectoryTransport(tmp_path, tmp_path / "in"), tmp_path / "in" / "done"
    done.parent.mkdir()
    done.write_bytes(b"a file")
    with pytest.raises(NotReady, match="done is no directory; expected a directory"):
        transport.check()
    done.unlink()
    done.symlink_to("nowhere")
    with pytest.raises(NotReady, match="done is not there; expected a directory"):
        transport.check()


def test_a_check_finds_that_answers_cannot_be_linked_into_their_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def link_within_one_file_system(source: Path, target: Path) -> None:
        if source.parent != target.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target)

    monkeypatch.setattr(os, "link", link_within_one_file_system)
    (tmp_path / "in" / "done").mkdir(parents=True)
    with pytest.raises(NotReady, match="done: a file cannot be put in place by a hard link"):
        DirectoryTransport(tmp_path, tmp_path / "in").check()
    assert (files(tmp_path / "in"), files(tmp_path / "in" / "done")) == (["done"], [])


def test_both_transports_do_what_a_transport_does(tmp_path: Path) -> None:
    config = SftpConfig(host="h", user="u", password="p", host_key="SHA256:" + "A" * 43, folder="")
    transports: list[Transport] = [DirectoryTransport(tmp_path), SftpTransport(config)]
    assert [str(transport) for transport in transports] == [str(tmp_path), "sftp://u@h:22, folder ."]


def test_every_failure_is_a_transport_error() -> None:
    kinds = (NotDelivered, DeliveryUnknown, DeliveryConflict, NotReady, NotReceived)
    assert all(issubclass(kind, TransportError) for kind in kinds)
