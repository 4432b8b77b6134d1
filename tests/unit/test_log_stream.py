"""A log never makes its writer wait: what nobody reads is dropped, counted and reported."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import TextIO

import pytest
import structlog

from workers import logs
from workers.log_files import Followed
from workers.log_stream import LineLogger, unblocked

LINE = f"{'x' * 99}\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """A pipe: where it is read, and the stream that is written to."""
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb"), os.fdopen(writes, "w") as stream:
        yield reads, stream


@pytest.fixture
def as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERMAND_LOG", "json")


Follow = Callable[[str], Followed]


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Follow]:
    """Follows the log file of a program."""
    followed = []

    def start(program: str) -> Followed:
        followed.append(Followed(tmp_path / f"{program}.log", program))
        return followed[-1]

    yield start
    for file in followed:
        file.close()


def notified(lines: int) -> str:
    return f"dropped {lines}\n"


def test_a_pipe_that_nobody_reads_does_not_block_and_what_is_dropped_is_counted(pipe: tuple[int, TextIO]) -> None:
    reads, writes = pipe
    stream = unblocked(writes, notified)
    for _ in range(2000):
        stream.write(LINE)
    held = os.read(reads, 1 << 20)
    stream.write(LINE)
    rest = os.read(reads, 1 << 20)
    # A line that was half taken is finished first.
    lines = (held + rest).decode().splitlines(keepends=True)
    [dropped] = [line for line in lines if line != LINE]
    assert dropped == f"dropped {2000 - (len(lines) - 2)}\n"
    assert lines[-2:] == [dropped, LINE]


def test_who_else_writes_to_the_same_pipe_still_waits_for_its_reader(pipe: tuple[int, TextIO]) -> None:
    _, writes = pipe
    unblocked(writes, notified)
    assert os.get_blocking(writes.fileno())


def test_a_reader_that_has_gone_ends_nobody() -> None:
    reads, writes = os.pipe()
    with os.fdopen(writes, "w") as out:
        stream = unblocked(out, notified)
        os.close(reads)
        assert stream.write(LINE) == len(LINE)


def test_a_file_is_appended_to_where_others_write_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    with path.open("a") as file:
        unblocked(file, notified).write("after\n")
    assert path.read_text() == "before\nafter\n"


def test_what_libraries_print_becomes_lines_of_the_log_and_blank_lines_do_not() -> None:
    lines: list[str] = []
    said = LineLogger(lines.append, 2)
    print("\nworker: Warm shutdown\nhalf", end="", file=said)
    print(" a line", file=said)
    assert lines == ["worker: Warm shutdown", "half a line"]


def test_each_line_names_its_process(as_json: None, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers, root.level
    try:
        logs.configure_logs(process="worker")
        structlog.get_logger().info("ours")
        logging.getLogger("sqlalchemy").warning("of a library")
    finally:
        root.handlers, root.level = before
        structlog.reset_defaults()
        logs._process = ""
    found = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(line["event"], line["process"]) for line in found] == [("ours", "worker"), ("of a library", "worker")]


def test_what_is_shown_of_a_log_file_is_json_with_the_name_of_its_process(
    as_json: None, follow: Follow, tmp_path: Path
) -> None:
    path = tmp_path / "worker.log"
    path.write_text("of an earlier run\n")
    file = follow("worker")
    with path.open("a") as out:
        out.write('{"event": "ours", "process": "worker", "level": "info"}\nModuleNotFoundError: no module\n\nhalf')
    ours, other = map(json.loads, file.read())
    assert (ours["event"], other["event"], other["process"]) == ("ours", "ModuleNotFoundError: no module", "worker")
    assert file.last_words() == "ModuleNotFoundError: no module"


def test_supervisords_own_lines_have_their_level(as_json: None, follow: Follow, tmp_path: Path) -> None:
    path = tmp_path / "supervisord.log"
    file = follow("supervisord")
    assert file.read() == []
    path.write_text("2026-11-30 01:32:39,199 WARN exited: intake (exit status 1; not expected)\n")
    [line] = map(json.loads, file.read())
    assert (line["level"], line["event"]) == ("warning", "exited: intake (exit status 1; not expected)")


def test_a_file_that_is_exchanged_is_read_to_its_end_and_what_was_discarded_is_reported(
    as_json: None, follow: Follow, tmp_path: Path
) -> None:
    path, before = tmp_path / "worker.log", tmp_path / "worker.log.1"
    file = follow("worker")

    def exchange(text: str) -> None:
        if path.exists():
            path.replace(before)
        path.write_text(text)

    def events() -> list[str]:
        return [json.loads(line)["event"] for _ in range(4) for line in file.read()]

    exchange("one\n")
    assert events() == ["one"]
    with path.open("a") as out:
        out.write("two\n")
    exchange("three\n")
    assert events() == ["two", "three"]
    exchange("lost\n")
    exchange("four\n")
    exchange("five\n")
    assert events() == ["lines of the log were lost, they were not read in time", "four", "five"]


def test_a_link_in_the_place_of_a_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "worker.log").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        Followed(tmp_path / "worker.log", "worker")


def test_on_a_terminal_each_line_begins_with_its_process(
    monkeypatch: pytest.MonkeyPatch, follow: Follow, tmp_path: Path
) -> None:
    monkeypatch.setenv("COUNTERMAND_LOG", "console")
    path = tmp_path / "beat.log"
    file = follow("beat")
    path.write_text("2026-11-30 [info     ] it rings\n")
    assert file.read() == ["beat        | 2026-11-30 [info     ] it rings"]


def test_a_reader_that_is_only_slow_gets_every_line(pipe: tuple[int, TextIO]) -> None:
    reads, writes = pipe
    stream = unblocked(writes, notified, 30)
    got = bytearray()

    def read() -> None:
        while got.count(b"\n") < 5000:
            got.extend(os.read(reads, 4096))

    reader = Thread(target=read)
    reader.start()
    for _ in range(5):
        stream.write(1000 * LINE)
    reader.join(30)
    assert bytes(got) == 5000 * LINE.encode()


def test_of_many_lines_at_once_the_first_are_written_and_the_rest_is_counted(pipe: tuple[int, TextIO]) -> None:
    reads, writes = pipe
    stream = unblocked(writes, notified)
    stream.write(2000 * LINE)
    held = os.read(reads, 1 << 20)
    stream.write(LINE)
    lines = (held + os.read(reads, 1 << 20)).decode().splitlines(keepends=True)
    whole = lines.count(LINE) - 1
    assert lines[-2:] == [f"dropped {2000 - whole}\n", LINE]
