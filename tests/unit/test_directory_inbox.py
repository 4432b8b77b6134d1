"""What a partner leaves for us in a directory: names and files that can be handled safely, whole, and kept."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from edi.transports import directory
from edi.transports.directory import DirectoryTransport
from edi.transports.transport import InboxMissing, NotReceived

NAME = "CONTRL-000000042.edi"
CONTENT = b"UNA:+.? 'UNZ+1+42'"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def transport(tmp_path: Path, inbox: Path) -> DirectoryTransport:
    return DirectoryTransport(tmp_path, inbox)


def test_only_finished_files_with_safe_names_are_listed(transport: DirectoryTransport, inbox: Path) -> None:
    unsafe = [".hidden", "a\nb.edi", "a\x1b[31m.edi", "a\\b.edi", "latin-1 \udce4.edi", "a.part", "a.TMP", "a.filepart"]
    for name in (*unsafe, "b.edi", "a 1.edi", "Ärger.edi"):
        (inbox / name).write_bytes(b"UNB")
    for name in ("done", "folder"):
        (inbox / name).mkdir()
    (inbox / "link").symlink_to("/etc/passwd")
    os.mkfifo(inbox / "pipe")
    assert transport.list_inbox() == ["a 1.edi", "b.edi", "Ärger.edi"]


@pytest.mark.parametrize(
    "name",
    [
        "997.edi.partial",
        "997.edi.upload",
        "997.edi.crdownload",
        "997.edi.Temp",
        "997.edi.INPROGRESS",
        "997.edi.incomplete",
        "997.edi.writing",
        "997.edi.lck",
        "997.edi~",
        "~997.edi",
        "~$997.edi",
    ],
)
def test_a_file_is_not_taken_while_its_name_says_that_it_grows(
    transport: DirectoryTransport, inbox: Path, name: str
) -> None:
    (inbox / name).write_bytes(b"UNB")
    assert transport.list_inbox() == []
    (inbox / name).rename(inbox / "997.edi")
    assert transport.list_inbox() == ["997.edi"]


def test_a_name_that_cannot_be_handled_safely_is_reported_once_and_as_text(
    transport: DirectoryTransport, inbox: Path
) -> None:
    for name in ("a\x1b[31m.edi", "a\\b.edi", "latin-1 \udce4.edi", ".hidden", "b.part", "c.edi"):
        (inbox / name).write_bytes(b"UNB")
    with capture_logs() as logs:
        for _ in range(2):
            assert transport.list_inbox() == ["c.edi"]
    assert {(log["log_level"], log["event"], log["inbox"]) for log in logs} == {
        ("warning", "file in the inbox skipped: its name is not safe", str(inbox))
    }
    reported = sorted(log["file"] for log in logs)
    assert reported == [r"'a\\b.edi'", r"'a\x1b[31m.edi'", r"'latin-1 \udce4.edi'"]


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc/passwd", "done", "done/x", ".hidden", "a\nb", "x.part"])
def test_no_other_name_is_read_or_archived(transport: DirectoryTransport, name: str) -> None:
    for method in (transport.read, transport.archive):
        with pytest.raises(ValueError, match="cannot be a file of the inbox"):
            method(name)


def test_a_link_or_a_pipe_is_not_read(transport: DirectoryTransport, inbox: Path) -> None:
    (inbox / "link").symlink_to("/etc/passwd")
    os.mkfifo(inbox / "pipe")
    for name in ("link", "pipe", "missing"):
        with pytest.raises(NotReceived, match=f"in/{name}: "):
            transport.read(name)


def test_a_file_is_read_whole_or_not_at_all(
    transport: DirectoryTransport, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "MOST_BYTES", len(CONTENT))
    (inbox / NAME).write_bytes(CONTENT)
    assert transport.read(NAME) == CONTENT
    (inbox / NAME).write_bytes(CONTENT + b"'")
    with pytest.raises(NotReceived, match=f"is longer than {len(CONTENT)} bytes"):
        transport.read(NAME)


def test_archiving_never_overwrites(transport: DirectoryTransport, inbox: Path) -> None:
    for content in (b"1", b"2", b"3"):
        (inbox / NAME).write_bytes(content)
        transport.archive(NAME)
    assert os.listdir(inbox) == ["done"]
    archived = [(path.name, path.read_bytes()) for path in sorted((inbox / "done").iterdir())]
    assert archived == [(NAME, b"1"), (f"{NAME}.2", b"2"), (f"{NAME}.3", b"3")]
    with pytest.raises(NotReceived, match="No such file"):
        transport.archive(NAME)


def test_a_missing_inbox_is_an_error_and_an_unconfigured_one_is_empty(tmp_path: Path) -> None:
    with pytest.raises(InboxMissing, match=f"^{tmp_path}/in does not exist$"):
        DirectoryTransport(tmp_path, tmp_path / "in").list_inbox()
    assert DirectoryTransport(tmp_path).list_inbox() == []
