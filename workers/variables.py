"""Which environment variables each process gets: only the secrets that its own work needs."""

import os
from collections.abc import Collection, Mapping
from typing import Any

from configuration.settings import settings
from desks.registry import open_desks
from edi.config import open_partners

_TOKENS = {"COUNTERMAND_API_TOKEN", "COUNTERMAND_API_TOKEN_PREVIOUS"}


class _Asked(dict[str, str]):
    """An environment that records which variables were read."""

    def __init__(self) -> None:
        super().__init__(os.environ)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """Returns a variable, as `dict.get` does."""
        self.names.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return super().__getitem__(name)


def not_for() -> Mapping[str, Collection[str]]:
    """Returns, for each program, the variables that it does not need. Raises ConfigurationError."""
    named = settings()
    of_desks, of_partners = _Asked(), _Asked()
    open_desks(named.desks, of_desks)
    if named.partners:
        open_partners(named.partners, of_partners)
    desks, partners = of_desks.names - of_partners.names, of_partners.names - of_desks.names
    both = of_desks.names & of_partners.names
    return {
        "worker": partners | _TOKENS,
        "answerer": partners | _TOKENS,
        "exporter": desks | _TOKENS,
        "beat": desks | partners | both | _TOKENS,
        "intake": desks | partners | both | _TOKENS,
        "http": partners,
    }
