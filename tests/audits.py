"""Asking the audit, and breaking promises by hand."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from database.transactions import in_transaction
from edi.interchanges import InFlight, claim
from edi.outcomes import confirm, release
from orders.audit import audit
from orders.reprocessing import Filter, find_parked, revive
from orders.request_retries import MAX_ATTEMPTS, count_failure, park_unknown_orders
from tasks.partners import partners
from tests.builders import a_request, an_address, deliver, rows

PATIENCE = timedelta(minutes=15)


def checks(patience: timedelta = PATIENCE) -> dict[int, dict[str, Any]]:
    """Returns the audit's checks by promise."""
    found = in_transaction(lambda connection: audit(connection, patience=patience))
    assert found["ok"] == (sum(check["violations"] for check in found["checks"]) == 0)
    return {check["promise"]: check for check in found["checks"]}


def broken() -> dict[int, list[str]]:
    """Returns the examples of the promises that are broken."""
    return {promise: check["examples"] for promise, check in checks().items() if check["violations"]}


def claimed(partner: str = "WAREHOUSE", patience: timedelta = PATIENCE) -> InFlight:
    """Claims what is due, as the first half of an export."""
    receiver = replace(partners()[0], name=partner)
    found = in_transaction(lambda connection: claim(connection, receiver, patience=patience)).interchange
    assert found is not None
    return found


def export() -> None:
    """Claims and confirms what is due."""
    interchange = claimed()
    in_transaction(lambda connection: confirm(connection, interchange))


def fail_to_export() -> None:
    """Claims what is due for a partner that cannot be reached, and releases it."""
    interchange = claimed("AWAY")
    in_transaction(lambda connection: release(connection, interchange, "the folder is gone"))


def park() -> int:
    """Parks every request whose order is not known."""
    return in_transaction(lambda connection: park_unknown_orders(connection, patience=timedelta(0), limit=9))


def park_failed(event: dict[str, Any]) -> None:
    """Accepts a request and lets it fail until it is parked."""
    deliver(event)
    [(found,)] = rows("SELECT id FROM change_request WHERE external_id = :id", id=event["id"])
    for _ in range(MAX_ATTEMPTS):
        in_transaction(lambda connection: count_failure(connection, found, "it failed"))


def reprocess() -> int:
    """Makes every parked request undecided again."""
    return in_transaction(lambda connection: revive(connection, find_parked(connection, Filter())))


def moving(order: str, city: str, *, role: str = "shipping", **changes: Any) -> dict[str, Any]:
    return a_request(order, kind="change_address", addresses={role: an_address(city=city)}, **changes)


def age(external_id: str, time: str = "2 hours") -> None:
    """Makes a request older, as if everything had stood still."""
    meddle(
        f"UPDATE change_request SET not_before = not_before - interval '{time}',"
        f" received_at = received_at - interval '{time}', undecided_since = undecided_since - interval '{time}'"
        f" WHERE external_id = '{external_id}'"
    )


def meddle(*statements: str) -> None:
    """Changes committed data behind the back of triggers and foreign keys."""
    in_transaction(lambda connection: meddle_in(connection, statements))


def meddle_in(connection: Connection, statements: Sequence[str]) -> None:
    connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
    for statement in statements:
        connection.exec_driver_sql(statement)
