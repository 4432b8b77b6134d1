"""Deciding parked requests again: they become undecided anew, and no old decision is replayed.

They are taken slice by slice, so that a transaction is short whatever their number, and order by order, so that what
is known of one order is enough.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, func, literal_column, select, tuple_, update

from database.locks import lock_numbers_for_accepting, lock_parked
from database.order_numbers import order_meant
from database.queries import AnyRow, is_one_of
from database.tables import RequestState, change_request, constant, orders
from orders.changes import AddressCheck, faults_of, order_for_the_rules
from orders.decisions import changes
from orders.messages import parse_change
from orders.reading import advice_for
from rules.decide import decide
from rules.model import Order, ParkedReason


@dataclass(frozen=True, slots=True)
class Filter:
    """Which parked requests: all conditions that are given must hold; `since` is when they were received."""

    reason: str | None = None
    since: datetime | None = None
    order: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a slice ended: at which request of which order, and how a preview leaves that order."""

    number: str = ""
    request_id: int = 0
    order: Order | None = None


BEGINNING = Place()

_MEANT = literal_column(order_meant("change_request.order_number"), Text)


def count_parked(connection: Connection, wanted: Filter) -> int:
    """Returns how many parked requests are wanted."""
    return connection.execute(select(func.count()).select_from(change_request).where(*_is(wanted))).scalar_one()


def find_parked(
    connection: Connection, wanted: Filter, after: Place = BEGINNING, *, limit: int | None = None
) -> Sequence[AnyRow]:
    """Returns the next parked requests that are wanted, by order number, those of one order as they were accepted."""
    request = change_request.c
    return connection.execute(_parked(wanted, after, limit, request.id, request.order_number)).all()


def _parked(wanted: Filter, after: Place, limit: int | None, *columns: ColumnElement[Any]) -> Select[Any]:
    request = change_request.c
    parked = select(*columns).where(*_is(wanted)).order_by(request.order_number, request.id).limit(limit)
    place = tuple_(request.order_number, request.id) > tuple_(after.number, after.request_id)
    return parked if after == BEGINNING else parked.where(place)


def _is(wanted: Filter) -> list[ColumnElement[bool]]:
    request = change_request.c
    conditions = [request.state == constant(RequestState.PARKED)]
    if wanted.reason is not None:
        conditions.append(request.reasons.contains([wanted.reason]))
    if wanted.since is not None:
        conditions.append(request.received_at >= wanted.since)
    if wanted.order is not None:
        conditions.append(request.order_number == wanted.order)
    return conditions


def revive(connection: Connection, requests: Sequence[AnyRow]) -> int:
    """Makes these parked requests undecided again; returns how many still were parked.

    They hold their orders back from the export as newly accepted ones do.
    """
    lock_numbers_for_accepting(connection, [row.order_number for row in requests])
    return _revive(connection, [row.id for row in requests])


def revive_unknown(connection: Connection, numbers: Sequence[str]) -> int:
    """Makes requests undecided again that were parked because these orders were not known; returns how many.

    Comes after `lock_numbers_for_accepting` with these numbers.
    """
    request = change_request.c
    parked = select(request.id).where(
        request.state == constant(RequestState.PARKED),
        is_one_of(request.order_number, numbers),
        request.reasons.contains([ParkedReason.UNKNOWN_ORDER]),
    )
    ids = connection.scalars(parked).all()
    return _revive(connection, ids) if ids else 0


def _revive(connection: Connection, ids: Sequence[int]) -> int:
    still_parked = lock_parked(connection, ids)
    now = func.clock_timestamp()
    connection.execute(
        update(change_request)
        .where(
            is_one_of(change_request.c.id, still_parked),
            change_request.c.state.is_not_distinct_from(RequestState.PARKED),
        )
        .values(
            state=RequestState.RECEIVED,
            parked_at=None,
            reasons=[],
            error=None,
            attempts=0,
            undecided_since=now,
            not_before=now,
            # The order may have come since, under another spelling.
            order_number=_MEANT,
        )
    )
    return len(still_parked)


@dataclass(frozen=True, slots=True)
class Preview:
    """A slice of what would be decided now, and the place where it ended."""

    shown: Sequence[Mapping[str, Any]]
    place: Place


def preview(
    connection: Connection,
    wanted: Filter,
    after: Place = BEGINNING,
    *,
    check: AddressCheck,
    limit: int | None = None,
) -> Preview:
    """Says for each of the next parked requests what would be decided now, as the orders are; writes nothing.

    Requests for one order see the order as the earlier ones would leave it.
    """
    requests = connection.execute(_parked(wanted, after, limit, *change_request.c, _MEANT.label("meant"))).all()
    numbers = list({row.meant for row in requests})
    known = {row.number: row for row in connection.execute(select(orders).where(is_one_of(orders.c.number, numbers)))}
    shown, place = [], after
    for row in requests:
        left = place.order if place.number == row.order_number else None
        said, order = _would_be(row, left, known.get(row.meant), check)
        place = Place(row.order_number, row.id, order)
        shown.append(
            {
                "source": row.source,
                "id": row.external_id,
                "order": row.order_number,
                "kind": row.kind,
                "was": row.reasons,
                **said,
            }
        )
    return Preview(shown, place)


def _would_be(
    request: AnyRow, left: Order | None, known: AnyRow | None, check: AddressCheck
) -> tuple[dict[str, Any], Order | None]:
    """Returns what would be decided of one request, and how that leaves its order."""
    parked_again = {"outcome": None, "reasons": request.reasons, "advice": None, "changes": []}
    if known is None:
        return {**parked_again, "reasons": [ParkedReason.UNKNOWN_ORDER]}, None
    try:
        before = left or order_for_the_rules(known)
        asked = parse_change(request.body).to_rules(request.received_at)
        decision = decide(before, asked, faults_of(asked, known.warehouse, check))
    except Exception as error:  # noqa: BLE001  # whatever it is, it would park the request, and that is the answer
        return {**parked_again, "reasons": [ParkedReason.FAILED_REPEATEDLY], "error": type(error).__name__}, left
    said = {
        "outcome": decision.outcome,
        "reasons": list(decision.reasons),
        "advice": advice_for(decision.reasons, decision.faults),
        "changes": [
            {"action": action, "before": was, "after": then} for action, was, then in changes(before, decision.order)
        ],
    }
    return said, decision.order
