"""Every lock, in the one order in which whoever waits takes them. A test captures the SQL and holds us to it.

1. `partner`         the exporter's counter row
2. `interchange`     the one being sent
3. `orders`          by ascending id
4. `change_request`  by id
5. `effect`          by id
6. `notification`    the one of a locked effect
7. `stock`           by sku (the upsert in `orders.stock` sorts)
8. `outlet`          one
9. `dead_letter`     as they came: of two intakes with the same letters PostgreSQL may end one, which is run again

Everything else is inserted. A claim with SKIP LOCKED never waits, so it cannot close a circle.

Beside these rows stands one advisory lock a number: accepting a request locks the *number* of its order (the order
itself may not be there yet), in the order of the keys, before anything else; the exporter only ever tries that lock.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Connection, and_, case, exists, func, or_, select
from sqlalchemy import text as sql

from orders.tables import (
    EffectState,
    InterchangeState,
    RequestState,
    change_request,
    effect,
    interchange,
    notification,
    outlet,
    partner,
)
from orders.tables import orders as orders_table
from rules.model import Edi, Effect, Status

# SQLAlchemy types a row by its columns in sequence; ours are read by name.
AnyRow: TypeAlias = Any

# The first half of every advisory key, so that we do not meet another program's locks in the same database.
_SPACE = 0x434D  # "CM"

_LOCK_NUMBERS = sql(
    """
    SELECT pg_advisory_xact_lock(:space, key)
    FROM (SELECT DISTINCT hashtext(number) AS key FROM unnest(CAST(:numbers AS text[])) AS number ORDER BY key) AS keys
    """
)
_TRY_NUMBERS = sql(
    """
    SELECT id, pg_try_advisory_xact_lock(:space, hashtext(number)) AS free
    FROM orders WHERE id = ANY(CAST(:ids AS bigint[]))
    """
)


def lock_numbers_for_accepting(connection: Connection, numbers: Sequence[str]) -> None:
    """Makes accepting requests for these orders wait for one another, and the exporter pass the orders by.

    Prevents: two intakes whose commits for one order come in another sequence than their ids; and an exporter that
    claims an order between the insert of a request and its commit.
    """
    connection.execute(_LOCK_NUMBERS, {"space": _SPACE, "numbers": list(numbers)})


def claim_undecided(connection: Connection, *, limit: int, among: Sequence[int] | None) -> Sequence[AnyRow]:
    """Locks the orders of up to `limit` undecided requests, oldest first; returns their orders' columns.

    `among` narrows the claim to these request ids. Orders in flight, and orders whose earlier request is waiting
    for its next try, are passed by. The requests themselves must be read by a later statement: rows joined to a
    locking one may be older than the lock.
    """
    earlier = change_request.alias("earlier")
    request, order = change_request, orders_table
    claim = (
        select(order)
        .join(request, request.c.order_number == order.c.number)
        .where(
            request.c.state == RequestState.RECEIVED,
            request.c.not_before <= func.now(),
            order.c.edi_state != Edi.CLAIMED,
            ~exists().where(
                earlier.c.order_number == request.c.order_number,
                earlier.c.state == RequestState.RECEIVED,
                earlier.c.id < request.c.id,
                earlier.c.not_before > func.now(),
            ),
        )
        .order_by(request.c.id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True, of=order)
    )
    if among is not None:
        claim = claim.where(request.c.id.in_(among))
    return connection.execute(claim).all()


def lock_partner(connection: Connection, name: str) -> AnyRow | None:
    """Locks a partner's counter row and returns it; None if there is no such partner yet."""
    row = select(partner).where(partner.c.name == name).with_for_update(key_share=True)
    return connection.execute(row).one_or_none()


def lock_interchange_in_flight(connection: Connection, partner_name: str) -> AnyRow | None:
    """Locks the interchange that is on its way to a partner and returns it; None if none is."""
    in_flight = and_(interchange.c.partner == partner_name, interchange.c.state == InterchangeState.CLAIMED)
    return connection.execute(select(interchange).where(in_flight).with_for_update(key_share=True)).one_or_none()


def lock_interchange(connection: Connection, interchange_id: int) -> AnyRow:
    """Locks one interchange and returns it."""
    row = select(interchange).where(interchange.c.id == interchange_id).with_for_update(key_share=True)
    return connection.execute(row).one()


def lock_orders_of_interchange(connection: Connection, interchange_id: int) -> Sequence[AnyRow]:
    """Locks the orders of an interchange, by id; returns their ids and versions."""
    held = (
        select(orders_table.c.id, orders_table.c.version)
        .where(orders_table.c.interchange_id == interchange_id)
        .order_by(orders_table.c.id)
        .with_for_update(key_share=True)
    )
    return connection.execute(held).all()


