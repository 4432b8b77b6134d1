"""Applying changes, second half: decisions written as one set, with all that belongs to them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, TypeAlias

from sqlalchemy import Connection, TextClause, text

from orders import changelog, inbox
from orders.changes import Decided, OpenOrder, StaleRowError, Waiting
from orders.inbox import IncomingRequest
from orders.reading import address_as_json
from rules.model import Address, Edi, Effect, Order
from rules.table import ESCALATING

Effects: TypeAlias = Mapping[Effect, Sequence[int]]

_ADDRESS_CHANGES = (changelog.Action.SHIPPING_ADDRESS_CHANGED, changelog.Action.BILLING_ADDRESS_CHANGED)

# One statement, as a lone request waits for every round trip. It takes its rows as JSON parameters, so that it is the
# same for any number of rows and is prepared once. The orders are locked before it. Entries and effects name
# a request by its place in the batch, as one that has just arrived gets its id here. They are written for those
# that were inserted or updated, so that a stale row is reported as such; the caller then rolls back.
_ITS_REQUEST = "(SELECT ids FROM written)[place + 1]"


def _statement(decided_requests: str) -> TextClause:
    return text(
        f"""
        WITH changed_orders AS (
            UPDATE orders SET status = changed.status, version = orders.version + 1,
                shipping = coalesce(changed.shipping, orders.shipping),
                billing = coalesce(changed.billing, orders.billing),
                shipping_asked_at = changed.shipping_asked_at, billing_asked_at = changed.billing_asked_at,
                -- A changed order may be one that can be rendered.
                export_error = NULL
            FROM jsonb_to_recordset(CAST(:orders AS jsonb)) AS changed (id bigint, version int, status text,
                shipping jsonb, billing jsonb, shipping_asked_at timestamptz, billing_asked_at timestamptz)
            WHERE orders.id = changed.id AND orders.version = changed.version AND edi_state = 'not_sent'
            RETURNING 1
        ), decided_requests AS (
            {decided_requests}
        ), written AS (
            SELECT array_agg(id ORDER BY place) AS ids FROM decided_requests
        ), logged AS (
            {changelog.insert_statement(_ITS_REQUEST, where=f"{_ITS_REQUEST} IS NOT NULL")}
        ), follows AS (
            INSERT INTO effect (change_request_id, kind, payload)
            SELECT {_ITS_REQUEST}, kind, payload
            FROM jsonb_to_recordset(CAST(:effects AS jsonb)) AS follows (place int, kind text, payload jsonb)
            WHERE {_ITS_REQUEST} IS NOT NULL
            RETURNING id, kind
        ), held AS (
            INSERT INTO escalation_hold (order_id, reason, change_request_id, held_until)
            SELECT order_id, reason, {_ITS_REQUEST}, statement_timestamp() + CAST(:hold AS interval)
            FROM jsonb_to_recordset(CAST(:holds AS jsonb)) AS holds (place int, order_id bigint, reason text)
            WHERE {_ITS_REQUEST} IS NOT NULL ORDER BY place
            -- The same reason has held this order before.
            ON CONFLICT DO NOTHING
        )
        SELECT (SELECT count(*) FROM changed_orders) AS orders, (SELECT count(*) FROM decided_requests) AS requests,
            (SELECT jsonb_object_agg(kind, ids) FROM (
                SELECT kind, jsonb_agg(id ORDER BY id) AS ids FROM follows GROUP BY kind) AS by_kind) AS effects
        """  # noqa: S608  # our own constants
    )


_DECIDE_WAITING = _statement(
    """
            UPDATE change_request SET state = 'decided', decided_at = statement_timestamp(),
                decided_place = decided.place, outcome = decided.outcome, reasons = decided.reasons,
                address_faults = decided.address_faults, error = NULL
            FROM jsonb_to_recordset(CAST(:requests AS jsonb)) AS decided (id bigint, outcome text, reasons text[],
                address_faults jsonb, place int)
            -- Not `=`: for that the planner would go through all that is undecided, once a row.
            WHERE change_request.id = decided.id AND state IS NOT DISTINCT FROM 'received'
            RETURNING change_request.id, decided_place AS place
    """
)
# The ids are handed out in the sequence of the places.
_STORE_DECIDED = _statement(
    f"""
            INSERT INTO change_request ({inbox.COLUMNS}, outcome, reasons, address_faults, state, decided_at,
                decided_place)
            SELECT {inbox.VALUES}, outcome, reasons, address_faults, state,
                CASE state WHEN 'decided' THEN statement_timestamp() END, decided_place
            FROM jsonb_to_recordset(CAST(:requests AS jsonb)) AS arrived ({inbox.FIELDS}, outcome text, reasons text[],
                address_faults jsonb, state text, decided_place int, place int)
            ORDER BY place
            ON CONFLICT DO NOTHING
            RETURNING id, id AS place
    """  # noqa: S608  # our own constants
)


def record_decisions(
    connection: Connection,
    open_orders: Sequence[OpenOrder[Waiting]],
    decided: Sequence[Decided[Waiting]],
    *,
    hold: timedelta,
) -> Effects:
    """Writes decisions with all that belongs to them: orders, changelog, effects, holds. All or nothing, set-based.

    An escalation keeps its order from export for as long as `hold` says. Returns the ids of the effects by their kind.
    """
    if not decided:
        return {}
    placed = list(enumerate(decided))
    requests = [{"id": one.request.id, **_answer(one), "place": place} for place, one in placed]
    return _write(connection, _DECIDE_WAITING, requests, open_orders, placed, hold)


def store_decided(
    connection: Connection,
    new: Sequence[IncomingRequest],
    open_orders: Sequence[OpenOrder[IncomingRequest]],
    decided: Sequence[Decided[IncomingRequest]],
    *,
    hold: timedelta,
) -> Effects:
    """Stores new requests, in their sequence, and the decisions of those that are decided.

    All or nothing, and returns the effects, as `record_decisions`.
    """
    if not new:
        return {}
    places = {one.key: place for place, one in enumerate(new)}
    placed = [(places[one.message.key], one) for one in decided]
    decisions = {place: {"state": "decided", "decided_place": place, **_answer(one)} for place, one in placed}
    undecided = {"state": "received", "reasons": []}
    requests = [{**one.as_row(), **decisions.get(place, undecided), "place": place} for place, one in enumerate(new)]
    return _write(connection, _STORE_DECIDED, requests, open_orders, placed, hold)


def _write(
    connection: Connection,
    statement: TextClause,
    requests: Sequence[dict[str, Any]],
    open_orders: Sequence[OpenOrder[Any]],
    placed: Sequence[tuple[int, Decided[Any]]],
    hold: timedelta,
) -> Effects:
    changed = _changed_orders(open_orders, [one for _, one in placed])
    rows = {
        # Alone has moments in it.
        "orders": json.dumps(changed, default=str),
        "requests": json.dumps(requests, ensure_ascii=False),
        "entries": json.dumps(changelog.as_rows([entry for place, one in placed for entry in _changes(place, one)])),
        "effects": json.dumps([row for place, one in placed for row in _effects(place, one)]),
        "holds": json.dumps([row for place, one in placed for row in _holds(place, one)] if hold else []),
        "hold": hold,
    }
    written = connection.execute(statement, rows).one()
    _expect(len(changed), written.orders, "orders that are not sent")
    _expect(len(requests), written.requests, "undecided requests")
    return {Effect(kind): ids for kind, ids in (written.effects or {}).items()}


def _changed_orders(open_orders: Sequence[OpenOrder[Any]], decided: Sequence[Decided[Any]]) -> list[dict[str, Any]]:
    before: dict[int, Order] = {}
    for one in decided:
        before.setdefault(one.order_id, one.before)
    after = {one.order_id: one.decision.order for one in decided}
    return [
        _changed(opened, before[opened.id], after[opened.id])
        for opened in open_orders
        if after.get(opened.id) != before.get(opened.id)
    ]


def _changed(opened: OpenOrder[Any], before: Order, after: Order) -> dict[str, Any]:
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


def _answer(one: Decided[Any]) -> dict[str, Any]:
    faults = [asdict(fault) for fault in one.decision.faults]
    return {"outcome": one.decision.outcome, "reasons": one.decision.reasons, "address_faults": faults or None}


def _expect(expected: int, found: int, what: str) -> None:
    if found != expected:
        raise StaleRowError(f"{found} of {expected} {what} could be written: the others changed under their lock")


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


def _changes(place: int, one: Decided[Any]) -> Iterator[changelog.Entry]:
    actor = f"helpdesk:{one.message.source}"
    for action, before, after in changes(one.before, one.decision.order):
        yield changelog.Entry(one.order_id, actor, action, place, note=_note(one, action), before=before, after=after)


def _note(one: Decided[Any], action: changelog.Action) -> str | None:
    note = (one.message.data.note or "").strip()
    asked_at = one.message.asked_at(one.request.received_at)
    if action in _ADDRESS_CHANGES and asked_at != one.message.time:
        remark = f"Its time, {one.message.time:%Y-%m-%dT%H:%M:%SZ}, lay ahead: it counts as asked when it was received."
        note = f"{note}\n{remark}" if note else remark
    return note or None


def _effects(place: int, one: Decided[Any]) -> Iterator[dict[str, Any]]:
    for kind in one.decision.effects:
        payload = {"order_id": one.order_id} if kind is Effect.RESTOCK else {}
        yield {"place": place, "kind": kind, "payload": payload}


def _holds(place: int, one: Decided[Any]) -> Iterator[dict[str, Any]]:
    """What is closed or sent cannot be held; a pre-order can: the store may validate it at any moment."""
    if one.before.status.is_closed or one.before.edi is not Edi.NOT_SENT:
        return
    for reason in one.decision.reasons:
        if reason in ESCALATING:
            yield {"place": place, "order_id": one.order_id, "reason": reason}
