"""Interchanges and acknowledgements, for people and programs to read."""

from typing import Any

from sqlalchemy import Connection, select

from database.locks import interchange_of_number
from database.queries import AnyRow
from database.tables import acknowledgement, interchange, orders, partner_file
from database.tables import partner as partner_table
from orders.views import as_utc


def list_interchanges(
    connection: Connection, *, partner: str | None = None, state: str | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """Returns interchanges, up to `limit` of them, newest first."""
    listed = select(interchange).order_by(interchange.c.id.desc()).limit(limit)
    if partner is not None:
        listed = listed.where(interchange.c.partner == partner)
    if state is not None:
        listed = listed.where(interchange.c.state == state)
    return [_summary(row) for row in connection.execute(listed)]


def show_interchange(connection: Connection, partner: str, control_number: int) -> dict[str, Any] | None:
    """Returns an interchange with the orders that it holds and what was answered; None if it is not known."""
    row = _find(connection, partner, control_number)
    if row is None:
        return None
    held = select(orders.c.number).where(orders.c.interchange_id == row.id).order_by(orders.c.id)
    return {
        **_summary(row),
        "bytes": len(row.content),
        "sha256": row.sha256,
        "attempts": row.fence,
        "lease_until": as_utc(row.lease_until) if row.state == "claimed" else None,
        "order_numbers": list(connection.scalars(held)),
        "acknowledgements": _acknowledgements(connection, acknowledgement.c.interchange_id == row.id),
    }


def content_of(connection: Connection, partner: str, control_number: int) -> bytes | None:
    """Returns the bytes of an interchange; None if it is not known."""
    row = _find(connection, partner, control_number)
    return None if row is None else bytes(row.content)


def _find(connection: Connection, partner: str, control_number: int) -> AnyRow | None:
    return connection.execute(interchange_of_number(partner, control_number)).one_or_none()


def _summary(row: AnyRow) -> dict[str, Any]:
    return {
        "partner": row.partner,
        "control_number": row.control_number,
        "state": row.state,
        "filename": row.filename,
        "orders": row.orders,
        "claimed_at": as_utc(row.claimed_at),
        "sent_at": as_utc(row.sent_at),
        "answered_at": as_utc(row.answered_at),
        "released_at": as_utc(row.released_at),
        "reasons": row.answer_reasons,
        "error": row.error,
    }


def partner_names(connection: Connection) -> list[str]:
    """Returns the names of the partners that something was sent to or came from, whether still configured or not."""
    return list(connection.scalars(select(partner_table.c.name)))


def list_received(connection: Connection, *, partner: str | None = None, limit: int | None = None) -> list[Any]:
    """Returns what partners have put into our inboxes, up to `limit` files, newest first, with what they said."""
    listed = select(partner_file).order_by(partner_file.c.id.desc()).limit(limit)
    if partner is not None:
        listed = listed.where(partner_file.c.partner == partner)
    return [
        {
            "partner": row.partner,
            "filename": row.name,
            "received_at": as_utc(row.at),
            "bytes": len(row.content),
            "error": row.error,
            "acknowledgements": _acknowledgements(connection, acknowledgement.c.partner_file_id == row.id),
        }
        for row in connection.execute(listed)
    ]


def _acknowledgements(connection: Connection, condition: Any) -> list[dict[str, Any]]:
    listed = select(acknowledgement, partner_file.c.name, partner_file.c.at).join(partner_file).where(condition)
    return [
        {
            "kind": row.kind,
            "reference": row.reference,
            "control_number": row.control_number,
            "verdict": row.verdict,
            "reasons": row.reasons,
            "state": row.state,
            "filename": row.name,
            "received_at": as_utc(row.at),
        }
        for row in connection.execute(listed.order_by(acknowledgement.c.id))
    ]
