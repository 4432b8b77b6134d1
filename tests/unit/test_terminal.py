"""What is listed for people fits their terminal, and no field is broken in the middle."""

import io

import pytest
from rich.console import Console

from cli import terminal
from cli.terminal import print_list
from edi.documents.charset import decode

ID = "88124-cancel-536368-559d7196159d31c8"
COLUMNS = ("source", "id", "order", "kind", "state", "outcome")
ROWS = [
    (("zendesk:acme", "88121-1", "536365", "cancel", "decided", "applied"), "order_cancelled"),
    (("zendesk:acme", ID, "536368", "partial_cancel", "decided", "escalated"), "partial_cancellation, " * 8 + "end"),
]
CELLS = {cell for cells, _ in ROWS for cell in cells}


def printed(monkeypatch: pytest.MonkeyPatch, width: int, *, is_terminal: bool = True) -> list[str]:
    monkeypatch.delenv("COLUMNS", raising=False)
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=is_terminal, color_system=None)
    monkeypatch.setattr(terminal, "out", console)
    print_list(COLUMNS, ROWS)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 50, 80, 100, 120])
def test_a_list_fits_its_terminal_and_every_field_is_whole(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = printed(monkeypatch, width)
    assert max(map(len, lines)) <= width
    assert {*" ".join(lines).split()} >= {word for cell in CELLS for word in cell.split()}


def test_what_there_is_room_for_stands_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(monkeypatch, 120)
    assert [line.split() for line in lines[:2]] == [list(COLUMNS), list(ROWS[0][0])]
    at_80 = printed(monkeypatch, 80)
    assert at_80[0].split() == ["source", "id", "order", "kind"]
    assert at_80[1].split() == ["state", "outcome"]
    assert at_80[1].startswith("    state")


def test_what_goes_into_a_file_has_one_line_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(monkeypatch, 40, is_terminal=False)
    assert lines[3].split() == list(ROWS[1][0])
    assert len(lines) == 5


def test_a_document_is_read_by_its_character_set_whatever_its_bytes_are() -> None:
    assert decode("NAD+DP+++Jürgen Köln'".encode("latin-1")) == "NAD+DP+++Jürgen Köln'"
    assert len(decode(bytes(range(256)))) == 256


def test_a_line_without_end_is_read_only_as_far_as_shows_that_it_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "MAX_ORDER_BYTES", 10)
    file = io.BytesIO(b"a\n" + b"b" * 40 + b"\n" + b"c" * 9 + b"\n" + b"d" * 12 + b"\ne")
    assert [len(line) for line in terminal._bounded_lines(file)] == [2, 12, 10, 12, 1]
