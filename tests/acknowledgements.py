"""What partners answer to interchanges, and reading it as the exporter does."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from database.transactions import in_transaction
from edi import interchanges, reading
from edi.interchanges import InFlight
from edi.partners import Partner
from edi.transports.directory import DirectoryTransport
from orders.audit import audit
from tasks.export import iterate_export
from tasks.receipts import read_inbox
from tests.builders import an_order, load, rows


def folder_of(partner: Partner) -> DirectoryTransport:
    assert isinstance(partner.transport, DirectoryTransport)
    return partner.transport


PATIENCE = timedelta(minutes=15)


def the_partner(home: Path) -> Partner:
    """An EDIFACT partner with an inbox, in a home that a killed process knows too."""
    return Partner(
        name="NORTH",
        our_id="SHOP01",
        our_qualifier="14",
        their_id="WH01",
        their_qualifier="14",
        transport=DirectoryTransport(home / "out", home / "in"),
        acknowledged_within=timedelta(hours=2),
    )


DESADV = b"UNB+UNOA:3+WH01:14+SHOP01:14+261123:0945+5'UNH+1+DESADV:D:96A:UN'BGM+351+1+9'UNT+3+1'UNZ+1+5'"


def contrl(number: int, action: str = "7", *, reference: str = "77", more: str = "") -> bytes:
    """A CONTRL of the partner's about one of our interchanges."""
    body = f"UCI+{number}+SHOP01:14+WH01:14+{action}'{more}"
    return (
        f"UNB+UNOA:3+WH01:14+SHOP01:14+261123:0945+{reference}'UNH+1+CONTRL:D:3:UN'{body}"
        f"UNT+{body.count(chr(39)) + 2}+1'UNZ+1+{reference}'"
    ).encode("latin-1")


def x12(body: str, *, groups: int, number: int = 77) -> bytes:
    """An interchange of the X12 partner's."""
    return (
        f"ISA*00*{'':10}*00*{'':10}*ZZ*{'WH02':15}*ZZ*{'SHOP01':15}*261123*0945*U*00401*{number:09d}*0*P*>~"
        f"{body}IEA*{groups}*{number:09d}~"
    ).encode("latin-1")


def functional(status: str, number: int) -> bytes:
    """A 997 about one of our groups, in an interchange of the same number."""
    sets = f"ST*997*0001~AK1*OW*{number}~AK9*{status}*1*1*{int(status == 'A')}~SE*4*0001~"
    return x12(f"GS*FA*WH02*SHOP01*20261123*0945*7*X*004010~{sets}GE*1*7~", groups=1, number=number + 500)


def put(partner: Partner, name: str, content: bytes) -> None:
    """Puts a file into our inbox, as the partner does."""
    assert isinstance(partner.transport, DirectoryTransport)
    assert partner.transport.inbox is not None
    (partner.transport.inbox / name).write_bytes(content)


def waiting(partner: Partner) -> list[str]:
    """The files that are still in the inbox."""
    return partner.transport.list_inbox()


def receive(partner: Partner, *contents: bytes) -> None:
    """Lets the partner put files into the inbox, and reads them."""
    for place, content in enumerate(contents):
        put(partner, f"{len(received()) + place:03d}.edi", content)
    read_inbox(partner)
    assert waiting(partner) == []


def received() -> list[dict[str, Any]]:
    return list(reversed(in_transaction(reading.list_received)))


def states() -> list[str]:
    return [one["state"] for file in received() for one in file["acknowledgements"]]


def interchange(partner: Partner, number: int = 1) -> dict[str, Any]:
    found = in_transaction(lambda connection: reading.show_interchange(connection, partner.name, number))
    assert found is not None
    return found


def send(partner: Partner, *numbers: str) -> None:
    load(*(an_order(number) for number in numbers or ("1001",)))
    assert next(iterate_export(partner)).state == "sent"


def claim(partner: Partner) -> InFlight:
    load(an_order())
    found = in_transaction(lambda connection: interchanges.claim(connection, partner, patience=PATIENCE)).interchange
    assert found is not None
    return found


def audited() -> dict[str, Any]:
    found = in_transaction(lambda connection: audit(connection, patience=PATIENCE))
    assert [check for check in found["checks"] if check["violations"]] == []
    return found


def let_the_lease_run_out() -> None:
    rows("UPDATE interchange SET lease_until = now() - interval '1 second' RETURNING id")
