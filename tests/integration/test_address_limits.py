"""An address that the warehouse's document cannot say is refused with the reason, whoever decides; others are sent."""

from pathlib import Path
from typing import Any

import pytest

from database.transactions import in_transaction
from orders.inbox import Delivery
from orders.reprocessing import Filter
from orders.request_retries import MAX_ATTEMPTS, count_failure
from tasks import export
from tasks.changes import apply_changes
from tasks.effects import notify
from tasks.intake import take
from tasks.partners import partners
from tasks.reprocessing import iterate_previews
from tests.builders import a_request, an_address, an_order, deliver, encoded, load, order, request, rows, settle
from tests.partners_file import configure, north, south

pytestmark = pytest.mark.usefixtures("system")

LONG_CITY = an_address(city="C" * 36)
SINGAPORE = an_address(line1="1 Raffles Place", city="", country="SG", postal_code="048616")


def to(address: dict[str, Any], number: str = "1001", **changes: Any) -> dict[str, Any]:
    return a_request(number, "change_address", addresses={"shipping": address}, **changes)


def decided_by_the_intake(event: dict[str, Any]) -> None:
    take([Delivery("test", None, encoded(event))])
    assert request(event)["state"] == "decided"


def decided_by_a_worker(event: dict[str, Any]) -> None:
    deliver(event)
    apply_changes()


@pytest.mark.parametrize("decide", [decided_by_the_intake, decided_by_a_worker])
def test_what_cannot_be_said_is_refused_with_the_reason(decide: Any) -> None:
    load(an_order())
    event = to(LONG_CITY, language="it")
    decide(event)
    notify()
    reported = request(event)
    assert (reported["outcome"], reported["reasons"]) == ("refused", ["invalid_address"])
    assert "In the shipping address, the city is longer than fits (at most 35 characters)." in reported["advice"]
    assert (
        "Nell'indirizzo di spedizione, la città supera lo spazio disponibile (al massimo 35 caratteri)."
        in reported["notification"]["body"]
    )
    assert order()["shipping"] == an_address()
    assert rows("SELECT address_faults FROM change_request")[0].address_faults == [
        {"role": "shipping", "part": "city", "problem": "too_long", "limit": 35}
    ]


@pytest.mark.parametrize("decide", [decided_by_the_intake, decided_by_a_worker])
def test_an_address_without_a_city_is_changed_and_goes_to_the_warehouse(decide: Any) -> None:
    load(an_order(shipping=an_address(city="Singapore", country="SG", postal_code="018956")))
    event = to(SINGAPORE)
    decide(event)
    assert request(event)["reasons"] == ["shipping_address_changed"]
    [sent] = [step for step in export.iterate_export(partners()[0]) if step.claim.interchange]
    assert sent.claim.interchange is not None
    assert b"+1 Raffles Place+Singapore++048616+SG'" in sent.claim.interchange.content
    assert sent.claim.held_back == 0


def test_the_partner_of_the_order_s_own_warehouse_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"NORTH": north(tmp_path / "north"), "SOUTH": south(tmp_path / "south")}
    configure(tmp_path / "partners.toml", tables, monkeypatch)
    load(*(an_order(number, warehouse=number) for number in ("NORTH", "SOUTH", "WEST")))
    address = an_address(city="C" * 33)
    events = {number: to(address, number) for number in ("NORTH", "SOUTH", "WEST")}
    deliver(*events.values())
    settle()
    assert {number: request(event)["reasons"] for number, event in events.items()} == {
        "NORTH": ["shipping_address_changed"],
        "SOUTH": ["invalid_address"],
        "WEST": ["shipping_address_changed"],
    }


def test_a_dry_run_of_reprocessing_says_what_would_be_refused_and_why() -> None:
    event = to(LONG_CITY)
    load(an_order())
    deliver(event)
    [[failing]] = rows("SELECT id FROM change_request")
    for _ in range(MAX_ATTEMPTS):
        in_transaction(lambda connection: count_failure(connection, failing, "it failed"))
    [shown] = iterate_previews(Filter())
    assert shown["reasons"] == ["invalid_address"]
    assert "the city is longer than fits (at most 35 characters)" in shown["advice"]


def test_a_later_request_of_the_same_batch_is_reported_of_its_own_address_alone() -> None:
    load(an_order())
    wrong, right = to(LONG_CITY), to(an_address(city="Bonn"))
    deliver(wrong, right)
    settle()
    assert [request(one)["reasons"] for one in (wrong, right)] == [["invalid_address"], ["shipping_address_changed"]]
    assert [row.address_faults is None for row in rows("SELECT address_faults FROM change_request ORDER BY id")] == [
        False,
        True,
    ]
