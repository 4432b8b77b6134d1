"""docs/security.md says what stops what: whatever it names is there."""

import re
from pathlib import Path

import pytest

from configuration.settings import Settings
from database.roles import RUN_AS, Role, role_name

_HOUSE = Path(__file__).parents[2]
_DOC = (_HOUSE / "docs/security.md").read_text(encoding="utf-8")


def test_every_test_that_it_names_is_one() -> None:
    sources = (path.read_text(encoding="utf-8") for path in (_HOUSE / "tests").rglob("test_*.py"))
    known = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}
    named = set(re.findall(r"`(test_\w+)`", _DOC))
    assert len(named) > 40
    assert named - known == set()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)", _DOC))))
def test_every_file_that_it_links_to_is_there(path: str) -> None:
    assert (_HOUSE / "docs" / path).is_file()


def test_every_variable_that_it_names_is_one_that_is_read() -> None:
    read = {f"COUNTERMAND_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"COUNTERMAND_[A-Z_]+", _DOC)) - read == set()


def test_every_role_has_its_line_and_its_processes() -> None:
    lines = dict(re.findall(r"^\| `(countermand_\w+)` \| (.*?) \|", _DOC, re.MULTILINE))
    assert set(lines) == {role_name("countermand", role) for role in Role}
    for role in (Role.WORKER, Role.EXPORTER):
        words = set(re.findall(r"\w+", RUN_AS[role].lower())) - {"and"}
        assert words - set(re.findall(r"\w+", lines[role_name("countermand", role)].lower())) == set()
