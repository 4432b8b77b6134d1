"""Every lock, in the one order in which a transaction that waits takes them. A test captures the SQL and checks it.

1. `partner`         the exporter's counter row
2. `interchange`     the one being sent
3. `dead_letter`     as they came: of two intakes with the same letters PostgreSQL may end one, which is run again
4. `orders`          by ascending id
5. `change_request`  by id
6. `effect`          by id
7. `notification`    the one of a locked effect
8. `ticket_note`     one
9. `stock`           by sku (the upsert in `orders.stock` sorts)
10. `destination`    one
11. `ticket_to_read` by ticket, or the one that is being read
12. `desk_progress`  one

Everything else is inserted. A claim with SKIP LOCKED never waits, so it cannot close a circle.

Beside these rows there is one advisory lock for each number: accepting a request locks the *number* of its order (the
order itself may not be there yet), in the order of the keys, before anything else, and so does loading orders; the
exporter only ever tries that lock. All ways to write a number are one lock (`database.order_numbers`).
One more is for the claims of answers and notes, taken before anything else too: they go one after the other. The one
for the turns of inboxes is only ever tried.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    TextClause,
    and_,
    case,
    exists,
    func,
    literal,
    select,
)
from sqlalchemy import text as sql

from database import next_delivery
from database.exportable import IS_DUE, Exportable
from database.planner import FORCE_INDEX_PLANS, force_index_plans
from database.queries import AnyRow, is_one_of
from database.tables import (
    EffectState,
    NoteState,
    RequestState,
    change_request,
    constant,
    desk_progress,
    effect,
    interchange,
    notification,
    partner,
    ticket_note,
    ticket_to_read,
)
from database.tables import orders as orders_table
from rules.model import Edi

# The first half of every advisory key, so that we do not meet another program's locks in the same database.
_SPACE = 0x434D  # "CM"


def _columns(table: Table, *, without: str = "") -> str:
    # By their names: a migration that adds one must not change what a prepared statement returns.
    return ", ".join(column.name for column in table.c if column.name != without)


# An intake goes on to claim orders: the plans are set in the same statement, as a lone request waits for every round
# trip.
_LOCK_NUMBERS = sql(
    f"""
    WITH planned AS MATERIALIZED ({FORCE_INDEX_PLANS})
    SELECT pg_advisory_xact_lock(:space, key), (SELECT count(*) FROM planned)
    FROM (SELECT DISTINCT hashtext(order_key(number)) AS key
          FROM unnest(CAST(:numbers AS text[])) AS number ORDER BY key) AS keys
    """  # noqa: S608  # our own constant
)
_CLAIM_ORDERS = sql(
    """
    SELECT id, version, orders.number, warehouse, status, edi_state, customer, shipping, billing, shipping_asked_at,
        billing_asked_at
    FROM unnest(CAST(:numbers AS text[])) WITH ORDINALITY AS wanted (number, place)
    JOIN orders ON orders.number = wanted.number
    WHERE orders.edi_state <> 'claimed'
    ORDER BY wanted.place LIMIT :limit FOR NO KEY UPDATE OF orders SKIP LOCKED
    """
)
# One key, and not two: no number of an order can meet it.
_LOCK_CLAIMS_OF_DELIVERIES = sql("SELECT pg_advisory_xact_lock(:space)")
_TRY_TURNS = sql("SELECT pg_try_advisory_xact_lock(:space + 1)")
_LOCK_PARTNER = sql(f"SELECT {_columns(partner)} FROM partner WHERE name = :name FOR NO KEY UPDATE")  # noqa: S608
# The content is megabytes, and only a sender needs it.
_ALL_BUT_CONTENT = _columns(interchange, without="content")
_LOCK_IN_FLIGHT = sql(
    f"SELECT {_ALL_BUT_CONTENT} FROM interchange WHERE partner = :partner AND state = 'claimed' FOR NO KEY UPDATE"  # noqa: S608
)
_LOCK_INTERCHANGE = sql(f"SELECT {_ALL_BUT_CONTENT} FROM interchange WHERE id = :id FOR NO KEY UPDATE")  # noqa: S608
# Counted in the database, as no caller needs the rows.
_LOCK_ORDERS_OF_INTERCHANGE = sql(
    """
    SELECT count(*) FROM (
        SELECT id FROM orders WHERE interchange_id = :id ORDER BY orders.id FOR NO KEY UPDATE) AS locked
    """
)


# Each returns its ids as one array: an export is as quick as Python is, which has to read every row.
_CLAIM_EXPORTABLE = sql(
    f"""
    SELECT coalesce(array_agg(id), '{{}}') FROM (
        SELECT id FROM orders WHERE {IS_DUE} ORDER BY id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED) AS locked
    """  # noqa: S608  # our own constants
)
_TRY_NUMBERS = sql(
    """
    SELECT coalesce(array_agg(id ORDER BY id) FILTER (WHERE is_free), '{}') FROM (
        SELECT id, pg_try_advisory_xact_lock(:space, hashtext(order_key(number))) AS is_free
        FROM orders WHERE id = ANY(CAST(:ids AS bigint[]))) AS tried
    """
)
_WITH_NOTIFICATION = sql(
    "SELECT change_request_id FROM notification WHERE change_request_id = ANY(CAST(:requests AS bigint[]))"
)


@dataclass(frozen=True, slots=True)
class _Claims:
    """The two ways to claim effects of a kind: what is due, and what of that is among some ids."""

    due: TextClause
    among: TextClause


def _claims(columns: str, source: str, is_due: str) -> _Claims:
    # Two, for a plan that serves both reads all that is due to find a few.
    due, among = (
        sql(
            f"""
            SELECT {columns} FROM {source}
            WHERE {is_due} AND effect.state = 'pending' AND effect.not_before <= now() {narrowed}
            ORDER BY effect.id LIMIT :limit FOR NO KEY UPDATE OF effect SKIP LOCKED
            """  # noqa: S608  # our own constants
        )
        for narrowed in ("", "AND effect.id = ANY(CAST(:among AS bigint[]))")
    )
    return _Claims(due, among)


_CLAIM_RESTOCKS = _claims("effect.id", "effect", "effect.kind = 'restock'")
_CLAIM_NOTICES = _claims(
    "effect.id, change_request_id, source, external_id, order_number, ticket, body, outcome, reasons, address_faults",
    "effect JOIN change_request AS request ON request.id = change_request_id",
    """effect.kind = 'notify'
        AND NOT EXISTS (SELECT FROM notification WHERE change_request_id = effect.change_request_id)""",
)


_LOCK_DUE_ANSWER = sql(
    """
    SELECT id FROM effect WHERE id = :id AND state = 'pending' AND not_before <= now()
    FOR NO KEY UPDATE SKIP LOCKED
    """
)
_LOCK_DUE_NOTE = sql(
    """
    SELECT id FROM ticket_note WHERE id = :id AND state IN ('pending', 'sending') AND not_before <= now()
    FOR NO KEY UPDATE SKIP LOCKED
    """
)


def check_writable(connection: Connection) -> None:
    """Locks nothing; raises where nothing can be written, or our tables are not there."""
    connection.execute(sql("SELECT FROM change_request LIMIT 0 FOR NO KEY UPDATE"))


def lock_numbers_for_accepting(connection: Connection, numbers: Sequence[str]) -> None:
    """Makes accepting requests for these orders wait for one another, and the exporter pass the orders by.

    Prevents: two intakes whose commits for one order come in another sequence than their ids; an exporter that
    claims an order between the insert of a request and its commit; and an order that is loaded while a request for it,
    written in another way, is accepted, each blind to the other.
    """
    connection.execute(_LOCK_NUMBERS, {"space": _SPACE, "numbers": list(numbers)})


def claim_orders(connection: Connection, numbers: Sequence[str], *, limit: int) -> Sequence[AnyRow]:
    """Locks the first `limit` of these orders that are known, not in flight and not locked, and returns them.

    Comes after `force_index_plans` or `lock_numbers_for_accepting`, which does the same.
    Their requests must be read by a later statement: rows joined to a locking one may be older than the lock.
    """
    return connection.execute(_CLAIM_ORDERS, {"numbers": list(numbers), "limit": limit}).all()


def lock_partner(connection: Connection, name: str) -> AnyRow | None:
    """Locks a partner's counter row and returns it; None if there is no such partner yet."""
    return connection.execute(_LOCK_PARTNER, {"name": name}).one_or_none()


