"""No place where the product commits is forgotten: each is killed before and after, or has a reason why not."""

import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from tests.race.commit_sites import KILLED_BY, ROOT, killed_at, kills_around, sites, sites_in
from tests.rooms import ROOMS

_READS = "it only reads"
_MIGRATES = "all migrations of one run are one transaction, and the next run makes what is missing"
_OF_THE_DEMO = "it is on services that are thrown away with it"

# The commits that no test kills a work at, and why nothing can be lost there.
NOT_KILLED = {
    "health._try_to_write: COMMIT": "it tries what writing needs, and writes nothing",
    "progress.note: COMMIT": "what it notes is noted again ten seconds later",
    "operations.export: COMMIT": "it lets orders be due again that were held back; given again, it does the same",
    "notes.note: COMMIT": "what it did not write is wanted still; what it wrote is written once, by its cause",
    "reprocessing.iterate_revived_effects: COMMIT (2)": "a note that it has not revived is revived by the next run",
    "operations.migrate: COMMIT": _MIGRATES,
    "partners.next_number: COMMIT": "it is one transaction, and given again it sets the same number once",
    "up.services_of: COMMIT": _MIGRATES,
    **dict.fromkeys(
        ("run.run_demo: COMMIT", "run.run_demo: COMMIT (2)", "run._load: COMMIT", "run._race: COMMIT"), _OF_THE_DEMO
    ),
    "run._system: COMMIT": _OF_THE_DEMO,
    **dict.fromkeys(
        (
            "dead_letters.list_: COMMIT",
            "dead_letters.show: COMMIT",
            "interchanges._expect_known: COMMIT",
            "interchanges.list_: COMMIT",
            "interchanges.received: COMMIT",
            "interchanges.show: COMMIT",
            "interchanges.show: COMMIT (2)",
            "operations.audit: COMMIT",
            "orders._where_it_is: COMMIT",
            "orders.list_: COMMIT",
            "orders.show: COMMIT",
            "partners._next_numbers: COMMIT",
            "partners.next_number: COMMIT (2)",
            "reprocessing._Reprocessing._go_on: COMMIT",
            "reprocessing._show: COMMIT",
            "reprocessing._show: COMMIT (2)",
            "reprocessing.iterate_previews: COMMIT",
            "requests.list_: COMMIT",
            "requests.show: COMMIT",
            "requests.wait_until_settled: COMMIT",
            "webhooks._store: COMMIT",
        ),
        _READS,
    ),
}


def test_every_commit_is_killed_before_and_after_or_has_a_reason_why_not() -> None:
    for file in (ROOT / "tests/race").glob("test_*.py"):
        if "\n@kills_around(" in file.read_text():
            import_module(f"tests.race.{file.stem}")
    there = set(sites())
    assert there - KILLED_BY.keys() - NOT_KILLED.keys() == set(), "kill a work around these, or say why not"
    assert (KILLED_BY.keys() | NOT_KILLED.keys()) - there == set(), "there are no such commits"
    assert KILLED_BY.keys() & NOT_KILLED.keys() == set()


def test_no_two_commits_have_one_name() -> None:
    assert [site for site, times in Counter(sites()).items() if times > 1] == []


def test_nothing_else_of_the_product_commits() -> None:
    sources = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    committing = [path for path in sources if re.search(r"\.(begin|commit|begin_nested)\(\)", path.read_text())]
    assert [str(path.relative_to(ROOT)) for path in committing] == ["database/transactions.py"]


def test_a_commit_is_named_by_the_function_and_by_its_place_in_it(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text(
        "class Some:\n    def do(self):\n        one = in_transaction(\n            work\n        )\n"
        "        return in_transaction(lambda c: None), [database.in_transaction(x) for x in one]\n"
        "\nasync def other():\n    await run(lambda: in_transaction(work))\n"
    )
    assert sites_in(file) == [
        ("some.Some.do: COMMIT", range(3, 6)),
        ("some.Some.do: COMMIT (2)", range(6, 7)),
        ("some.Some.do: COMMIT (3)", range(6, 7)),
        ("some.other.<locals>.<lambda>: COMMIT", range(9, 10)),
    ]


@pytest.mark.parametrize("points", [["the beginning → a: COMMIT"], ["a: COMMIT → the end"], []])
def test_a_crash_test_that_does_not_kill_before_and_after_a_commit_that_it_names_fails(points: list[str]) -> None:
    killed_before = KILLED_BY.copy()
    test = kills_around("a: COMMIT")(lambda: killed_at.extend(points))
    KILLED_BY.clear()
    KILLED_BY.update(killed_before)
    with pytest.raises(AssertionError, match="nothing was killed before and after"):
        test()
