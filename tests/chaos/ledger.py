"""What happened in one run, for people and for programs."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

_EXAMPLES = 5


@dataclass
class Ledger:
    """What happened; `lost`, `doubled` and `violations` are told one by one, in words."""

    seed: int
    seconds: float = 0
    sent: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    ended: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """True if nothing is wrong."""
        return not (self.lost or self.doubled or self.violations)

    def as_json(self) -> dict[str, Any]:
        """Returns it for programs."""
        wrong = {name: getattr(self, name) for name in ("lost", "doubled", "violations")}
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "sent": dict(self.sent),
            "faults": dict(sorted(self.faults.items())),
            "ended": self.ended,
            **{name: len(told) for name, told in wrong.items()},
            "examples": {name: told[:_EXAMPLES] for name, told in wrong.items() if told},
        }

    def as_table(self) -> Table:
        """Returns it for people."""
        told = self.as_json()
        table = Table("what", "how often", title=f"chaos, seed {self.seed}, {self.seconds:.0f} seconds")
        for part in ("sent", "faults", "ended"):
            for name, number in told[part].items():
                table.add_row(name, f"{number:,}")
            table.add_section()
        for name in ("lost", "doubled", "violations"):
            table.add_row(name, f"{told[name]:,}", style="red" if told[name] else "green")
        return table
