"""Every document that we make is right in the eyes of programs that others wrote, and says what its order says.

COUNTERMAND_EXAMPLES says how many interchanges hypothesis makes per partner. COUNTERMAND_REAL_ORDERS names a file of
orders (NDJSON, also as .gz) of the warehouses MAIN and NORTH, of which every one is judged once in EDIFACT and once in
X12: in one of them here, the partners taking turns, in the other as the command sends it
(tests/integration/test_export_two_partners.py).
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edi.documents.order import CannotRender, Message, OrderDocument
from edi.documents.standards import assemble, largest_control_number, render_order
from edi.partners import Partner, Standard
from tests.edi_checks import assert_answered, read_edifact, read_x12
from tests.edi_oracles import findings
from tests.edi_orders import MADE_UP, PARTNERS, order_documents, read_orders

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
EXAMPLES = int(os.environ.get("COUNTERMAND_EXAMPLES", "30"))
REAL = os.environ.get("COUNTERMAND_REAL_ORDERS")


def rendered(orders: Sequence[OrderDocument], partner: Partner) -> tuple[list[OrderDocument], list[Message]]:
    """The orders that have a document, and their messages."""
    fitting, messages = [], []
    for order in orders:
        try:
            messages.append(render_order(order, partner))
        except CannotRender:
            continue
        fitting.append(order)
    return fitting, messages


def judge(orders: Sequence[OrderDocument], messages: Sequence[Message], partner: Partner, number: int = 42) -> None:
    """One interchange before all judges."""
    raw = assemble(messages, partner, number, AT)
    assert findings(raw) == []
    if partner.standard.is_x12:
        release = "005010" if partner.standard is Standard.X12_940_005010 else "004010"
        reported = read_x12(raw, release=release, character_set=partner.character_set, test=partner.test)
    else:
        reported = read_edifact(raw, character_set=partner.character_set, test=partner.test)
    assert_answered(reported, orders, partner.character_set)


@pytest.mark.parametrize("partner", PARTNERS.values(), ids=PARTNERS)
def test_what_hypothesis_makes_is_right(partner: Partner) -> None:
    seen, judged = [], []
    largest = largest_control_number(partner.standard)

    @given(st.lists(order_documents(partner), min_size=1, max_size=5), st.integers(1, largest))
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def judge_all(orders: list[OrderDocument], number: int) -> None:
        fitting, messages = rendered(orders, partner)
        seen.extend(orders)
        judged.extend(fitting)
        if messages:
            judge(fitting, messages, partner, number)

    judge_all()
    assert len(judged) > len(seen) / 3, f"only {len(judged)} of {len(seen)} orders had a document"


@pytest.mark.parametrize("partner", PARTNERS.values(), ids=PARTNERS)
def test_a_small_set_of_hard_orders_is_right_for_every_partner(partner: Partner) -> None:
    orders = list(read_orders(MADE_UP))
    fitting, messages = rendered(orders, partner)
    assert len(fitting) > len(orders) / 2
    judge(fitting, messages, partner)


@pytest.mark.parametrize("partner", PARTNERS.values(), ids=PARTNERS)
def test_as_much_of_a_description_as_a_line_may_have_is_right(partner: Partner) -> None:
    order = next(read_orders(MADE_UP))
    lines = tuple(replace(line, description="LANTERN " * 1000) for line in order.lines)
    fitting, messages = rendered([replace(order, lines=lines)], partner)
    judge(fitting, messages, partner)


@pytest.mark.skipif(REAL is None, reason="COUNTERMAND_REAL_ORDERS names no file of orders")
@pytest.mark.parametrize(("warehouse", "is_x12"), [("MAIN", True), ("NORTH", False)])
def test_every_real_order_is_right_in_the_standard_that_its_warehouse_does_not_get(
    warehouse: str, is_x12: bool
) -> None:
    assert REAL is not None
    turns = cycle(partner for partner in PARTNERS.values() if partner.standard.is_x12 == is_x12)
    judged = 0
    for orders, partner in zip(chunks(read_orders(Path(REAL), warehouse), 100), turns, strict=False):
        judge(orders, [render_order(order, partner) for order in orders], partner)
        judged += len(orders)
    assert judged


def chunks(orders: Iterator[OrderDocument], size: int) -> Iterator[list[OrderDocument]]:
    while chunk := list(islice(orders, size)):
        yield chunk
