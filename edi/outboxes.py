"""The content of a partner's outbox, compared with the database: after a restore the two may contradict each other."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from database.tables import InterchangeState, interchange
from database.tables import partner as partner_table
from edi.partners import Partner
from edi.transports.transport import DeliveryConflict, TransportError

# The newest files whose bytes are compared, each by a connection of its own where that is SFTP.
_COMPARED = 5
_HELP = "if an older backup was restored, see `countermand partners next-number`"


@dataclass(frozen=True, slots=True)
class Known:
    """What the database has of the interchanges that lie in an outbox; `contents` are those that may lie there."""

    last_number: int
    contents: Mapping[str, bytes]


def numbers_in(partner: Partner, names: Sequence[str]) -> dict[int, str]:
    """Returns which of these names are those of the partner's interchanges, by control number."""
    ours = re.compile(rf"{re.escape(partner.name)}-([0-9]{{9,14}})\.(?:edi|x12)")
    return {int(found[1]): name for name in names if (found := ours.fullmatch(name))}


def known(connection: Connection, partner: Partner, numbers: Mapping[int, str]) -> Known:
    """Returns what the database has of these numbers. To be asked after the outbox was listed."""
    counter = select(partner_table.c.last_control_number).where(partner_table.c.name == partner.name)
    # One that was released may have been put aside for the very file that lies there.
    stored = select(interchange.c.filename, interchange.c.content).where(
        interchange.c.partner == partner.name,
        interchange.c.control_number.in_(numbers),
        interchange.c.state != InterchangeState.RELEASED,
    )
    newest = stored.order_by(interchange.c.control_number.desc()).limit(_COMPARED)
    contents = {row.filename: bytes(row.content) for row in connection.execute(newest)}
    last = connection.execute(counter).scalar_one_or_none()
    return Known(partner.first_control_number - 1 if last is None else last, contents)


def contradictions(partner: Partner, numbers: Mapping[int, str], found: Known) -> list[str]:
    """Returns what is in the outbox under a number that is still to come, or with other bytes than were stored.

    What cannot be looked at any more is left out.
    """
    later = [
        f"partner {partner.name}: {name} lies in its outbox, and the counter stands at {found.last_number}: {_HELP}"
        for number, name in sorted(numbers.items())
        if number > found.last_number
    ]
    return later + [
        warning for name, content in found.contents.items() for warning in _other_bytes(partner, name, content)
    ]


def _other_bytes(partner: Partner, name: str, content: bytes) -> list[str]:
    try:
        partner.transport.is_present(name, content)
    except DeliveryConflict:
        return [
            f"partner {partner.name}: {name} in its outbox has other bytes than the interchange of this name: {_HELP}"
        ]
    except TransportError:
        return []
    return []
