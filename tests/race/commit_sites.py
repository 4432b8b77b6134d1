"""The places where the product commits, read from its source: each call of `in_transaction` from `tasks/` upwards.

A site is found by its function, `export._send`; of several in one function the second is `export._send (2)`. The tests
and the crash tables name it by what it does, as `tests/race/commit_names.py` says: `confirm: commit`.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, wraps
from pathlib import Path
from typing import ParamSpec

from tests.race.commit_names import NAMES

ROOT = Path(__file__).parents[2]
_ROOMS = ("tasks", "workers", "web", "cli")

_P = ParamSpec("_P")

# The tests that kill a work before and after a commit, by the commit's name.
KILLED_BY: dict[str, set[str]] = {}
# The points at which the present test has killed its works.
killed_at: list[str] = []


def sites() -> list[str]:
    """Returns all sites."""
    return [site for room in _ROOMS for file in sorted((ROOT / room).rglob("*.py")) for site, _ in sites_in(file)]


@cache
def sites_in(file: Path) -> list[tuple[str, range]]:
    """Returns the sites of a file, with the lines that each call stands on."""
    counted: Counter[str] = Counter()
    found = []
    for function, call in _calls(ast.parse(file.read_text()), ()):
        where = f"{file.stem}.{function}"
        counted[where] += 1
        ordinal = f" ({counted[where]})" if counted[where] > 1 else ""
        found.append((f"{where}{ordinal}", range(call.lineno, (call.end_lineno or call.lineno) + 1)))
    return found


def commit_at(file: str, line: int) -> str | None:
    """Returns the name of the commit on this line; None if it is no call of `in_transaction`."""
    return next((commit_of(site) for site, lines in sites_in(Path(file)) if line in lines), None)


def commit_of(site: str) -> str:
    """Returns the name of a site's commit."""
    return f"{NAMES.get(site, site)}: commit"


def _calls(node: ast.AST, within: tuple[str, ...]) -> Iterator[tuple[str, ast.Call]]:
    """Yields the calls in the sequence of the source, each with the qualified name of its function."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Call(func=ast.Name(id="in_transaction") | ast.Attribute(attr="in_transaction")):
                yield ".".join(within).removesuffix(".<locals>"), child
                yield from _calls(child, within)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield from _calls(child, (*within, name, "<locals>"))
            case ast.Lambda():
                yield from _calls(child, (*within, "<lambda>", "<locals>"))
            case ast.ClassDef(name=name):
                yield from _calls(child, (*within, name))
            case _:
                yield from _calls(child, within)


def kills_around(*named: str) -> Callable[[Callable[_P, None]], Callable[_P, None]]:
    """Says of a test that it kills a work before and after each of these commits, and sees that it has."""

    def decorate(test: Callable[_P, None]) -> Callable[_P, None]:
        for commit in named:
            KILLED_BY.setdefault(commit, set()).add(test.__name__)

        @wraps(test)
        def seen(*args: _P.args, **kwargs: _P.kwargs) -> None:
            killed_at.clear()
            test(*args, **kwargs)
            ends = [point.split(" → ") for point in killed_at]
            passed_by = [commit for commit in named if not {(commit, 0), (commit, 1)} <= _places(ends)]
            assert not passed_by, f"nothing was killed before and after {passed_by}"

        return seen

    return decorate


def _places(ends: list[list[str]]) -> set[tuple[str, int]]:
    """Returns each step with 0 where it was the last one done, with 1 where it was the next."""
    return {(step.partition(", ")[0], place) for end in ends for place, step in enumerate(end)}
