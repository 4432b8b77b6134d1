"""The document standards behind one interface, chosen by the partner's configuration."""

from collections.abc import Sequence
from datetime import datetime

from edi.documents import edifact, x12
from edi.documents.order import Message, OrderDocument
from edi.partners import CharacterSet, Partner, Standard
from rules.model import Address, AddressFault, AddressRole


def render_order(order: OrderDocument, partner: Partner) -> Message:
    """Returns the order in the partner's standard, without a control number; raises CannotRender."""
    render = x12.render_order if partner.standard.is_x12 else edifact.render_order
    return render(order, partner)


def address_faults(
    role: AddressRole, address: Address, standard: Standard, character_set: CharacterSet
) -> tuple[AddressFault, ...]:
    """Returns why a document of this standard cannot hold an address; empty if it fits whole."""
    if standard.is_x12:
        return x12.address_faults(role, address, standard, character_set)
    return edifact.address_faults(role, address, character_set)


def assemble(messages: Sequence[Message], partner: Partner, control_number: int, prepared_at: datetime) -> bytes:
    """Returns the interchange of these messages; raises ValueError if the standard does not allow it."""
    assemble_all = x12.assemble if partner.standard.is_x12 else edifact.assemble
    return assemble_all(messages, partner, control_number, prepared_at)


def check_partner(partner: Partner) -> None:
    """Raises ValueError if the partner's standard lacks its identifications or its character set."""
    check = x12.check_partner if partner.standard.is_x12 else edifact.check_partner
    check(partner)


def suffix(standard: Standard) -> str:
    """Returns the file name extension of an interchange."""
    return ".x12" if standard.is_x12 else ".edi"


def largest_control_number(standard: Standard) -> int:
    """Returns the last control number that an interchange can carry."""
    return x12.LARGEST_CONTROL_NUMBER if standard.is_x12 else edifact.LARGEST_CONTROL_NUMBER
