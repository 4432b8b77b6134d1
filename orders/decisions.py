"""Applying changes, second half: decisions written as one set, with all that belongs to them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, text

from orders import changelog
from orders.changes import Decided, LostGuard, OpenOrder
from orders.reading import address_as_json
from rules.model import Address, Effect, Order

# One statement, as a lone request waits for every round trip. It takes its rows as JSON parameters, so that it is the
# same for any number of rows and is prepared once. The locks of the orders are had before it. What follows a decision
# is written for those that were, so that a lost guard is told as what it is.
_RECORD = text(
    f"""
    WITH changed_orders AS (
        UPDATE orders SET status = changed.status, version = orders.version + 1,
            shipping = coalesce(changed.shipping, orders.shipping),
            billing = coalesce(changed.billing, orders.billing),
            shipping_asked_at = changed.shipping_asked_at, billing_asked_at = changed.billing_asked_at,
            -- A changed order may be one that can be rendered.
            export_error = NULL
        FROM jsonb_to_recordset(CAST(:orders AS jsonb)) AS changed (id bigint, version int, status text, shipping jsonb,
            billing jsonb, shipping_asked_at timestamptz, billing_asked_at timestamptz)
        WHERE orders.id = changed.id AND orders.version = changed.version AND edi_state = 'not_sent'
        RETURNING 1
    ), decided_requests AS (
        UPDATE change_request SET state = 'decided', decided_at = statement_timestamp(), decided_place = decided.place,
            outcome = decided.outcome, reasons = decided.reasons, error = NULL
        FROM jsonb_to_recordset(CAST(:requests AS jsonb)) AS decided (id bigint, outcome text, reasons text[],
            place int)
        -- Not `=`: for that the planner would go through all that is undecided, once a row.
        WHERE change_request.id = decided.id AND state IS NOT DISTINCT FROM 'received'
        RETURNING change_request.id
    ), logged AS (
        {changelog.insert("WHERE change_request_id = ANY(ARRAY(SELECT id FROM decided_requests))")}
    ), follows AS (
        INSERT INTO effect (change_request_id, kind, payload)
        SELECT request, kind, payload
        FROM jsonb_to_recordset(CAST(:effects AS jsonb)) AS follows (request bigint, kind text, payload jsonb)
        WHERE request = ANY(ARRAY(SELECT id FROM decided_requests))
        RETURNING id, kind
    )
    SELECT (SELECT count(*) FROM changed_orders) AS orders, (SELECT count(*) FROM decided_requests) AS requests,
        (SELECT jsonb_object_agg(kind, ids) FROM (
            SELECT kind, jsonb_agg(id ORDER BY id) AS ids FROM follows GROUP BY kind) AS by_kind) AS effects
    """  # noqa: S608  # our own constants
)


def record_decisions(
    connection: Connection, open_orders: Sequence[OpenOrder], decided: Sequence[Decided]
) -> dict[Effect, list[int]]:
    """Writes decisions with all that belongs to them: orders, changelog, effects. All or nothing, set-based.

    Returns the ids of the effects by their kind.
    """
    if not decided:
        return {kind: [] for kind in Effect}
    changed, requests = _changed_orders(open_orders, decided), _decided_requests(decided)
    entries = changelog.as_rows([entry for one in decided for entry in _changes(one)])
    rows = {
        # Alone has moments in it.
        "orders": json.dumps(changed, default=str),
        "requests": json.dumps(requests),
        "entries": json.dumps(entries),
        "effects": json.dumps([row for one in decided for row in _effects(one)]),
    }
    written = connection.execute(_RECORD, rows).one()
    _expect(len(changed), written.orders, "orders that are not sent")
    _expect(len(requests), written.requests, "undecided requests")
    return {kind: (written.effects or {}).get(kind, []) for kind in Effect}


def _changed_orders(open_orders: Sequence[OpenOrder], decided: Sequence[Decided]) -> list[dict[str, Any]]:
    before: dict[int, Order] = {}
    for one in decided:
        before.setdefault(one.order_id, one.before)
    after = {one.order_id: one.decision.order for one in decided}
    return [
        _changed(opened, before[opened.id], after[opened.id])
        for opened in open_orders
        if after.get(opened.id) != before.get(opened.id)
    ]


def _changed(opened: OpenOrder, before: Order, after: Order) -> dict[str, Any]:
    return {
        "id": opened.id,
        "version": opened.version,
        "status": after.status,
        "shipping": _if_changed(before.shipping.address, after.shipping.address),
        "billing": _if_changed(before.billing.address, after.billing.address),
        "shipping_asked_at": after.shipping.asked_at,
        "billing_asked_at": after.billing.asked_at,
    }


def _if_changed(before: Address, after: Address) -> dict[str, str] | None:
    return None if after == before else address_as_json(after)


def _decided_requests(decided: Sequence[Decided]) -> list[dict[str, Any]]:
    return [
        {"id": one.request.id, "outcome": one.decision.outcome, "reasons": one.decision.reasons, "place": place}
        for place, one in enumerate(decided)
    ]


def _expect(expected: int, found: int, what: str) -> None:
    if found != expected:
        raise LostGuard(f"{found} of {expected} {what} could be written: the others changed under their lock")


def changes(before: Order, after: Order) -> Iterator[tuple[changelog.Action, dict[str, Any], dict[str, Any]]]:
    """Says what a decision changes of its order, each change with what was and what is then."""
    if before.status is not after.status:
        yield changelog.Action(after.status), {"status": before.status}, {"status": after.status}
    for name, action in (
        ("shipping", changelog.Action.SHIPPING_ADDRESS_CHANGED),
        ("billing", changelog.Action.BILLING_ADDRESS_CHANGED),
    ):
        was, is_now = getattr(before, name), getattr(after, name)
        if was != is_now:
            yield action, {name: address_as_json(was.address)}, {name: address_as_json(is_now.address)}


def _changes(one: Decided) -> Iterator[changelog.Entry]:
    actor = f"helpdesk:{one.request.source}"
    note = (one.message.data.note or "").strip() or None
    for action, before, after in changes(one.before, one.decision.order):
        yield changelog.Entry(one.order_id, actor, action, one.request.id, note=note, before=before, after=after)


def _effects(one: Decided) -> Iterator[dict[str, Any]]:
    for kind in one.decision.effects:
        payload = {"order_id": one.order_id} if kind is Effect.RESTOCK else {}
        yield {"request": one.request.id, "kind": kind, "payload": payload}
