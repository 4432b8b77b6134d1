"""The figures that are judged, against their targets, and the one table that people read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from benchmarks.run import Figures
from cli.terminal import table

# Already expressed by other figures.
_ONLY_IN_THE_JSON = ("requests", "seconds", "tries", "largest_growth")


@dataclass(frozen=True, slots=True)
class Target:
    """One figure, made of what these parts measured, and what it shall be."""

    figure: str
    parts: tuple[str, ...]
    value: Callable[..., float]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    def judge(self, figures: Mapping[str, Figures]) -> dict[str, Any]:
        """Returns the figure with its verdict."""
        value = self.value(*(figures[part] for part in self.parts))
        met = (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)
        wanted = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        return {"figure": self.figure, "value": value, "unit": self.unit, "target": wanted + self.unit, "met": met}


def _per_second(one: Figures, other: Figures) -> float:
    return float(one["requests_per_second"] / other["requests_per_second"])


def _most_against_fewest(growth: Figures) -> float:
    *_, most = growth["by_orders"].values()
    return float(most["against_fewest"])


TARGETS = (
    Target("ours / limit, requests per second", ("ours", "limit"), _per_second, at_least=1.5),
    Target("ours / naive, requests per second", ("ours", "naive"), _per_second, at_least=40),
    Target(
        "one request, idle: published → decided, p50",
        ("latency",),
        lambda latency: latency["idle"]["decided_ms"]["p50"],
        at_most=10,
        unit=" ms",
    ),
    Target(
        "… against the naive one's",
        ("latency", "naive"),
        lambda latency, naive: latency["idle"]["decided_ms"]["p50"] / naive["idle_latency"]["decided_ms"]["p50"],
        at_most=1,
    ),
    Target(
        "at half load: p99 against the idle p50",
        ("latency",),
        lambda latency: latency["half_load_p99_against_idle_p50"],
        at_most=10,
    ),
    Target(
        "export / only rendering",
        ("export",),
        lambda export: export["orders_per_second"] / export["only_rendered_per_second"],
        at_least=0.6,
    ),
    Target("throughput with most orders / with fewest", ("growth",), _most_against_fewest, at_least=0.9),
    Target(
        "largest growth of a process's memory after warm-up",
        ("memory",),
        lambda memory: 100 * memory["largest_growth"],
        at_most=5,
        unit=" %",
    ),
)


def judged(figures: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """Returns every figure that the measured parts allow, with its target."""
    return [target.judge(figures) for target in TARGETS if set(target.parts) <= set(figures)]


def as_table(figures: Mapping[str, Figures]) -> Table:
    """Returns what a person reads: the judged figures, and below them what they are made of."""
    shown = table("figure", "value", "target", "")
    for one in judged(figures):
        value = f"{one['value']:.3g}{one['unit']}"
        shown.add_row(one["figure"], value, one["target"], "[green]met[/]" if one["met"] else "[red]missed[/]")
    for part, measured in figures.items():
        shown.add_section()
        for name, value in _flat(measured):
            shown.add_row(f"{part}: {name}", value)
    return shown


def _flat(figures: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yields one row a figure; what belongs together (percentiles, the processes of one kind) in one row."""
    for name, value in figures.items():
        title = f"{above}{name.replace('_', ' ')}"
        if name in _ONLY_IN_THE_JSON:
            continue
        if not isinstance(value, Mapping):
            yield title, _formatted(value)
        elif any(isinstance(inner, Mapping) for inner in value.values()):
            yield from _flat(value, f"{title}, ")
        else:
            yield title, "  ".join(f"{inner} {_formatted(number)}" for inner, number in value.items())


def _formatted(value: Any) -> str:
    if isinstance(value, list):
        return "  ".join(_formatted(one) for one in value)
    return f"{value:,.3g}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"
