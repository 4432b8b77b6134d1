"""Deciding parked requests again: they become undecided anew, and no old decision is replayed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, update

from orders.changes import order_for_the_rules
from orders.locks import AnyRow, lock_numbers_for_accepting, lock_parked
from orders.messages import parse_change
from orders.reading import advice_for
from orders.tables import RequestState, change_request, orders
from rules.decide import decide


@dataclass(frozen=True, slots=True)
class Filter:
    """Which parked requests: all conditions that are given must hold; `since` is when they were received."""

    reason: str | None = None
    since: datetime | None = None
    order: str | None = None


def find_parked(connection: Connection, wanted: Filter) -> Sequence[AnyRow]:
    """Returns the parked requests that are wanted, in the sequence of their acceptance."""
    request = change_request.c
    parked = select(change_request).where(request.state == RequestState.PARKED).order_by(request.id)
    if wanted.reason is not None:
        parked = parked.where(request.reasons.contains([wanted.reason]))
    if wanted.since is not None:
        parked = parked.where(request.received_at >= wanted.since)
    if wanted.order is not None:
        parked = parked.where(request.order_number == wanted.order)
    return connection.execute(parked).all()


def revive(connection: Connection, requests: Sequence[AnyRow]) -> int:
    """Makes these parked requests undecided again; returns how many still were parked.

    They hold their orders back from the export as newly accepted ones do.
    """
    lock_numbers_for_accepting(connection, [row.order_number for row in requests])
    still_parked = lock_parked(connection, [row.id for row in requests])
    now = func.clock_timestamp()
    connection.execute(
        update(change_request)
        .where(change_request.c.id.in_(still_parked), change_request.c.state == RequestState.PARKED)
        .values(
            state=RequestState.RECEIVED,
            parked_at=None,
            reasons=[],
            error=None,
            attempts=0,
            undecided_since=now,
            not_before=now,
        )
    )
    return len(still_parked)


def preview(connection: Connection, requests: Sequence[AnyRow]) -> Iterator[dict[str, Any]]:
    """Says for each request what would be decided now, as the orders are; writes nothing.

    Requests for one order see the order as the earlier ones would leave it.
    """
    numbers = {row.order_number for row in requests}
    known = connection.execute(select(orders).where(orders.c.number.in_(numbers)))
    state = {row.number: order_for_the_rules(row) for row in known}
    for row in requests:
        shown = {"source": row.source, "id": row.external_id, "order": row.order_number, "was": row.reasons}
        if row.order_number not in state:
            yield {**shown, "outcome": None, "reasons": row.reasons, "advice": None}
            continue
        try:
            decision = decide(state[row.order_number], parse_change(row.body).to_rules())
        except Exception as error:  # noqa: BLE001  # whatever parked it would park it again, and that is the answer
            yield {**shown, "outcome": None, "reasons": row.reasons, "advice": None, "error": type(error).__name__}
            continue
        state[row.order_number] = decision.order
        yield {
            **shown,
            "outcome": decision.outcome,
            "reasons": list(decision.reasons),
            "advice": advice_for(decision.reasons),
        }
