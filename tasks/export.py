"""Exporting: claim, send, confirm. The bytes travel outside any transaction, and after the claim's commit."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import structlog
from celery import shared_task

from edi import interchanges, outcomes
from edi.interchanges import Claim, InFlight, LostFence
from edi.partners import Partner, default_partner
from edi.transport import NotDelivered, TransportError, put
from orders.tables import InterchangeState
from tasks.database import in_transaction
from tasks.doorbells import Doorbell, ring
from tasks.settings import settings

_log = structlog.get_logger()
SLICE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Exported:
    """One step of an export: what was claimed and what became of it; `error` says why it is not `sent`."""

    claim: Claim
    state: InterchangeState | None = None
    error: str | None = None


def partners() -> list[Partner]:
    """Returns the partners that interchanges go to."""
    return [default_partner(settings().home.resolve())]


def export_steps(partner: Partner) -> Iterator[Exported]:
    """Exports what is due now for a partner, interchange by interchange; the last step is one that found nothing."""
    while True:
        claim = in_transaction(lambda connection: interchanges.claim(connection, partner, patience=settings().patience))
        if claim.held_back:
            _log.warning(
                "orders held back, no document can be made of them", partner=partner.name, count=claim.held_back
            )
        yield _send(partner, claim) if claim.interchange else Exported(claim, error=claim.waits_for)
        if not claim.found_something:
            return


def _send(partner: Partner, claim: Claim) -> Exported:
    interchange = claim.interchange
    assert interchange is not None  # noqa: S101  # told to the type checker
    log = _log.bind(partner=partner.name, control_number=interchange.control_number, orders=interchange.orders)
    try:
        put(partner.folder, interchange.filename, interchange.content)
        in_transaction(lambda connection: outcomes.confirm(connection, interchange))
    except TransportError as error:
        return Exported(claim, *_not_sent(interchange, error))
    except LostFence as lost:
        log.warning("someone else has taken the interchange over", error=str(lost))
        return Exported(claim, InterchangeState.CLAIMED, str(lost))
    log.info("interchange sent", filename=interchange.filename)
    ring(Doorbell.APPLY_CHANGES)
    return Exported(claim, InterchangeState.SENT)


def _not_sent(interchange: InFlight, error: TransportError) -> tuple[InterchangeState, str]:
    told = str(error)
    _log.error("interchange not sent", partner=interchange.partner, number=interchange.control_number, error=told)
    if isinstance(error, NotDelivered) and interchange.is_first_attempt:
        # Only the first attempt knows: an earlier one may have delivered it before it died.
        try:
            in_transaction(lambda connection: outcomes.release(connection, interchange, told))
        except LostFence as lost:
            return InterchangeState.CLAIMED, f"{told}; {lost}"
        ring(Doorbell.APPLY_CHANGES)
        return InterchangeState.RELEASED, told
    in_transaction(lambda connection: outcomes.note_error(connection, interchange, told))
    return InterchangeState.CLAIMED, told


@shared_task(name=Doorbell.EXPORT)
def export() -> None:
    """Exports what is due to all partners, for a time slice; rings for itself if something is left."""
    deadline = time.monotonic() + SLICE_SECONDS
    for partner in partners():
        for _ in export_steps(partner):
            if time.monotonic() > deadline:
                ring(Doorbell.EXPORT)
                return
