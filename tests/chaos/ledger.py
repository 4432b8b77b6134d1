"""What happened in one run, for people and for programs."""

from collections import Counter
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table

_EXAMPLES = 5
_RESTARTS = ("database stopped", "broker killed", "broker wiped")


@dataclass
class Ledger:
    """What happened; `lost`, `doubled` and `violations` are reported one by one, in words."""

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

    @property
    def kills(self) -> int:
        """How many processes of ours were killed."""
        return sum(times for name, times in self.faults.items() if name.endswith(" killed") and name not in _RESTARTS)

    @property
    def restarts(self) -> int:
        """How often a server was away and came back."""
        return sum(self.faults[name] for name in _RESTARTS)

    def as_json(self) -> dict[str, Any]:
        """Returns it for programs."""
        wrong = {name: getattr(self, name) for name in ("lost", "doubled", "violations")}
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "sent": dict(self.sent),
            "faults": dict(sorted(self.faults.items())),
            "kills": self.kills,
            "restarts": self.restarts,
            "ended": self.ended,
            **{name: len(reported) for name, reported in wrong.items()},
            "examples": {name: reported[:_EXAMPLES] for name, reported in wrong.items() if reported},
        }

    def as_table(self) -> Table:
        """Returns it for people."""
        reported = self.as_json()
        table = Table("what", "how often", title=f"chaos, seed {self.seed}, {self.seconds:.0f} seconds")
        for part in ("sent", "faults", "ended"):
            for name, number in reported[part].items():
                table.add_row(name, f"{number:,}")
            if part == "faults":
                table.add_row("together: processes killed", f"{self.kills:,}")
                table.add_row("together: servers restarted", f"{self.restarts:,}")
            table.add_section()
        for name in ("lost", "doubled", "violations"):
            table.add_row(name, f"{reported[name]:,}", style="red" if reported[name] else "green")
        return table

    def __str__(self) -> str:
        reported = Console(file=StringIO(), width=80)
        reported.print(self.as_table())
        assert isinstance(reported.file, StringIO)
        return reported.file.getvalue()
