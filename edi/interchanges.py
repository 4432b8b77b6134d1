"""Claiming: what is due for a partner becomes one interchange, its bytes stored before anything is sent.

After the claim's commit no change is applied to its orders. What is sent is what was stored, also the second time.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from sqlalchemy import Connection, text, update

from database import locks
from database.exportable import is_anything_exportable, without_undecided
from database.planner import force_index_plans_at
from database.queries import AnyRow, is_one_of
from database.tables import interchange, orders
from delivery.leases import lease_end
from edi import drafts, partner_state
from edi.documents.order import Message
from edi.documents.standards import assemble, largest_control_number, suffix
from edi.drafts import Draft
from edi.partners import Partner
from orders import changelog
from orders.fingerprint import ORDER_SHA256
from orders.views import as_utc
from rules.model import Edi

# Longer than a delivery by SFTP may take; when it ends, the next exporter sends the same bytes. One that takes
# longer nevertheless (a disk that hangs) has lost its fence.
LEASE = timedelta(seconds=60)
_NO_DRAFTS: Mapping[int, Draft] = MappingProxyType({})


class WrongOrders(Exception):
    """An interchange holds other orders than its locks should have kept: nothing may go on as if it did not."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """An interchange for the holder of this fence to send."""

    id: int
    partner: str
    control_number: int
    filename: str
    content: bytes
    orders: int
    fence: int
    # No earlier attempt can have delivered it.
    is_undelivered: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim found: an interchange to send (or none), how many orders it held back, what it has to wait for."""

    interchange: InFlight | None
    held_back: int = 0
    waits_for: str | None = None

    @property
    def found_something(self) -> bool:
        """True if another claim may find more."""
        return self.interchange is not None or self.held_back > 0


def claim(
    connection: Connection,
    partner: Partner,
    *,
    patience: timedelta,
    made: Mapping[int, Draft] = _NO_DRAFTS,
    only_resume: bool = False,
) -> Claim:
    """Claims what is due for a partner as one interchange, or takes over one whose sender is gone.

    Nothing is claimed while another interchange is on its way, or while the partner backs off after a failure; with
    `only_resume` nothing new is claimed at all. What is `made` of an order already need not be made under its lock.
    """
    counter = partner_state.lock(connection, partner)
    on_its_way = locks.lock_interchange_in_flight(connection, partner.name)
    now = force_index_plans_at(connection)
    if on_its_way is not None:
        if on_its_way.lease_until <= now:
            return Claim(take_over(connection, on_its_way))
        why = f" ({on_its_way.error})" if on_its_way.error else ""
        again = f"; it is tried again after {_to_the_second(on_its_way.lease_until)}" if on_its_way.error else ""
        return Claim(None, waits_for=f"interchange {on_its_way.control_number} is on its way{why}{again}")
    if only_resume:
        return Claim(None)
    since = now - patience
    wanted = drafts.wanted(partner, now, patience)
    if counter.not_before is not None and counter.not_before > now:
        if not is_anything_exportable(connection, wanted):
            return Claim(None)
        failed = "1 failed delivery" if counter.failures == 1 else f"{counter.failures} failed deliveries"
        again = f"it is tried again after {_to_the_second(counter.not_before)}"
        return Claim(None, waits_for=f"it backs off after {failed}: {counter.error}; {again}")
    number = counter.last_control_number + 1
    if number > largest_control_number(partner.standard):
        return Claim(None, waits_for=f"its control numbers are used up: {number} is beyond what {partner.standard} has")
    ids = locks.claim_exportable(connection, wanted, limit=partner.orders_per_interchange)
    free = without_undecided(connection, ids, since)
    together = drafts.within(partner.lines_per_interchange, free)
    messages, unrenderable = drafts.of_claimed(connection, together, partner, made)
    _hold_back(connection, unrenderable)
    if not messages:
        # Passed by because of somebody's lock; a cut-off must not be over before they have gone.
        is_busy = not unrenderable and is_anything_exportable(connection, wanted)
        return Claim(None, len(unrenderable), waits_for="due orders are locked at the moment" if is_busy else None)
    return Claim(_store(connection, partner, number, messages, now, since), len(unrenderable))