def claim_exportable(connection: Connection, *, limit: int, patience_since: datetime) -> list[int]:
    """Locks up to `limit` orders that are due, by id, with the numbers that no intake holds; returns their ids.

    Whether a request was accepted in the meantime must be asked in a later statement (`without_undecided`): only
    that one sees what was committed while this one took its locks.
    """
    order = orders_table
    due = (
        select(order.c.id)
        .where(
            order.c.status == Status.VALIDATED,
            order.c.edi_state == Edi.NOT_SENT,
            order.c.export_error.is_(None),
            or_(order.c.hold_until.is_(None), order.c.hold_until <= func.now()),
            ~_holds_back(patience_since),
        )
        .order_by(order.c.id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    ids = list(connection.scalars(due))
    tried = connection.execute(_TRY_NUMBERS, {"space": _SPACE, "ids": ids})
    return sorted(row.id for row in tried if row.free)


def claim_held_back(connection: Connection) -> list[int]:
    """Locks the orders that are held back because no document could be made of them; returns their ids."""
    order = orders_table.c
    held = select(order.id).where(order.export_error.is_not(None), order.edi_state == Edi.NOT_SENT).order_by(order.id)
    return list(connection.scalars(held.with_for_update(key_share=True, skip_locked=True)))


def without_undecided(connection: Connection, ids: Sequence[int], patience_since: datetime) -> list[int]:
    """Returns those of the claimed orders that no undecided request holds back, ascending."""
    free = select(orders_table.c.id).where(orders_table.c.id.in_(ids), ~_holds_back(patience_since))
    return list(connection.scalars(free.order_by(orders_table.c.id)))


def _holds_back(patience_since: datetime) -> Any:
    return exists().where(
        change_request.c.order_number == orders_table.c.number,
        change_request.c.state == RequestState.RECEIVED,
        change_request.c.undecided_since > patience_since,
    )


def lock_orders_by_number(connection: Connection, numbers: Sequence[str]) -> Sequence[AnyRow]:
    """Locks known orders, by id, and returns them."""
    known = select(orders_table).where(orders_table.c.number.in_(numbers)).order_by(orders_table.c.id)
    return connection.execute(known.with_for_update(key_share=True)).all()


def claim_overdue_unknown(connection: Connection, *, limit: int, patience_since: datetime) -> list[int]:
    """Locks up to `limit` requests that have waited out their patience for an order nobody loaded; returns ids."""
    overdue = (
        select(change_request.c.id)
        .where(
            change_request.c.state == RequestState.RECEIVED,
            change_request.c.undecided_since <= patience_since,
            ~exists().where(orders_table.c.number == change_request.c.order_number),
        )
        .order_by(change_request.c.id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return list(connection.scalars(overdue))


def lock_parked(connection: Connection, ids: Sequence[int]) -> list[int]:
    """Locks those of these requests that are parked, by id, and returns their ids."""
    request = change_request
    parked = select(request.c.id).where(request.c.id.in_(ids), request.c.state == RequestState.PARKED)
    return list(connection.scalars(parked.order_by(request.c.id).with_for_update(key_share=True)))


def claim_effects(connection: Connection, kind: Effect, *, limit: int, among: Sequence[int] | None) -> Sequence[AnyRow]:
    """Locks up to `limit` due effects of one kind, oldest first, and returns them with their requests.

    Of `notify` these are the ones whose notification is not written yet.
    """
    request = change_request
    due = (
        select(
            effect.c.id,
            effect.c.attempts,
            effect.c.payload,
            effect.c.change_request_id,
            request.c.source,
            request.c.external_id,
            request.c.order_number,
            request.c.ticket,
            request.c.body,
            request.c.outcome,
            request.c.reasons,
        )
        .join(request, request.c.id == effect.c.change_request_id)
        .where(*_due(kind))
        .order_by(effect.c.id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True, of=effect)
    )
    if kind is Effect.NOTIFY:
        due = due.where(~exists().where(notification.c.change_request_id == effect.c.change_request_id))
    if among is not None:
        due = due.where(effect.c.id.in_(among))
    return connection.execute(due).all()


def _due(kind: Effect) -> tuple[Any, ...]:
    return effect.c.kind == kind, effect.c.state == EffectState.PENDING, effect.c.not_before <= func.now()


def claim_answer(connection: Connection) -> AnyRow | None:
    """Locks the oldest due answer whose notification is written and whose outlet does not rest, and returns it.

    None if there is none.
    """
    request = change_request
    name = case((notification.c.channel == "ticket", request.c.source), else_=notification.c.channel)
    due = (
        select(effect.c.id)
        .join(request, request.c.id == effect.c.change_request_id)
        .join(notification, notification.c.change_request_id == request.c.id)
        .where(*_due(Effect.NOTIFY), ~exists().where(outlet.c.name == name, outlet.c.not_before > func.now()))
        .order_by(effect.c.id)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True, of=effect)
    )
    claimed = connection.execute(due).scalar_one_or_none()
    # In a second statement: rows joined to a locking one may be older than the lock.
    return None if claimed is None else _answer(connection, claimed)


def lock_answer(connection: Connection, effect_id: int) -> AnyRow:
    """Locks one answer and returns it."""
    connection.execute(select(effect.c.id).where(effect.c.id == effect_id).with_for_update(key_share=True))
    return _answer(connection, effect_id)


def _answer(connection: Connection, effect_id: int) -> AnyRow:
    request = change_request
    answer = (
        select(
            effect.c.id.label("effect_id"),
            effect.c.state,
            effect.c.attempts,
            notification.c.id.label("notification_id"),
            notification.c.state.label("notification_state"),
            notification.c.fence,
            notification.c.channel,
            notification.c.visibility,
            notification.c.subject,
            notification.c.body,
            request.c.source,
            request.c.external_id,
            request.c.ticket,
            request.c.outcome,
            orders_table.c.customer["email"].astext.label("customer_email"),
        )
        .join(request, request.c.id == effect.c.change_request_id)
        .join(notification, notification.c.change_request_id == request.c.id)
        .join(orders_table, orders_table.c.number == request.c.order_number)
        .where(effect.c.id == effect_id)
    )
    return connection.execute(answer).one()
