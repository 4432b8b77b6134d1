"""Reading the state of orders and requests for people and programs, as views."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Select, exists, func, select

from database.queries import AnyRow, is_one_of
from database.tables import (
    EffectState,
    RequestState,
    change_request,
    constant,
    effect,
    escalation_hold,
    interchange,
    notification,
    order_line,
    orders,
)
from desks.advice import advice
from orders import changelog
from orders.views import (
    ChangelogEntryShown,
    EffectShown,
    InterchangeOfOrder,
    LineShown,
    ListedOrder,
    ListedRequest,
    NotificationShown,
    OrderShown,
    RequestKey,
    RequestShown,
    as_utc,
)
from rules.model import Address, AddressFault, AddressRole, Edi, ParkedReason, Problem, Reason, Status


def address_as_json(address: Address) -> dict[str, str]:
    """Returns an address as it is stored and shown: without its empty fields."""
    return {name: value for name, value in asdict(address).items() if value is not None}


def faults_as_stored(faults: Sequence[Mapping[str, Any]] | None) -> tuple[AddressFault, ...]:
    """Returns what was stored with a decision of an address that no document could say."""
    return tuple(
        AddressFault(AddressRole(one["role"]), one["part"], Problem(one["problem"]), one["limit"])
        for one in faults or ()
    )


def advice_for(reasons: Sequence[str], faults: Sequence[AddressFault] = ()) -> str | None:
    """Returns the customer's text for stored reasons; None while there are none."""
    parked = set(ParkedReason)
    return advice((ParkedReason(one) if one in parked else Reason(one) for one in reasons), faults) or None


def show_order(connection: Connection, number: str) -> OrderShown | None:
    """Returns an order with its lines, interchange and changelog; None if it is not known."""
    row = connection.execute(select(orders).where(orders.c.number == number)).one_or_none()
    if row is None:
        return None
    holds = _holds(connection, row)
    return OrderShown(
        number=row.number,
        status=row.status,
        edi=row.edi_state,
        version=row.version,
        customer=row.customer,
        shipping=row.shipping,
        billing=row.billing,
        lines=_lines(connection, row.id),
        placed_at=as_utc(row.placed_at),
        warehouse=row.warehouse,
        interchange=_interchange(connection, row.interchange_id),
        changelog=[_changelog_entry(entry) for entry in changelog.of_order(connection, row.id)],
        export_error=row.export_error,
        held_until=as_utc(max((one.held_until for one in holds), default=None)),
        held_for=[one.reason for one in holds] or None,
    )


def _holds(connection: Connection, order: AnyRow) -> Sequence[AnyRow]:
    hold = escalation_hold.c
    of_order = select(hold.reason, hold.held_until).where(hold.order_id == order.id, hold.held_until > func.now())
    holds = connection.execute(of_order.order_by(hold.held_at, hold.reason)).all()
    return holds if _can_be_held(order) else ()


def standings(connection: Connection, numbers: Sequence[str]) -> dict[str, AnyRow]:
    """Returns the state of known orders, by their numbers: the customer's name, both states, until when it is held."""
    hold = escalation_hold.c
    held = select(func.max(hold.held_until)).where(hold.order_id == orders.c.id, hold.held_until > func.now())
    found = select(
        orders.c.number,
        orders.c.status,
        orders.c.edi_state,
        orders.c.customer["name"].astext.label("customer_name"),
        held.scalar_subquery().label("held_until"),
    ).where(is_one_of(orders.c.number, numbers))
    return {row.number: row for row in connection.execute(found)}


def _can_be_held(order: AnyRow) -> bool:
    return order.edi_state == Edi.NOT_SENT and not Status(order.status).is_closed


def _lines(connection: Connection, order_id: int) -> list[LineShown]:
    lines = select(order_line).where(order_line.c.order_id == order_id).order_by(order_line.c.line_no)
    return [
        LineShown(line.sku, line.description, line.quantity, unit_price=f"{line.unit_price:f}")
        for line in connection.execute(lines)
    ]


def _interchange(connection: Connection, interchange_id: int | None) -> InterchangeOfOrder | None:
    if interchange_id is None:
        return None
    row = connection.execute(select(interchange).where(interchange.c.id == interchange_id)).one()
    return InterchangeOfOrder(row.partner, row.control_number, row.state, row.filename, as_utc(row.sent_at))


def _changelog_entry(row: AnyRow) -> ChangelogEntryShown:
    request = None if row.source is None else RequestKey(row.source, row.external_id)
    return ChangelogEntryShown(as_utc(row.at), row.actor, row.action, request, row.note, row.before, row.after)


