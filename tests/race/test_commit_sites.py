"""No place where the product commits is forgotten: each is killed before and after, or has a reason why not."""

import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from tests.race.commit_names import NAMES
from tests.race.commit_sites import KILLED_BY, ROOT, commit_of, killed_at, kills_around, sites, sites_in
from tests.rooms import ROOMS

_READS = "it only reads"
_MIGRATES = "all migrations of one run are one transaction, and the next run makes what is missing"
_OF_THE_DEMO = "it is on services that are thrown away with it"

# The commits that no test kills a work at, and why nothing can be lost there.
NOT_KILLED = {
    "check that writing works: commit": "it tries what writing needs, and writes nothing",
    "note progress: commit": "what it notes is noted again ten seconds later",
    "retry orders that were held back: commit": (
        "it lets orders be due again that were held back; given again, it does the same"
    ),
    "write notes: commit": "what it did not write is wanted still; what it wrote is written once, by its cause",
    "revive notes: commit": "a note that it has not revived is revived by the next run",
    "migrate by command: commit": _MIGRATES,
    "set the next number: commit": "it is one transaction, and given again it sets the same number once",
    "migrate at the start: commit": _MIGRATES,
    **dict.fromkeys(
        (
            "audit the demo: commit",
            "read the result of the demo: commit",
            "load the orders of the demo: commit",
            "count the progress of the demo: commit",
        ),
        _OF_THE_DEMO,
    ),
    "migrate the demo: commit": _OF_THE_DEMO,
    **dict.fromkeys(
        (
            "list dead letters: commit",
            "show a dead letter: commit",
            "find an interchange: commit",
            "list interchanges: commit",
            "list received files: commit",
            "show the document of an interchange: commit",
            "show an interchange: commit",
            "audit: commit",
            "find an order: commit",
            "list orders: commit",
            "show an order: commit",
            "list next numbers: commit",
            "show the next number: commit",
            "count the requests left to reprocess: commit",
            "count dead effects: commit",
            "count the requests to reprocess: commit",
            "preview a slice of requests: commit",
            "list requests: commit",
            "show a request: commit",
            "count unsettled requests: commit",
            "look up a webhook's request: commit",
        ),
        _READS,
    ),
}


def test_every_commit_is_killed_before_and_after_or_has_a_reason_why_not() -> None:
    for file in (ROOT / "tests/race").glob("test_*.py"):
        if "\n@kills_around(" in file.read_text():
            import_module(f"tests.race.{file.stem}")
    there = set(map(commit_of, sites()))
    assert there - KILLED_BY.keys() - NOT_KILLED.keys() == set(), "kill a work around these, or say why not"
    assert (KILLED_BY.keys() | NOT_KILLED.keys()) - there == set(), "there are no such commits"
    assert KILLED_BY.keys() & NOT_KILLED.keys() == set()


def test_no_two_commits_have_one_name() -> None:
    assert [name for name, times in Counter(NAMES.values()).items() if times > 1] == []


def test_every_commit_has_a_name_and_every_name_its_commit() -> None:
    assert Counter(sites()) == Counter(NAMES.keys())
    assert [name for name in NAMES.values() if set(name) & set(",:→")] == [], "the rows of a crash table use these"


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
        ("some.Some.do", range(3, 6)),
        ("some.Some.do (2)", range(6, 7)),
        ("some.Some.do (3)", range(6, 7)),
        ("some.other.<locals>.<lambda>", range(9, 10)),
    ]


@pytest.mark.parametrize("points", [["the beginning → a: commit"], ["a: commit → the end"], []])
def test_a_crash_test_that_does_not_kill_before_and_after_a_commit_that_it_names_fails(points: list[str]) -> None:
    killed_before = KILLED_BY.copy()
    test = kills_around("a: commit")(lambda: killed_at.extend(points))
    KILLED_BY.clear()
    KILLED_BY.update(killed_before)
    with pytest.raises(AssertionError, match="nothing was killed before and after"):
        test()
