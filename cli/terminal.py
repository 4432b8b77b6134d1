"""Reading files, and speaking to people (progress and messages on standard error) or to programs (JSON on stdout)."""

import gzip
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from orders.messages import MAX_ORDER_BYTES
from workers.errors import UsageError

out = Console()
err = Console(stderr=True, soft_wrap=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
InputFile = Annotated[str, typer.Argument(metavar="FILE", help="NDJSON; `-` is standard input, .gz is unpacked.")]
Limit = Annotated[int | None, typer.Option(min=1, max=2**31, help="At most this many. [default: all]")]

# Rejected lines that are spelled out for people; --json gives them all.
_SHOWN_REJECTIONS = 20


def print_json(value: object) -> None:
    """Prints one JSON value on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def print_json_list(name: str, items: Iterable[object], rest: Callable[[], Mapping[str, object]]) -> None:
    """Prints one JSON object on standard output: a list, item by item as they come, and what there is to say then."""
    sys.stdout.write(f"{{{json.dumps(name)}: [")
    for place, item in enumerate(items):
        sys.stdout.write(",\n" if place else "\n")
        json.dump(item, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n]")
    for key, value in rest().items():
        sys.stdout.write(f",\n{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    sys.stdout.write("}\n")


def table(*columns: str, title: str | None = None) -> Table:
    """Returns an empty table for people."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def print_list(columns: Sequence[str], rows: Iterable[tuple[Sequence[object], object]]) -> None:
    """Prints what is listed for people: short fields side by side, what is long on a line below.

    No field is broken: the columns that a terminal has no room for go to a line below the others. What goes into a
    file or to another program has one line a row.
    """
    listed = [(tuple(map(plain, cells)), plain(below)) for cells, below in rows]
    head = tuple(Text(column, style="bold") for column in columns)
    columns_of_cells = zip(head, *(cells for cells, _ in listed), strict=True)
    widths = [max(cell.cell_len for cell in column) for column in columns_of_cells]
    room = _room()
    lines = _in_lines(widths, room)
    for cells, below in ((head, Text()), *listed):
        for place, line in enumerate(lines):
            _print_cells([(cells[column], widths[column]) for column in line], indent=_INDENT if place else "")
        for part in _wrapped(below, room):
            out.print(_INDENT, part, sep="", soft_wrap=True, highlight=False)


# What belongs to the row above.
_INDENT = "    "


def _room() -> int | None:
    """How wide a line may be; None if output is not a terminal, unless COLUMNS sets it."""
    return out.width if out.is_terminal or "COLUMNS" in os.environ else None


def _in_lines(widths: Sequence[int], room: int | None) -> list[list[int]]:
    """Returns the columns of each line of a row."""
    lines: list[list[int]] = [[]]
    used = 0
    for column, width in enumerate(widths):
        if lines[-1] and room is not None and used + len(_GAP) + width > room:
            lines.append([])
            used = len(_INDENT)
        used += width + (len(_GAP) if lines[-1] else 0)
        lines[-1].append(column)
    return lines


_GAP = "  "


def _print_cells(cells: Sequence[tuple[Text, int]], *, indent: str) -> None:
    for cell, width in cells:
        cell.pad_right(width - cell.cell_len)
    line = Text(indent) + Text(_GAP).join(cell for cell, _ in cells)
    line.rstrip()
    # What is empty in a line of its own is no line.
    if line or not indent:
        out.print(line, soft_wrap=True, highlight=False)


def _wrapped(text: Text, room: int | None) -> Iterable[Text]:
    """Breaks a text between words, where there is an end to the line."""
    if not text or room is None:
        return [text] if text else []
    return text.wrap(out, max(1, room - len(_INDENT)))


def counted(number: int, one: str, more: str | None = None) -> str:
    """Returns a number with its noun, in the singular or the plural."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def plain(value: object) -> Text:
    """Returns a value to be shown as it is: it may look like markup, or hold what would take over a terminal."""
    shown = "" if value is None else str(value)
    return Text("".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in shown))


def brief(moment: str | None) -> str:
    """Returns a moment of ours (ISO 8601 in UTC) to the second, as people read it in a table."""
    return "" if moment is None else moment[:19].replace("T", " ")


def paragraph(label: str, text: str) -> Table:
    """Returns a text behind its label, its later lines below its first."""
    made = Table.grid(padding=(0, 1))
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    made.add_row(plain(label), plain(text))
    return made


def _open(name: str) -> tuple[BinaryIO, int | None]:
    if name == "-":
        return sys.stdin.buffer, None
    try:
        file = open(name, "rb")  # noqa: SIM115  # closed by `read_lines`
        # A pipe has no size and no position.
        return file, Path(name).stat().st_size if file.seekable() else None
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error


def read_lines(name: str, what: str) -> Iterator[tuple[int, bytes]]:
    """Yields the lines of a file that are not blank, with their numbers from 1; shows how far it is."""
    file, size = _open(name)
    number = 0
    with file, progress() as bar:
        task = bar.add_task(what, total=size, count=0)
        stream: Any = gzip.GzipFile(fileobj=file) if name.endswith(".gz") else file
        try:
            for number, line in enumerate(_bounded_lines(stream), start=1):
                if size is not None and number % 100 == 0:
                    bar.update(task, completed=file.tell(), count=number)
                if line.strip():
                    yield number, line.strip(b"\r\n")
        except (OSError, EOFError, zlib.error) as error:
            raise UsageError(f"{name} cannot be read on: {error}") from error
        if size is not None:
            bar.update(task, completed=size, count=number)


def read_file(name: str) -> bytes:
    """Returns what a file holds, no more than shows that it is too long; `-` is standard input, .gz is unpacked."""
    file, _ = _open(name)
    with file:
        stream: Any = gzip.GzipFile(fileobj=file) if name.endswith(".gz") else file
        try:
            return bytes(stream.read(MAX_ORDER_BYTES + 1))
        except (OSError, EOFError, zlib.error) as error:
            raise UsageError(f"{name} cannot be read on: {error}") from error


def _bounded_lines(stream: Any) -> Iterator[bytes]:
    """Yields lines, of each no more than shows that it is too long: a file without line ends must not fill memory."""
    longest = MAX_ORDER_BYTES + 2
    while line := stream.readline(longest):
        yield line
        while len(line) == longest and not line.endswith(b"\n"):
            line = stream.readline(longest)


@contextmanager
def progress(*, auto_refresh: bool = True) -> Iterator[Progress]:
    """Shows a progress bar on standard error for the block, where that is a terminal.

    Without `auto_refresh` it has no thread, and moves only when it is updated.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    is_off = not err.is_terminal
    with Progress(*columns, console=err, transient=True, disable=is_off, auto_refresh=auto_refresh) as bar:
        yield bar


@contextmanager
def counting_progress(*, prints_meanwhile: bool = False) -> Iterator[Progress]:
    """Shows a progress bar with numbers on standard error for the block, where that is a terminal.

    If the block `prints_meanwhile`, it shows none where that would come in between.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    is_off = not err.is_terminal or (prints_meanwhile and out.is_terminal)
    # What is printed goes where it belongs: rich would send it to the terminal of the bar.
    with Progress(*columns, console=err, transient=True, disable=is_off, redirect_stdout=not prints_meanwhile) as bar:
        yield bar


def print_rejected(rejected: list[dict[str, Any]], name: str) -> None:
    """Prints for a person which lines were rejected, and why."""
    for one in rejected[:_SHOWN_REJECTIONS]:
        err.print(f"{name}, line {one['line']}: {one['error']}", markup=False, highlight=False)
    if len(rejected) > _SHOWN_REJECTIONS:
        err.print(f"… and {len(rejected) - _SHOWN_REJECTIONS} more lines; --json lists them all")
