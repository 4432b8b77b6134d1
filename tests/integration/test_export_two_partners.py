"""A whole file of orders through the command, to two partners of two standards, and every document before its judges.

By default the orders are made up: the demo's, and the hard ones of `tests/data`. COUNTERMAND_REAL_ORDERS names a file
of real ones (NDJSON, also as .gz), which all go at once: of their pre-orders too the store has released every one.
"""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.demo.generator import make
from edi.documents.order import OrderDocument
from edi.partners import CharacterSet
from tests.builders import rows
from tests.edi_checks import Told, assert_answered, read_edifact, read_x12
from tests.edi_oracles import findings
from tests.edi_orders import MADE_UP, document
from tests.partners_file import configure, north, south
from tests.processes import countermand

REAL = os.environ.get("COUNTERMAND_REAL_ORDERS")
# The real file's two warehouses.
WAREHOUSES = ("MAIN", "NORTH")
# Cities of one character and identifications that X12 cannot hold.
EDIFACT_ALONE = ("SO-10019", "SO-10022", "SO*10100", "SO-1010100000000000000000000000001")
Orders = Mapping[str, dict[str, Any]]


def made_up() -> list[dict[str, Any]]:
    demo = make(orders=450, requests=0, seed=1, now=datetime(2026, 11, 1, tzinfo=UTC), spread=timedelta()).orders
    hard = [json.loads(line) for line in MADE_UP.read_bytes().splitlines()]
    return [
        {**order, "warehouse": WAREHOUSES[turn % 3 == 0 and order["number"] not in EDIFACT_ALONE]}
        for turn, order in enumerate([*demo, *hard])
    ]


def real(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()
    return [{**json.loads(line), "status": "validated"} for line in lines]


@pytest.fixture(
    params=[
        "made up",
        pytest.param("real", marks=pytest.mark.skipif(not REAL, reason="COUNTERMAND_REAL_ORDERS names no file")),
    ]
)
def orders(request: pytest.FixtureRequest) -> Orders:
    """All orders by number, pre-orders among them."""
    return {order["number"]: order for order in (made_up() if request.param == "made up" else real(Path(REAL or "")))}


def run(*arguments: str, code: int = 0) -> Any:
    ended = countermand(*arguments, "--json", env=dict(os.environ))
    assert ended.returncode == code, ended.stderr.decode()
    return json.loads(ended.stdout)


def load(folder: Path, orders: Orders, **changes: str) -> Any:
    file = folder / "orders.ndjson"
    file.write_text("".join(json.dumps({**order, **changes}) + "\n" for order in orders.values()), "utf-8")
    return run("orders", "load", str(file))


def documents(folder: Path, suffix: str) -> Iterator[bytes]:
    """The files of a partner, in the order of their numbers: of that standard, and nothing else."""
    for file in sorted(folder.iterdir()):
        assert file.suffix == suffix
        yield file.read_bytes()


def as_document(order: dict[str, Any]) -> OrderDocument:
    return document(json.dumps(order).encode())


@pytest.mark.usefixtures("system")
def test_every_order_goes_to_its_partner_once_in_documents_that_all_judges_accept(
    orders: Orders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {name: tmp_path / name for name in WAREHOUSES}
    configure(
        tmp_path / "partners.toml",
        {
            "EAST": north(folders["MAIN"], warehouses=["MAIN"], orders_per_interchange=200),
            "WEST": south(folders["NORTH"], warehouses=["NORTH"], orders_per_interchange=100),
        },
        monkeypatch,
    )
    statuses = Counter(order["status"] for order in orders.values())
    assert load(tmp_path, orders)["loaded"] == len(orders)
    first = run("export")
    assert (first["exported"], first["held_back"]) == (statuses["validated"], 0)
    if statuses["pre_order"]:
        assert load(tmp_path, orders, status="validated")["validated"] == statuses["pre_order"]
        second = run("export")
        assert (second["exported"], second["held_back"]) == (statuses["pre_order"], 0)
    reported = [*_judged_edifact(folders["MAIN"], orders), *_judged_x12(folders["NORTH"], orders)]
    assert Counter(one.number for one in reported) == dict.fromkeys(orders, 1)
    assert rows("SELECT edi_state, count(*) FROM orders GROUP BY edi_state") == [("sent", len(orders))]
    audit = run("audit")
    # The server of the tests may lose in a crash of the machine what was committed, and the audit says so.
    warnings = [one for one in audit.get("warnings", []) if " on the database's server: " not in one]
    assert (audit["ok"], warnings) == (True, [])


def _judged_edifact(folder: Path, orders: Orders) -> Iterator[Told]:
    for raw in documents(folder, ".edi"):
        assert findings(raw) == []
        reported = read_edifact(raw, character_set="UNOC", test=False)
        yield from _as_ordered(reported, orders, "MAIN", CharacterSet.UNOC)


def _judged_x12(folder: Path, orders: Orders) -> Iterator[Told]:
    for raw in documents(folder, ".x12"):
        assert findings(raw) == []
        reported = read_x12(raw, release="004010", character_set="x12-extended", test=False)
        yield from _as_ordered(reported, orders, "NORTH", CharacterSet.X12_EXTENDED)


def _as_ordered(reported: list[Told], orders: Orders, warehouse: str, character_set: CharacterSet) -> list[Told]:
    ordered = [orders[one.number] for one in reported]
    assert {order["warehouse"] for order in ordered} == {warehouse}
    assert_answered(reported, [as_document(order) for order in ordered], character_set)
    return reported