def try_turns(connection: Connection) -> bool:
    """Locks the turns of inboxes; False if another process is taking one."""
    # Prevents: two processes that each see no other reading, and both begin.
    return bool(connection.execute(_TRY_TURNS, {"space": _SPACE}).scalar_one())


def lock_interchange_in_flight(connection: Connection, partner_name: str) -> AnyRow | None:
    """Locks the interchange that is on its way to a partner and returns all but its content; None if none is."""
    return connection.execute(_LOCK_IN_FLIGHT, {"partner": partner_name}).one_or_none()


def lock_interchange_by_number(connection: Connection, partner_name: str, control_number: int) -> AnyRow | None:
    """Locks the interchange that bears a number and returns it; None if none does.

    Of one that was released, its number taken back, it speaks only while no other bears the number.
    """
    bearer = interchange_of_number(partner_name, control_number)
    return connection.execute(bearer.with_for_update(key_share=True)).one_or_none()


def interchange_of_number(partner_name: str, control_number: int) -> Select[Any]:
    """Returns the query for the interchange that bears a number: of a number that was taken back, its newest bearer."""
    bears = and_(interchange.c.partner == partner_name, interchange.c.control_number == control_number)
    return select(interchange).where(bears).order_by(interchange.c.number_is_free, interchange.c.id.desc()).limit(1)


