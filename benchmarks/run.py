"""One run: its sizes, its system, and what was measured so far."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from benchmarks.progress import print_progress
from benchmarks.sizes import Sizes
from benchmarks.system import System

Figures: TypeAlias = dict[str, Any]
Part: TypeAlias = Callable[["Run"], Figures]
_Try = TypeVar("_Try")


class Run:
    """Measures each part once, whether it was asked for by its name or is needed by another."""

    def __init__(self, system: System, sizes: Sizes, parts: Mapping[str, Part]) -> None:
        self.system = system
        self.sizes = sizes
        self.figures: dict[str, Figures] = {}
        self._parts = parts

    def measure(self, name: str) -> Figures:
        """Returns the figures of a part."""
        if name not in self.figures:
            print_progress(f"[bold]{name}[/]")
            self.figures[name] = self._parts[name](self)
        return self.figures[name]


def median_try(tries: Sequence[_Try], figure: Callable[[_Try], float]) -> _Try:
    """Returns the try whose figure is the median; of two in the middle the lower one."""
    return sorted(tries, key=figure)[(len(tries) - 1) // 2]
