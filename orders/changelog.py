"""The changelog of an order: append-only (a trigger refuses anything else), one entry a change."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, select, text

from database.queries import AnyRow
from database.tables import change_request
from database.tables import changelog as changelog_table


def insert_statement(request_of: str = "CAST(NULL AS bigint)", where: str = "true") -> str:
    """Returns the statement that appends those of the rows `:entries` (`as_rows`) for which `where` holds, in sequence.

    `request_of` is the id of the request that caused an entry; it may use the entry's `place`.
    """
    # One JSON parameter, so that the statement is the same for any number of rows and is prepared once.
    return f"""
        INSERT INTO changelog (order_id, actor, action, change_request_id, note, before, after)
        SELECT order_id, actor, action, {request_of}, note, before, after
        FROM ROWS FROM (jsonb_to_recordset(CAST(:entries AS jsonb)) AS (order_id bigint, actor text, action text,
            place int, note text, before jsonb, after jsonb)) WITH ORDINALITY
        WHERE {where} ORDER BY ordinality
    """  # noqa: S608  # our own constants


_WRITE = text(insert_statement())


class Action(StrEnum):
    """What can happen to an order."""

    LOADED = "loaded"
    VALIDATED = "validated"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"
    SHIPPING_ADDRESS_CHANGED = "shipping_address_changed"
    BILLING_ADDRESS_CHANGED = "billing_address_changed"
    EDI_CLAIMED = "edi_claimed"
    EDI_SENT = "edi_sent"
    EDI_RELEASED = "edi_released"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `actor` is `helpdesk:<source>`, `edi:<partner>`, `store` or `operator`.

    `place` is that of the request which has caused it, within the decisions that are written with it.
    """

    order_id: int
    actor: str
    action: Action
    place: int | None = None
    note: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


def write(connection: Connection, entries: Sequence[Entry]) -> None:
    """Appends entries, in their sequence."""
    if entries:
        connection.execute(_WRITE, {"entries": json.dumps(as_rows(entries))})


def as_rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Returns entries as `insert_statement` takes them, once they are JSON."""
    return [{field: getattr(entry, field) for field in Entry.__slots__} for entry in entries]


def of_order(connection: Connection, order_id: int) -> Sequence[AnyRow]:
    """Returns an order's entries, oldest first, each with the key of the request that caused it."""
    entries = (
        select(changelog_table, change_request.c.source, change_request.c.external_id)
        .outerjoin(change_request, change_request.c.id == changelog_table.c.change_request_id)
        .where(changelog_table.c.order_id == order_id)
        .order_by(changelog_table.c.id)
    )
    return connection.execute(entries).all()