def _to_the_second(moment: datetime) -> str | None:
    # Rounded up, for before it nothing is tried.
    return as_utc(moment.replace(microsecond=0) + timedelta(seconds=1))


def take_over(connection: Connection, row: AnyRow) -> InFlight:
    """Takes a locked, claimed interchange from its last holder, for another attempt."""
    taken = connection.execute(
        update(interchange)
        .where(interchange.c.id == row.id, interchange.c.fence == row.fence)
        .values(fence=row.fence + 1, lease_until=lease_end(LEASE), error=None)
        .returning(interchange)
    )
    whole = taken.one()
    return in_flight(whole, whole.content)


def in_flight(row: AnyRow, content: bytes) -> InFlight:
    """Returns an interchange as the holder of its newest fence needs it to send it."""
    return InFlight(
        row.id,
        row.partner,
        row.control_number,
        row.filename,
        content,
        row.orders,
        row.fence,
        is_undelivered=row.clean_fence == row.fence - 1,
    )


def _hold_back(connection: Connection, errors: dict[int, str]) -> None:
    for order_id, error in errors.items():
        held = update(orders).where(orders.c.id == order_id, orders.c.edi_state == Edi.NOT_SENT)
        connection.execute(held.values(export_error=error))


# One statement, after the partner and the orders are locked. What it reads is as it was before it.
_STORE = text(
    f"""
    WITH stored AS (
        INSERT INTO interchange (partner, control_number, filename, content, sha256, orders, patience_since,
            acknowledge_within, lease_until)
        VALUES (:partner, :control_number, :filename, :content, :sha256, :orders, :patience_since,
            :acknowledge_within, clock_timestamp() + CAST(:lease AS interval))
        RETURNING id, partner, control_number, filename, orders, fence, clean_fence
    ), logged AS (
        INSERT INTO changelog (order_id, actor, action, before, after)
        SELECT id, CAST(:actor AS text), CAST(:action AS text), jsonb_build_object('edi', edi_state),
            jsonb_build_object('edi', 'claimed', 'partner', CAST(:partner AS text),
                'control_number', CAST(:control_number AS bigint), 'order_sha256', {ORDER_SHA256})
        FROM orders WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id
    ), claimed AS (
        UPDATE orders SET edi_state = 'claimed', version = version + 1, interchange_id = (SELECT id FROM stored)
        WHERE id = ANY(CAST(:ids AS bigint[])) AND edi_state = 'not_sent'
        RETURNING 1
    ), counted AS (
        UPDATE partner SET last_control_number = :control_number WHERE name = :partner
    )
    SELECT stored.*, (SELECT count(*) FROM claimed) AS claimed FROM stored
    """  # noqa: S608  # our own constant
)


def _store(
    connection: Connection,
    partner: Partner,
    number: int,
    messages: Mapping[int, Message],
    now: datetime,
    since: datetime,
) -> InFlight:
    content = assemble(list(messages.values()), partner, number, now)
    stored = {
        "partner": partner.name,
        "control_number": number,
        "filename": f"{partner.name}-{number:09d}{suffix(partner.standard)}",
        "content": content,
        "sha256": hashlib.sha256(content).hexdigest(),
        "orders": len(messages),
        "patience_since": since,
        "acknowledge_within": partner.acknowledged_within,
        "lease": LEASE,
        "actor": f"edi:{partner.name}",
        "action": changelog.Action.EDI_CLAIMED,
        "ids": list(messages),
    }
    row = connection.execute(_STORE, stored).one()
    expect_all(len(messages), row.claimed, row)
    return in_flight(row, content)


def retry_held_back(connection: Connection) -> None:
    """Lets orders that could not be rendered be tried once more: they, the partner or the program may have changed."""
    ids = locks.claim_held_back(connection)
    connection.execute(update(orders).where(is_one_of(orders.c.id, ids)).values(export_error=None))


def expect_all(expected: int, found: int, row: AnyRow) -> None:
    """Raises WrongOrders unless all orders of an interchange were where their locks should have kept them."""
    if found != expected:
        raise WrongOrders(
            f"interchange {row.control_number} of {row.partner}: {found} of its {expected} orders are its"
        )