def list_orders(
    connection: Connection, *, status: str | None = None, edi: str | None = None, limit: int | None = None
) -> list[ListedOrder]:
    """Returns orders, up to `limit` of them, in the sequence in which they were loaded."""
    hold = escalation_hold.c
    held = select(func.max(hold.held_until)).where(hold.order_id == orders.c.id, hold.held_until > func.now())
    listed = select(orders, held.scalar_subquery().label("held_until")).order_by(orders.c.id).limit(limit)
    if status is not None:
        listed = listed.where(orders.c.status == status)
    if edi is not None:
        listed = listed.where(orders.c.edi_state == edi)
    return [
        ListedOrder(
            number=row.number,
            status=row.status,
            edi=row.edi_state,
            version=row.version,
            placed_at=as_utc(row.placed_at),
            warehouse=row.warehouse,
            hold_until=as_utc(row.hold_until),
            held_until=as_utc(row.held_until) if _can_be_held(row) else None,
            export_error=row.export_error,
        )
        for row in connection.execute(listed)
    ]


def show_request(connection: Connection, source: str, external_id: str) -> RequestShown | None:
    """Returns a request with its decision, effects and notification; None if it is not known."""
    row = connection.execute(
        select(change_request).where(change_request.c.source == source, change_request.c.external_id == external_id)
    ).one_or_none()
    if row is None:
        return None
    of_request = effect.c.change_request_id == row.id
    effects = connection.execute(select(effect).where(of_request).order_by(effect.c.id))
    return RequestShown(
        **_summary(row),
        advice=advice_for(row.reasons, faults_as_stored(row.address_faults)),
        error=row.error,
        effects=[_effect(one) for one in effects],
        notification=_notification(connection, row.id),
    )


def _effect(row: AnyRow) -> EffectShown:
    has_failed = row.error is not None and row.done_at is None
    return EffectShown(
        kind=row.kind,
        state=row.state,
        done_at=as_utc(row.done_at),
        error=row.error if has_failed else None,
        attempts=row.attempts if has_failed else None,
    )


def _summary(row: AnyRow) -> dict[str, Any]:
    """Returns the fields that a request has in every view."""
    return {
        "source": row.source,
        "id": row.external_id,
        "order": row.order_number,
        "kind": row.kind,
        "ticket": row.ticket,
        "state": row.state,
        "outcome": row.outcome,
        "reasons": row.reasons,
        "received_at": as_utc(row.received_at),
        "decided_at": as_utc(row.decided_at),
    }


def _notification(connection: Connection, request_id: int) -> NotificationShown | None:
    of_request = select(notification).where(notification.c.change_request_id == request_id)
    row = connection.execute(of_request).one_or_none()
    if row is None:
        return None
    return NotificationShown(
        channel=row.channel, visibility=row.visibility, subject=row.subject, body=row.body, state=row.state
    )


def list_requests(
    connection: Connection,
    wanted: Mapping[str, str | None] = MappingProxyType({}),
    *,
    reason: str | None = None,
    dead: bool = False,
    limit: int | None = None,
) -> list[ListedRequest]:
    """Returns requests whose columns have the `wanted` values, up to `limit` of them, as they were accepted."""
    listed = select(change_request).order_by(change_request.c.id).limit(limit)
    for name, value in wanted.items():
        if value is not None:
            listed = listed.where(change_request.c[name] == value)
    if reason is not None:
        listed = listed.where(change_request.c.reasons.contains([reason]))
    of_request = effect.c.change_request_id == change_request.c.id, effect.c.state == EffectState.DEAD
    if dead:
        listed = listed.where(exists().where(*of_request))
    # Only what is wrong: `requests show` has the whole.
    dead_effects, errors = (
        func.array(select(column).where(*of_request).order_by(effect.c.id).scalar_subquery()).label(name)
        for name, column in (("dead_effects", effect.c.kind), ("dead_errors", effect.c.error))
    )
    return [
        ListedRequest(
            **_summary(row),
            dead_effects=row.dead_effects,
            error=row.error,
            dead_errors=dict(zip(row.dead_effects, row.dead_errors, strict=True)) or None,
        )
        for row in connection.execute(listed.add_columns(dead_effects, errors))
    ]


def count_requests(connection: Connection) -> dict[str, int]:
    """Counts requests by state, those of them that wait for their order to be loaded, and pending effects."""
    states = select(change_request.c.state, func.count()).group_by(change_request.c.state)
    counted = {state.value: 0 for state in RequestState} | _counted(connection, states)
    waiting = (
        select(func.count())
        .select_from(change_request.outerjoin(orders, orders.c.number == change_request.c.order_number))
        .where(change_request.c.state == constant(RequestState.RECEIVED), orders.c.id.is_(None))
    )
    pending = select(func.count()).select_from(effect).where(effect.c.state == constant(EffectState.PENDING))
    return {
        **counted,
        "waiting_for_their_order": connection.execute(waiting).scalar_one(),
        "effects_pending": connection.execute(pending).scalar_one(),
    }


def count_outcomes(connection: Connection) -> tuple[dict[str, int], dict[str, int]]:
    """Counts decided requests by outcome, and all requests by reason; most frequent first."""
    outcome = change_request.c.outcome
    reason = func.unnest(change_request.c.reasons).label("reason")
    by_outcome = select(outcome, func.count()).where(outcome.is_not(None)).group_by(outcome)
    by_reason = select(reason, func.count()).group_by("reason")
    return _counted(connection, by_outcome), _counted(connection, by_reason)


def _counted(connection: Connection, query: Select[Any]) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(query.order_by(func.count().desc()))}
