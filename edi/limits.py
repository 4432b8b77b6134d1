"""What the documents of a warehouse's partner can say of an address, asked before a customer is told it is changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from edi.documents.standards import address_faults
from edi.partners import CharacterSet, Partner, Standard
from rules.model import Address, AddressFault, AddressRole


@dataclass(frozen=True, slots=True)
class Limits:
    """As much of a partner as limits an address, without its transport and the secrets of that.

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
        """Tells whether orders of this warehouse go to this partner."""
        return warehouse not in self.others if self.warehouses is None else warehouse in self.warehouses


def faults_for(
    all_limits: Sequence[Limits], warehouse: str, role: AddressRole, address: Address
) -> tuple[AddressFault, ...]:
    """Returns what the document for a warehouse could not say of an address.

    None if all of it goes in, or if no partner serves the warehouse: its orders go nowhere until one does.
    """
    for limits in all_limits:
        if limits.count_for(warehouse):
            return address_faults(role, address, limits.standard, limits.character_set)
    return ()
