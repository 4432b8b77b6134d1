"""The figures of docs/guarantees.md: each test that counts has its row, and the rows make the total."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.race.figures import GUARANTEES, TABLES, documented, table, write

_RACES = Path(__file__).parents[1] / "race"
_COUNTING = {"interleavings": {"run_every_order"}, "crashes": {"crash_table", "kill_everywhere"}}


def _that_count(kind: str) -> Iterator[str]:
    """Yields the tests of the folder that call one of the functions that count, themselves or by a helper."""
    for file in _RACES.glob("test_*.py"):
        functions = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
        counting = set(_COUNTING[kind])
        for _ in functions:
            counting |= {one.name for one in functions if counting & _called_by(one)}
        yield from (one.name for one in functions if one.name.startswith("test_") and one.name in counting)


def _called_by(function: ast.FunctionDef) -> set[str]:
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return {called.id for called in calls if isinstance(called, ast.Name)}


def figures_in(made: str) -> tuple[list[str], int, int]:
    """Returns what the rows of a table are about, the sum of their numbers, and the total that it gives."""
    *rows, last = [line.strip("| ").rpartition(" | ") for line in made.splitlines()[2:]]
    counted = [int(one.replace(",", "")) for _, _, numbers in rows for one in re.findall(r"[\d,]+", numbers)]
    return [what for what, _, _ in rows], sum(counted), int(last[2].strip("*").replace(",", ""))


@pytest.mark.parametrize("kind", TABLES)
def test_every_test_that_counts_has_its_row_and_every_row_its_tests(kind: str) -> None:
    named = [test for row in TABLES[kind][1] for test in row.tests]
    assert sorted(named) == sorted(_that_count(kind))


@pytest.mark.parametrize("kind", TABLES)
def test_the_documented_rows_are_those_and_add_up_to_the_documented_total(kind: str) -> None:
    rows, counted, total = figures_in(documented(kind, GUARANTEES.read_text()))
    assert rows == [row.what for row in TABLES[kind][1]]
    assert counted == total > 0


def test_a_table_gives_the_numbers_of_each_test_and_says_where_some_were_left_out(tmp_path: Path) -> None:
    recorded = {test: 7 for row in TABLES["crashes"][1] for test in row.tests}
    _, second = TABLES["crashes"][1][0].tests
    recorded.pop(second)
    with pytest.raises(ValueError, match=second):
        table("crashes", recorded)
    recorded |= {f"{second}[a]": 1000, f"{second}[b]": 2, "test_of_another_table": 9}
    made = table("crashes", recorded, [f"{second}[a]"])
    assert f"{TABLES['crashes'][1][0].what} | 7 + 1,000 (not all) + 2 |" in made
    assert figures_in(made)[1:] == (sum(recorded.values()) - 9,) * 2
    file = tmp_path / "some.md"
    file.write_text("Before.\n\n<!-- crashes: made -->\n\nold\n\n<!-- end of crashes -->\n\nAfter.\n")
    write("crashes", made, file)
    assert documented("crashes", file.read_text()) == made
    assert (file.read_text().startswith("Before."), file.read_text().endswith("After.\n")) == (True, True)
