"""Applying changes, second half: decisions written as one set, with all that belongs to them."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from orders import changelog
from orders.changes import Decided, LostGuard, OpenOrder
from orders.reading import address_as_json
from orders.tables import RequestState, change_request, effect, orders
from rules.model import Edi, Effect, Order


def record_decisions(connection: Connection, open_orders: Sequence[OpenOrder], decided: Sequence[Decided]) -> None:
    """Writes decisions with all that belongs to them: orders, changelog, effects. All or nothing, set-based."""
    if not decided:
        return
    _update_orders(connection, open_orders, decided)
    _update_requests(connection, decided)
    changelog.write(connection, [entry for one in decided for entry in _changes(one)])
    connection.execute(insert(effect), [row for one in decided for row in _effects(one)])


def _update_orders(connection: Connection, open_orders: Sequence[OpenOrder], decided: Sequence[Decided]) -> None:
    before: dict[int, Order] = {}
    for one in decided:
        before.setdefault(one.order_id, one.before)
    after = {one.order_id: one.decision.order for one in decided}
    changed = [
        {
            "b_id": opened.id,
            "b_version": opened.version,
            "status": after[opened.id].status,
            "shipping": address_as_json(after[opened.id].shipping.address),
            "billing": address_as_json(after[opened.id].billing.address),
            "shipping_asked_at": after[opened.id].shipping.asked_at,
            "billing_asked_at": after[opened.id].billing.asked_at,
        }
        for opened in open_orders
        if after.get(opened.id) != before.get(opened.id)
    ]
    if not changed:
        return
    guarded = (
        update(orders)
        .where(
            orders.c.id == bindparam("b_id"),
            orders.c.version == bindparam("b_version"),
            orders.c.edi_state == Edi.NOT_SENT,
        )
        # A changed order may be one that can be rendered.
        .values(version=orders.c.version + 1, export_error=None)
    )
    _expect(len(changed), connection.execute(guarded, changed).rowcount, "orders that are not sent")


def _update_requests(connection: Connection, decided: Sequence[Decided]) -> None:
    now = connection.execute(select(func.clock_timestamp())).scalar_one()
    guarded = (
        update(change_request)
        .where(change_request.c.id == bindparam("b_id"), change_request.c.state == RequestState.RECEIVED)
        .values(state=RequestState.DECIDED, decided_at=now, error=None)
    )
    rows = [
        {
            "b_id": one.request.id,
            "outcome": one.decision.outcome,
            "reasons": list(one.decision.reasons),
            "decided_place": place,
        }
        for place, one in enumerate(decided)
    ]
    _expect(len(rows), connection.execute(guarded, rows).rowcount, "undecided requests")


def _expect(expected: int, found: int, what: str) -> None:
    if found != expected:
        raise LostGuard(f"{found} of {expected} {what} could be written: the others changed under their lock")


def _changes(one: Decided) -> Iterator[changelog.Entry]:
    """Says what a decision changed, one entry a change; nothing for a decision that changed nothing."""
    before, after = one.before, one.decision.order
    actor = f"helpdesk:{one.request.source}"
    note = (one.message.data.note or "").strip() or None
    if before.status is not after.status:
        yield changelog.Entry(
            one.order_id,
            actor,
            changelog.Action(after.status),
            one.request.id,
            note=note,
            before={"status": before.status},
            after={"status": after.status},
        )
    for name, action in (
        ("shipping", changelog.Action.SHIPPING_ADDRESS_CHANGED),
        ("billing", changelog.Action.BILLING_ADDRESS_CHANGED),
    ):
        was, is_now = getattr(before, name), getattr(after, name)
        if was != is_now:
            yield changelog.Entry(
                one.order_id,
                actor,
                action,
                one.request.id,
                note=note,
                before={name: address_as_json(was.address)},
                after={name: address_as_json(is_now.address)},
            )


def _effects(one: Decided) -> Iterator[dict[str, Any]]:
    for kind in one.decision.effects:
        payload = {"order_id": one.order_id} if kind is Effect.RESTOCK else {}
        yield {"change_request_id": one.request.id, "kind": kind, "payload": payload}
