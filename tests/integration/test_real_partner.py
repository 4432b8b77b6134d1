"""A warehouse that others wrote: mock-edi as a process of its own, with a folder to drop into and one to collect from.

It reads our interchanges, books the orders, answers CONTRL, and knows a number that it has had before.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from database.transactions import in_transaction
from edi import reading
from edi.partners import Partner
from edi.transports.directory import DirectoryTransport
from tasks.export import iterate_export, resend
from tasks.receipts import read_inbox
from tests.builders import an_order, load, order
from tests.processes import await_that
from workers.embedded.valkey import _free_port

pytestmark = pytest.mark.usefixtures("system")


@pytest.fixture
def partner(home: Path) -> Partner:
    """The warehouse as we know it."""
    for folder in ("drop", "pickup"):
        (home / folder).mkdir(parents=True)
    transport = DirectoryTransport(home / "drop", home / "pickup")
    return Partner("NORTH", "SHOP01", "14", "WH01", "14", transport)


@pytest.fixture
def warehouse(partner: Partner, home: Path) -> Iterator[httpx2.Client]:
    """The warehouse itself, and what it tells of itself by HTTP."""
    port = _free_port("")
    command = [sys.executable, "-m", "mockedi", "--port", port, "--as2-id", "WH01", "--qualifier", "14", "--quiet"]
    folders = ["--drop-dir", str(home / "drop"), "--pickup-dir", str(home / "pickup"), "--drop-interval-ms", "50"]
    with (
        subprocess.Popen([*command, *folders, "--drop-settle-ms", "0"]) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client,
    ):
        try:
            await_that(lambda: _is_up(client), "the warehouse is open")
            store = {"id": "SHOP01", "name": "Store", "dialect": "EDIFACT", "qualifier": "14", "test": 0}
            client.post("/_mock/partners", json=store).raise_for_status()
            yield client
        finally:
            process.kill()


def _is_up(client: httpx2.Client) -> bool:
    try:
        return client.get("/_mock/state").is_success
    except httpx2.TransportError:
        return False


def interchange() -> dict[str, Any]:
    found = in_transaction(lambda connection: reading.show_interchange(connection, "NORTH", 1))
    assert found is not None
    return found


def answered(partner: Partner, times: int) -> bool:
    """Reads the inbox, and tells whether so many answers to our interchange have come."""
    read_inbox(partner)
    return len(interchange()["acknowledgements"]) == times


def booked(warehouse: httpx2.Client) -> list[str]:
    """The numbers of the orders that the warehouse has of ours; it begins with some of others."""
    return sorted(one["po_number"] for one in warehouse.get("/_mock/orders").json() if one["partner"] == "SHOP01")


def test_a_warehouse_books_our_orders_and_acknowledges_and_a_second_copy_is_a_duplicate_and_no_second_order(
    partner: Partner, warehouse: httpx2.Client
) -> None:
    load(an_order("1"), an_order("2"))
    assert next(iterate_export(partner)).state == "sent"
    await_that(lambda: answered(partner, 1), "the interchange is acknowledged")
    assert interchange()["state"] == "acknowledged"
    assert booked(warehouse) == ["1", "2"]
    # It has collected the file: nothing under the name tells us that it had been there.
    assert isinstance(partner.transport, DirectoryTransport)
    assert [file.name for file in partner.transport.folder.iterdir() if file.is_file()] == []
    resend(partner, 1)
    await_that(lambda: answered(partner, 2), "the copy is answered")
    assert [one["verdict"] for one in interchange()["acknowledgements"]] == ["acknowledged", "duplicate"]
    assert interchange()["state"] == "acknowledged"
    assert booked(warehouse) == ["1", "2"]
    assert order("1")["edi"] == "sent"
