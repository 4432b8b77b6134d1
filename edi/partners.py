"""The partners that we send interchanges to: identifications, standard, transport and schedule."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from edi.schedule import Schedule
from edi.transports.directory import DirectoryTransport
from edi.transports.transport import Transport


class Standard(StrEnum):
    """A document standard, with its version."""

    EDIFACT_ORDERS_D96A = "edifact-orders-d96a"
    X12_940_004010 = "x12-940-004010"
    X12_940_005010 = "x12-940-005010"

    @property
    def is_x12(self) -> bool:
        """True for the standards of ASC X12."""
        return self.value.startswith("x12")


class CharacterSet(StrEnum):
    """The characters that a document may contain.

    UNOA, UNOB: the two ASCII sets of ISO 9735, without and with small letters; UNOC: ISO 8859-1. The basic and extended
    sets of X12 (X12.6): upper-case ASCII, and ASCII with small letters.
    """

    UNOA = "UNOA"
    UNOB = "UNOB"
    UNOC = "UNOC"
    X12_BASIC = "x12-basic"
    X12_EXTENDED = "x12-extended"


@dataclass(frozen=True, slots=True)
class Partner:
    """One receiver of interchanges; identifications and qualifiers as agreed, for UNB (code list 0007) or ISA (I05)."""

    name: str
    our_id: str
    our_qualifier: str
    their_id: str
    their_qualifier: str
    transport: Transport
    standard: Standard = Standard.EDIFACT_ORDERS_D96A
    character_set: CharacterSet = CharacterSet.UNOC
    # Marks interchanges as a test: UNB 0035, ISA15.
    test: bool = False
    # Both bound the claim's transaction, because requests for its orders cannot be accepted until it ends.
    orders_per_interchange: int = 500
    lines_per_interchange: int = 10_000
    # The warehouses whose orders it gets; None: all that no other partner gets.
    warehouses: frozenset[str] | None = None
    others: frozenset[str] = frozenset()
    # How long after its validation an order waits before it may be exported, so that the customer can reconsider.
    grace: timedelta = timedelta(0)
    # When interchanges go out; None: as soon as orders are due.
    schedule: Schedule | None = None
    # The first control number that it expects.
    first_control_number: int = 1
    # Whether the next interchange takes over the number of one that never reached it.
    reuses_released_numbers: bool = False
    # How soon it acknowledges an interchange; None: it does not have to.
    acknowledged_within: timedelta | None = None


def served_warehouses(partners: Iterable[Partner]) -> frozenset[str] | None:
    """Returns the warehouses that some partner serves; None if one of them serves all that are left."""
    each = [partner.warehouses for partner in partners]
    return None if None in each else frozenset().union(*(one for one in each if one is not None))


def default_partner(home: Path) -> Partner:
    """Returns the partner that gets every order if no partners file is configured."""
    return Partner(
        name="WAREHOUSE",
        our_id="STORE",
        our_qualifier="14",
        their_id="WAREHOUSE",
        their_qualifier="14",
        transport=DirectoryTransport(home / "edi" / "WAREHOUSE"),
    )