def lock_interchange(connection: Connection, interchange_id: int) -> AnyRow:
    """Locks one interchange and returns all but its content."""
    return connection.execute(_LOCK_INTERCHANGE, {"id": interchange_id}).one()


def lock_orders_of_interchange(connection: Connection, interchange_id: int) -> None:
    """Locks the orders of an interchange, by id."""
    connection.execute(_LOCK_ORDERS_OF_INTERCHANGE, {"id": interchange_id})


def claim_exportable(connection: Connection, wanted: Exportable, *, limit: int) -> list[int]:
    """Locks up to `limit` orders that are due, by id, with the numbers that no intake holds; returns their ids.

    Whether a request was accepted or escalated in the meantime must be asked in a later statement
    (`database.exportable.without_undecided`): only that one sees what was committed while this one took its
    locks. Comes after `force_index_plans_at`.
    """
    claimed = connection.execute(_CLAIM_EXPORTABLE, {**wanted.values(), "limit": limit}).scalar_one()
    ids: list[int] = connection.execute(_TRY_NUMBERS, {"space": _SPACE, "ids": claimed}).scalar_one()
    return ids


def claim_held_back(connection: Connection) -> list[int]:
    """Locks the orders that are held back because no document could be made of them; returns their ids."""
    order = orders_table.c
    held = select(order.id).where(order.export_error.is_not(None), order.edi_state == Edi.NOT_SENT).order_by(order.id)
    return list(connection.scalars(held.with_for_update(key_share=True, skip_locked=True)))


def lock_orders_by_number(connection: Connection, numbers: Sequence[str]) -> Sequence[AnyRow]:
    """Locks known orders, by id, and returns them."""
    known = select(orders_table).where(orders_table.c.number.in_(numbers)).order_by(orders_table.c.id)
    return connection.execute(known.with_for_update(key_share=True)).all()


def claim_unknown(connection: Connection, ids: Sequence[int]) -> list[int]:
    """Locks those of these requests that are undecided and whose order is not there, by id, and returns their ids.

    Comes after `lock_numbers_for_accepting` with their numbers, in a statement that sees who had that lock before.
    """
    request = change_request.c
    claimed = of_unknown_orders(request.id).where(is_one_of(request.id, ids)).order_by(request.id)
    return list(connection.scalars(claimed.with_for_update(key_share=True, skip_locked=True)))


def of_unknown_orders(*columns: ColumnElement[Any]) -> Select[Any]:
    """Returns the query for columns of the undecided requests whose order is not there."""
    return select(*columns).where(
        change_request.c.state == constant(RequestState.RECEIVED),
        ~exists().where(orders_table.c.number == change_request.c.order_number),
    )


