"""docs/limits.md says of connections what the program does."""

import re
from pathlib import Path

from workers.supervisor import connections

_TEXT = (Path(__file__).parents[2] / "docs" / "limits.md").read_text("utf-8")


def test_the_budget_of_connections_is_the_programs() -> None:
    table = _TEXT.partition("## Connections")[2].partition("## Time-outs")[0]
    told = {name: int(number) for name, number in re.findall(r"^\| (\w+) \| (\d+) \|$", table, re.MULTILINE)}
    assert told == connections()
    assert f"| **together** | **{sum(connections().values())}** |" in table
