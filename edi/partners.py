"""Whom we send to, and where it goes."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Partner:
    """One receiver of interchanges; identifications and qualifiers (code list 0007) as agreed, for UNB."""

    name: str
    our_id: str
    our_qualifier: str
    their_id: str
    their_qualifier: str
    folder: Path
    # Both bound the claim's transaction: for as long as it lasts, requests for its orders wait to be accepted.
    orders_per_interchange: int = 200
    lines_per_interchange: int = 10_000


def default_partner(home: Path) -> Partner:
    """The warehouse that every order goes to while no partner is configured."""
    return Partner(
        name="WAREHOUSE",
        our_id="STORE",
        our_qualifier="14",
        their_id="WAREHOUSE",
        their_qualifier="14",
        folder=home / "edi" / "WAREHOUSE",
    )