_LOCK_REQUESTS_THAT_MEAN = sql(
    """
    SELECT change_request.id, orders.number
    FROM orders JOIN change_request ON order_key(order_number) = order_key(orders.number)
    WHERE orders.id = ANY(CAST(:orders AS bigint[])) AND change_request.state <> 'decided'
      AND order_number <> orders.number
      -- Of this very number there is an order, or there are several that could be meant.
      AND NOT EXISTS (SELECT FROM orders AS named WHERE named.number = order_number)
      AND (SELECT count(*) FROM orders AS alike WHERE order_key(alike.number) = order_key(orders.number)) = 1
    ORDER BY change_request.id FOR NO KEY UPDATE OF change_request
    """
)


def lock_requests_that_mean(connection: Connection, orders: Sequence[int]) -> Sequence[AnyRow]:
    """Locks the undecided and parked requests that mean one of these orders alone and write its number in another way.

    Returns them by id, each with the order's number. Comes after `lock_numbers_for_accepting`.
    """
    return connection.execute(_LOCK_REQUESTS_THAT_MEAN, {"orders": list(orders)}).all()


def lock_parked(connection: Connection, ids: Sequence[int]) -> list[int]:
    """Locks those of these requests that are parked, by id, and returns their ids."""
    request = change_request
    # Not `=`: for that the planner would go through all that is parked.
    is_parked = request.c.state.is_not_distinct_from(RequestState.PARKED)
    parked = select(request.c.id).where(is_one_of(request.c.id, ids), is_parked)
    return list(connection.scalars(parked.order_by(request.c.id).with_for_update(key_share=True)))


def lock_dead_effects(connection: Connection, *, limit: int, after: int) -> list[int]:
    """Locks up to `limit` dead effects with ids above `after`, by id, and returns their ids."""
    dead = select(effect.c.id).where(effect.c.state == EffectState.DEAD, effect.c.id > after).order_by(effect.c.id)
    return list(connection.scalars(dead.limit(limit).with_for_update(key_share=True, skip_locked=True)))


def lock_dead_notes(connection: Connection, *, limit: int, after: int) -> list[int]:
    """Locks up to `limit` dead notes on tickets with ids above `after`, by id, and returns their ids."""
    note = ticket_note.c
    dead = select(note.id).where(note.state == NoteState.DEAD, note.id > after).order_by(note.id)
    return list(connection.scalars(dead.limit(limit).with_for_update(key_share=True, skip_locked=True)))


def claim_restocks(connection: Connection, *, limit: int, among: Sequence[int] | None) -> list[int]:
    """Locks up to `limit` due restocks, oldest first, and returns their ids. `among` narrows it to these ids."""
    return [row.id for row in _claim_effects(connection, _CLAIM_RESTOCKS, limit, among)]


def claim_notices(connection: Connection, *, limit: int, among: Sequence[int] | None) -> Sequence[AnyRow]:
    """Locks up to `limit` due notifies whose notification is not written yet, oldest first; with their requests.

    `among` narrows it to these ids.
    """
    claimed = _claim_effects(connection, _CLAIM_NOTICES, limit, among)
    return _without_notification(connection, claimed) if claimed else claimed


def _claim_effects(
    connection: Connection, claims: _Claims, limit: int, among: Sequence[int] | None
) -> Sequence[AnyRow]:
    force_index_plans(connection)
    if among is None:
        return connection.execute(claims.due, {"limit": limit}).all()
    return connection.execute(claims.among, {"limit": limit, "among": list(among)}).all()


def _without_notification(connection: Connection, claimed: Sequence[AnyRow]) -> Sequence[AnyRow]:
    """Looks again, under the lock.

    Prevents: a rival writes the notification and commits between our look and our lock. It changes nothing in the
    effect's row, so the lock does not look again by itself; the second notification would be refused, and that be
    counted as a failure of the effect, which cuts short the lease of the process that delivers it by then.
    """
    requests = [row.change_request_id for row in claimed]
    done = set(connection.scalars(_WITH_NOTIFICATION, {"requests": requests}))
    return [row for row in claimed if row.change_request_id not in done]


