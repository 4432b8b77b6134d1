"""What the sessions of the races do (the real functions, each in one transaction), and every order of them run."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from database.transactions import in_transaction
from edi import drafts, interchanges, outcomes
from edi.interchanges import Claim, InFlight
from edi.partners import Partner, default_partner
from orders.audit import audit
from orders.inbox import Delivery, store
from orders.loading import load_orders
from orders.messages import parse_order
from orders.reading import show_order, show_request
from orders.reprocessing import Filter, find_parked, revive
from orders.request_retries import MAX_ATTEMPTS, count_failure, park_unknown_orders
from orders.views import to_json
from tasks.intake import store_and_decide
from tasks.running.batches import Job
from tests.builders import DECIDING, deliver, encoded, rows, settle
from tests.race.figures import NOT_ALL
from tests.race.gates import Work
from tests.race.interleavings import Race, explore

PATIENCE = timedelta(minutes=15)
OUT_OF_PATIENCE = timedelta(0)

Record = Callable[[str, object], None]


def doing(job: Job, among: Sequence[int] | None = None) -> Work:
    """One batch of a job, as a worker does it."""

    def work(connection: Connection) -> Sequence[int]:
        batch = job.claim(connection, job.limit, among)
        batch.perform()
        return batch.ids

    return work


applying = doing(DECIDING)


def claiming(partner: Partner, patience: timedelta = PATIENCE) -> Work:
    """The first transaction of an export."""
    return lambda connection: interchanges.claim(connection, partner, patience=patience)


def drafting_and_claiming(partner: Partner, patience: timedelta = PATIENCE) -> Work:
    """The same of what was rendered before anything was locked; that it is one transaction here makes no difference."""

    def work(connection: Connection) -> Claim:
        made = drafts.make(connection, partner, patience=patience)
        return interchanges.claim(connection, partner, patience=patience, made=made.by_order)

    return work


def confirming(sent: InFlight) -> Work:
    """The last transaction of an export."""
    return lambda connection: outcomes.confirm(connection, sent)


def releasing(undelivered: InFlight) -> Work:
    """The last transaction of an export that has certainly failed."""
    return lambda connection: outcomes.release(connection, undelivered, "the folder is gone")


def accepting(*requests: dict[str, Any]) -> Work:
    """An intake's transaction."""
    deliveries = [Delivery("test", None, encoded(request)) for request in requests]
    return lambda connection: store(connection, deliveries)


def taking(*requests: dict[str, Any]) -> Work:
    """The transaction of an intake that has few: it accepts and decides; returns how many it has decided."""
    deliveries = [Delivery("test", None, encoded(request)) for request in requests]

    def work(connection: Connection) -> int:
        taken = store_and_decide(connection, deliveries)
        assert taken.accepted.new == len(requests)
        return taken.decided

    return work


def loading(order: dict[str, Any]) -> Work:
    """The store's transaction; for a known number its release."""
    message = parse_order(encoded(order))
    return lambda connection: load_orders(connection, [message])


def reviving() -> Work:
    """Reprocessing, of all that is parked when it is called."""
    parked = in_transaction(lambda connection: find_parked(connection, Filter()))
    return lambda connection: revive(connection, parked)


def parking(connection: Connection) -> int:
    """Setting aside what has waited long enough for its order."""
    return park_unknown_orders(connection, patience=OUT_OF_PATIENCE, limit=500)


def failing(request_id: int) -> Work:
    """Counting a failed try of a request."""
    return lambda connection: count_failure(connection, request_id, "it failed")


def id_of(request_id: str) -> int:
    """Returns the database's id of a request."""
    [[found]] = rows("SELECT id FROM change_request WHERE external_id = :id", id=request_id)
    return int(found)


def park(event: dict[str, Any]) -> None:
    """Accepts a request and lets it fail until it is parked."""
    deliver(event)
    for _ in range(MAX_ATTEMPTS):
        in_transaction(failing(id_of(str(event["id"]))))


def end_the_rest() -> None:
    """Lets partners be sent to again after a failure."""
    rows("UPDATE partner SET not_before = NULL RETURNING name")


def a_partner(home: Path) -> Partner:
    """Returns a partner whose counter row is there already, so that every claim takes the same steps."""
    partner = default_partner(home)
    in_transaction(claiming(partner))
    return partner


def order(index: int) -> dict[str, Any]:
    """Returns the order of one run."""
    found = in_transaction(lambda connection: show_order(connection, str(index)))
    assert found is not None
    return to_json(found)


def request(index: int, name: str = "r") -> dict[str, Any]:
    """Returns a request of one run."""
    found = in_transaction(lambda connection: show_request(connection, "zendesk:acme", f"{name}{index}"))
    assert found is not None
    return to_json(found)


def actions(index: int) -> list[str]:
    """Returns what has happened to the order of one run."""
    return [entry["action"] for entry in order(index)["changelog"]]


def claimed(partner: Partner, patience: timedelta = PATIENCE) -> InFlight:
    """Claims what is due."""
    claim: Claim = in_transaction(claiming(partner, patience))
    assert claim.interchange is not None
    return claim.interchange


def finish(claim: Claim, partner: Partner) -> Claim:
    """Goes on to the end: what was claimed is sent, what is undecided decided, what is then due exported."""
    if claim.interchange:
        in_transaction(confirming(claim.interchange))
    settle()
    following: Claim = in_transaction(claiming(partner))
    if following.interchange:
        in_transaction(confirming(following.interchange))
    return following


def run_every_order(
    scenario: Callable[[int], Mapping[str, Work]],
    check: Callable[[Race], str],
    record: Record,
    *,
    may_fail: tuple[type[Exception], ...] = (),
    at_most: int | None = None,
) -> set[str]:
    """Runs a race in every order of its steps, with the audit after each; returns the ends that `check` has named.

    `at_most` bounds races that have thousands of orders, unless COUNTERMAND_ALL_INTERLEAVINGS is set.
    """
    ends: Counter[str] = Counter()

    def check_and_audit(this: Race) -> None:
        ends[check(this)] += 1
        found = in_transaction(lambda connection: audit(connection, patience=PATIENCE))
        assert [one for one in found["checks"] if one["violations"]] == []

    limit = None if "COUNTERMAND_ALL_INTERLEAVINGS" in os.environ else at_most
    runs = explore(scenario, check_and_audit, may_fail=may_fail, at_most=limit)
    record("interleavings", len(runs))
    record(NOT_ALL, len(runs) == limit)
    print(f"{len(runs)} interleavings: {dict(ends)}")
    assert len(runs) > 1
    return set(ends)
