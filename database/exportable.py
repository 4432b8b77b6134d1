"""Which orders may be exported now: the conditions, and the looks at them that lock nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import text as sql

from database.queries import AnyRow


def has_no_open_request_sql(number: str, more: str = "") -> str:
    """Returns the condition that an order has no undecided request."""
    # By name: the exporter's role may not read the other columns of a request (`database.roles`). Neither `=` nor
    # EXISTS: of those the planner may make a join that reads every undecided request for each order.
    return f"""(
        SELECT order_number FROM change_request
        WHERE order_number BETWEEN {number} AND {number} AND state = 'received' {more}
        ORDER BY order_number LIMIT 1) IS NULL
    """  # noqa: S608  # our own constants


# Colleagues must know of a cancellation that could not be decided before its order goes out; should that not be
# possible, the order waits for as long as the patience is. By name, and no join, as above.
_COLLEAGUES_KNOW = """(
        SELECT order_number FROM change_request AS parked
        WHERE order_number BETWEEN orders.number AND orders.number AND state = 'parked' AND kind = 'cancel'
            AND ticket IS NOT NULL AND parked_at > :patience_since
            AND (SELECT change_request_id FROM ticket_note
                 WHERE change_request_id = parked.id AND ticket_note.state IN ('sent', 'dead') LIMIT 1) IS NULL
        ORDER BY order_number LIMIT 1) IS NULL
"""
# Not EXISTS, for the same reason: a join would go through all holds there ever were.
_IS_NOT_HELD = """(
    SELECT held_until FROM escalation_hold
    WHERE order_id = orders.id AND held_until > now() LIMIT 1) IS NULL
"""
_IS_FREE = f"""
    {has_no_open_request_sql("orders.number", "AND undecided_since > :patience_since")}
    AND {_COLLEAGUES_KNOW} AND {_IS_NOT_HELD}
"""
IS_DUE = f"""
    status = 'validated' AND edi_state = 'not_sent' AND export_error IS NULL
    AND validated_at <= :validated_before AND (hold_until IS NULL OR hold_until <= now())
    AND (CAST(:warehouses AS text[]) IS NULL OR warehouse = ANY(CAST(:warehouses AS text[])))
    AND warehouse <> ALL(CAST(:others AS text[]))
    AND {_IS_FREE}
"""
_LINES = "(SELECT count(*) FROM order_line WHERE order_id = orders.id) AS lines"
_NEXT_EXPORTABLE = sql(
    f"SELECT id, {_LINES} FROM orders WHERE {IS_DUE} AND id > :after ORDER BY id LIMIT :limit"  # noqa: S608
)
_IS_ANYTHING_EXPORTABLE = sql(f"SELECT EXISTS (SELECT FROM orders WHERE {IS_DUE})")  # noqa: S608
_WITHOUT_UNDECIDED = sql(
    f"""
    SELECT id, version, {_LINES} FROM orders WHERE id = ANY(CAST(:ids AS bigint[])) AND {_IS_FREE} ORDER BY id
    """  # noqa: S608
)


@dataclass(frozen=True, slots=True)
class Exportable:
    """Which orders a partner gets now: of these warehouses (None: of all but the others), validated before this.

    A request accepted after `patience_since` holds its order back, and so does an escalation until its hold is over.
    """

    warehouses: Collection[str] | None
    others: Collection[str]
    validated_before: datetime
    patience_since: datetime

    def values(self) -> dict[str, Any]:
        """Returns it as the statements take it."""
        return {
            "warehouses": None if self.warehouses is None else list(self.warehouses),
            "others": list(self.others),
            "validated_before": self.validated_before,
            "patience_since": self.patience_since,
        }


def next_exportable(connection: Connection, wanted: Exportable, *, limit: int, after: int) -> Sequence[AnyRow]:
    """Returns up to `limit` orders that are due, by their ids, all above `after`, with the number of their lines.

    Locks nothing. Comes after `force_index_plans_at`.
    """
    return connection.execute(_NEXT_EXPORTABLE, {**wanted.values(), "after": after, "limit": limit}).all()


def is_anything_exportable(connection: Connection, wanted: Exportable) -> bool:
    """True if orders are due, also those that another transaction has locked at the moment."""
    return bool(connection.execute(_IS_ANYTHING_EXPORTABLE, wanted.values()).scalar_one())


def without_undecided(connection: Connection, ids: Sequence[int], patience_since: datetime) -> Sequence[AnyRow]:
    """Returns those of the claimed orders that no undecided request and no escalation holds back, by id.

    Of each its id, version and number of lines.
    """
    return connection.execute(_WITHOUT_UNDECIDED, {"ids": list(ids), "patience_since": patience_since}).all()