def claim_delivery(connection: Connection) -> AnyRow | None:
    """Locks the answer or note to deliver next (`database.next_delivery` says which) and returns it.

    None if there is none.
    """
    # Prevents: two claims at once, each blind to the other's, that take two answers on one ticket; where a desk's tags
    # are read and written back, one of the two would be lost.
    connection.execute(_LOCK_CLAIMS_OF_DELIVERIES, {"space": _SPACE})
    force_index_plans(connection)
    for one in next_delivery.next_due(connection):
        lock = _LOCK_DUE_NOTE if one.is_note else _LOCK_DUE_ANSWER
        if connection.execute(lock, {"id": one.id}).scalar_one_or_none() is not None:
            # In a statement of its own: rows joined to a locking one may be older than the lock.
            return _note(connection, one.id) if one.is_note else _answer(connection, one.id)
    return None


def lock_answer(connection: Connection, effect_id: int) -> AnyRow:
    """Locks one answer and returns it."""
    connection.execute(select(effect.c.id).where(effect.c.id == effect_id).with_for_update(key_share=True))
    return _answer(connection, effect_id)


def _answer(connection: Connection, effect_id: int) -> AnyRow:
    request = change_request
    answer = (
        select(
            literal(False).label("is_note"),
            effect.c.id,
            effect.c.state,
            effect.c.attempts,
            effect.c.destination,
            notification.c.id.label("notification_id"),
            notification.c.state.label("delivery_state"),
            notification.c.fence,
            notification.c.leased_at,
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


def lock_note(connection: Connection, note_id: int) -> AnyRow:
    """Locks one note and returns it."""
    connection.execute(select(ticket_note.c.id).where(ticket_note.c.id == note_id).with_for_update(key_share=True))
    return _note(connection, note_id)


def _note(connection: Connection, note_id: int) -> AnyRow:
    note = ticket_note.c
    columns = (
        note.id,
        note.attempts,
        note.destination,
        note.fence,
        note.leased_at,
        note.source,
        note.ticket,
        note.subject,
    )
    state = case((note.state.in_((NoteState.PENDING, NoteState.SENDING)), EffectState.PENDING), else_=note.state)
    found = select(
        literal(True).label("is_note"),
        *columns,
        note.body,
        state.label("state"),
        note.state.label("delivery_state"),
        literal("ticket").label("channel"),
        literal("internal").label("visibility"),
        (literal("note:") + note.cause + ":" + note.key).label("external_id"),
        literal(None).label("outcome"),
        literal("").label("customer_email"),
    )
    return connection.execute(found.where(note.id == note_id)).one()


def claim_ticket_to_read(connection: Connection, sources: Collection[str]) -> AnyRow | None:
    """Locks the next ticket to read and returns it; None if there is none.

    A desk that backs off is skipped, and so is one that another reader works on: a slow desk
    keeps one reader at most. What has failed comes after what has not been tried.
    """
    ticket, desk = ticket_to_read.c, desk_progress.c
    other = ticket_to_read.alias("other")
    is_read_from = exists().where(other.c.source == ticket.source, other.c.lease_until > func.now())
    due = (
        select(ticket_to_read)
        .where(
            ticket.source.in_(sources),
            ticket.read < ticket.wanted,
            ticket.not_before <= func.now(),
            ~exists().where(desk.source == ticket.source, desk.not_before > func.now()),
            ~is_read_from,
        )
        .order_by(ticket.attempts, ticket.id)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True, of=ticket_to_read)
    )
    return connection.execute(due).one_or_none()


def lock_ticket_to_read(connection: Connection, ticket_id: int) -> AnyRow:
    """Locks one ticket to read and returns it."""
    one = select(ticket_to_read).where(ticket_to_read.c.id == ticket_id).with_for_update(key_share=True)
    return connection.execute(one).one()


def lock_desk_progress(connection: Connection, source: str) -> AnyRow | None:
    """Locks how far a desk's tickets have been listed and returns it; None if nothing was ever listed."""
    one = select(desk_progress).where(desk_progress.c.source == source).with_for_update(key_share=True)
    return connection.execute(one).one_or_none()
