"""The revisions of the schema that this program knows, without reading the migrations."""

from functools import cache
from pathlib import Path

VERSIONS = Path(__file__).parent / "migrations" / "versions"


@cache
def revisions() -> frozenset[str]:
    """Returns the ids of all our migrations: the beginnings of their file names."""
    return frozenset(file.name.partition("_")[0] for file in VERSIONS.glob("[0-9]*_*.py"))
