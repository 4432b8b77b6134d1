"""The mutations still fit: what each takes away stands in the product once, and the tests it names are there."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.race.mutations import MUTATIONS, ROOT, Mutation, main, mutate


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


def _nothing_is_run(_: object) -> int:
    raise AssertionError("mutations were run")


def test_a_word_that_no_name_contains_runs_nothing_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.race.mutations._run_all", _nothing_is_run)
    assert main(["unheard-of"]) == 2
    assert "no mutation is named with unheard-of" in capsys.readouterr().err


def test_the_list_names_them_and_help_says_how_and_neither_runs_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.race.mutations._run_all", _nothing_is_run)
    assert main(["--list", "lock:"]) == 0
    assert capsys.readouterr().out.splitlines() == [one.name for one in MUTATIONS if "lock:" in one.name]
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert (ended.value.code, "--list" in capsys.readouterr().out) == (0, True)


def test_words_choose_those_whose_names_contain_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def note(chosen: Sequence[Mutation]) -> int:
        ran.extend(one.name for one in chosen)
        return 0

    monkeypatch.setattr("tests.race.mutations._run_all", note)
    assert main(["redelivered", "without its fence"]) == 0
    assert ran == [one.name for one in MUTATIONS if "redelivered" in one.name or "without its fence" in one.name]
    assert len(ran) == 3


def test_the_guarantees_name_every_mutation_and_how_many_there_are() -> None:
    said = (ROOT / "docs/guarantees.md").read_text()
    assert [one.name for one in MUTATIONS if f"| {one.name} |" not in said] == []
    assert f"{len(MUTATIONS)} of {len(MUTATIONS)} were caught" in " ".join(said.split())
