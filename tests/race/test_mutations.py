"""The mutations still fit: what each takes away stands in the product once, and the tests it names are there."""

import shutil
from pathlib import Path

import pytest

from tests.race.mutations import MUTATIONS, ROOT, Mutation, mutate


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_what_a_mutation_takes_away_stands_there_once(mutation: Mutation, tmp_path: Path) -> None:
    for edit in mutation.edits:
        (tmp_path / edit.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / edit.file, tmp_path / edit.file)
    for path, before in mutate(tmp_path, mutation).items():
        compile(path.read_text(), path, "exec")
        assert path.read_text() != before


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_the_tests_that_must_see_a_mutation_are_there(mutation: Mutation) -> None:
    assert mutation.tests
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / file).read_text()


def test_there_are_mutations_of_locks_guards_and_constraints() -> None:
    kinds = [one.name.partition(":")[0] for one in MUTATIONS]
    assert all(kinds.count(kind) >= 2 for kind in ("lock", "guard", "constraint"))
    assert len({one.name for one in MUTATIONS}) == len(MUTATIONS)
