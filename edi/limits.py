"""Whether a partner's documents can hold an address, checked before an address change is applied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from edi.documents.standards import address_faults
from edi.partners import CharacterSet, Partner, Standard
from rules.model import Address, AddressFault, AddressRole


@dataclass(frozen=True, slots=True)
class Limits:
    """The part of a partner that limits addresses, without its transport and the transport's secrets.

    The fields are those of `Partner`.
    """

    standard: Standard
    character_set: CharacterSet
    warehouses: frozenset[str] | None
    others: frozenset[str]

    @classmethod
    def of(cls, partner: Partner) -> Self:
        """Returns the limits of a partner."""
        return cls(partner.standard, partner.character_set, partner.warehouses, partner.others)

    def count_for(self, warehouse: str) -> bool:
        """Returns True if orders of this warehouse go to this partner."""
        return warehouse not in self.others if self.warehouses is None else warehouse in self.warehouses


def faults_for(
    all_limits: Sequence[Limits], warehouse: str, role: AddressRole, address: Address
) -> tuple[AddressFault, ...]:
    """Returns why the documents for a warehouse cannot hold an address.

    Empty if it fits, or if no partner serves the warehouse: its orders are not exported until one does.
    """
    for limits in all_limits:
        if limits.count_for(warehouse):
            return address_faults(role, address, limits.standard, limits.character_set)
    return ()
