"""Exporting: claim, send, confirm. The bytes travel outside any transaction, and after the claim's commit."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog

from configuration.settings import settings
from database.faults import Fault, classify, describe_fault
from database.tables import InterchangeState
from database.transactions import in_transaction
from delivery.leases import LostFence
from edi import interchanges, operator_actions, outcomes, partner_state
from edi.interchanges import Claim, InFlight
from edi.operator_actions import NotPossible
from edi.partners import Partner
from edi.transports.transport import NotDelivered, NotTried, TransportError
from tasks.partners import partners
from tasks.running import progress
from tasks.running.prerender import DraftPrefetcher
from tasks.running.wakeups import WakeUp, wake, wakeup_task

_log = structlog.get_logger()
SLICE_SECONDS = 5.0
# The states of an interchange that the partner has.
DELIVERED = (InterchangeState.SENT, InterchangeState.ACKNOWLEDGED, InterchangeState.REJECTED)


@dataclass(frozen=True, slots=True)
class Exported:
    """One step of an export: what was claimed and what became of it; `error` says why it is not `sent`."""

    claim: Claim
    state: InterchangeState | None = None
    error: str | None = None


def iterate_export(partner: Partner, *, only_resume: bool = False) -> Iterator[Exported]:
    """Exports what is due now for a partner, interchange by interchange; the last step is one that found nothing.

    With `only_resume` nothing new is claimed: it finishes what another process has left.
    """
    failures = 0 if only_resume else _check_after_failures(partner)
    with DraftPrefetcher(partner) as ahead:
        while True:
            made = {} if only_resume else ahead.take()
            claim = in_transaction(
                partial(
                    interchanges.claim,
                    partner=partner,
                    patience=settings().patience,
                    made=made,
                    only_resume=only_resume,
                )
            )
            if claim.held_back:
                _log.warning(
                    "orders held back, no document can be made of them", partner=partner.name, count=claim.held_back
                )
            yield _send(partner, claim) if claim.interchange else Exported(claim, error=claim.waits_for)
            if not claim.found_something:
                if failures and claim.waits_for is None:
                    # Nothing is due by which it could show that it can be reached again.
                    in_transaction(
                        lambda connection: partner_state.forget_failures(connection, partner.name, failures=failures)
                    )
                return


def _check_after_failures(partner: Partner) -> int:
    """Tries the way to a partner that failed; returns its failures if that works again, 0 if there are none.

    A claim that cannot be delivered costs a control number and stays in the database, so none is made as a probe.
    """
    failures = in_transaction(lambda connection: partner_state.begin_probe(connection, partner.name))
    if not failures:
        return 0
    try:
        partner.transport.check_outbox()
    except NotTried as untried:
        # Only a delivery can show it.
        _log.info("the way to the partner could not be tried beforehand", partner=partner.name, why=str(untried))
    except TransportError as error:
        reason = str(error)
        _log.error("nothing reaches the partner, nothing is claimed", partner=partner.name, error=reason)
        in_transaction(lambda connection: partner_state.back_off(connection, partner.name, reason, failures=failures))
        return 0
    in_transaction(lambda connection: partner_state.pass_probe(connection, partner.name, failures))
    return failures


def _send(partner: Partner, claim: Claim) -> Exported:
    interchange = claim.interchange
    assert interchange is not None  # noqa: S101  # for the type checker
    log = _log.bind(partner=partner.name, control_number=interchange.control_number, orders=interchange.orders)
    try:
        partner.transport.put(interchange.filename, interchange.content)
        in_transaction(lambda connection: outcomes.confirm(connection, interchange))
    except TransportError as error:
        return Exported(claim, *_not_sent(partner, interchange, error))
    except LostFence as lost:
        if in_transaction(lambda connection: outcomes.note_late_delivery(connection, interchange)):
            log.error("interchange delivered after its release: ask the partner, its orders may be sent twice")  # noqa: TRY400
        else:
            log.warning("another process has taken over the interchange", error=str(lost))
        # The partner may have answered before we confirmed.
        state = in_transaction(lambda connection: outcomes.state_of(connection, interchange.id))
        return Exported(claim, state, None if state in DELIVERED else str(lost))
    log.info("interchange sent", filename=interchange.filename)
    wake(WakeUp.APPLY_CHANGES)
    return Exported(claim, InterchangeState.SENT)


def _not_sent(partner: Partner, interchange: InFlight, error: TransportError) -> tuple[InterchangeState, str]:
    reason = str(error)
    _log.error("interchange not sent", partner=interchange.partner, number=interchange.control_number, error=reason)
    if isinstance(error, NotDelivered) and interchange.is_undelivered:
        # Only with the earlier attempts does it know: one of them may have delivered it before it died.
        reuse = partner.reuses_released_numbers
        try:
            in_transaction(lambda connection: outcomes.release(connection, interchange, reason, reuse_number=reuse))
        except LostFence as lost:
            return InterchangeState.CLAIMED, f"{reason}; {lost}"
        wake(WakeUp.APPLY_CHANGES)
        return InterchangeState.RELEASED, reason
    in_transaction(
        lambda connection: outcomes.note_error(
            connection, interchange, reason, delivered_nothing=error.delivered_nothing
        )
    )
    return InterchangeState.CLAIMED, reason


def resend(partner: Partner, control_number: int) -> InFlight:
    """Sends an interchange once more for an operator: the same bytes. Raises NotPossible and TransportError."""
    taken = in_transaction(lambda connection: operator_actions.take_to_resend(connection, partner, control_number))
    try:
        partner.transport.put(taken.filename, taken.content)
    except TransportError as error:
        nothing, reason = error.delivered_nothing, str(error)
        in_transaction(lambda connection: outcomes.note_error(connection, taken, reason, delivered_nothing=nothing))
        raise
    try:
        is_noted = in_transaction(lambda connection: operator_actions.note_resent(connection, taken))
    except LostFence as lost:
        raise NotPossible(f"it was delivered, but another process is sending it as well: {lost}") from None
    if not is_noted:
        raise NotPossible(
            f"interchange {control_number} of {partner.name} was released while it was being sent, and was delivered: "
            "tell the partner not to carry it out, its orders are free and go out again"
        )
    wake(WakeUp.APPLY_CHANGES)
    return taken


def release(partner: Partner, control_number: int, *, asked_the_partner: bool) -> int:
    """Gives the orders of an interchange free for an operator; returns how many. Raises NotPossible."""
    taken = in_transaction(lambda connection: operator_actions.find_releasable(connection, partner, control_number))
    # Where the way there is closed, only the partner can know.
    with suppress(TransportError):
        if partner.transport.is_present(taken.filename, taken.content):
            raise NotPossible(
                f"{taken.filename} is still where {partner.name} collects it, and would be carried out: remove it "
                "first, or send it again (`countermand interchanges resend`), which makes it sent"
            )
    freed = in_transaction(
        lambda connection: operator_actions.release(
            connection, partner, control_number, asked_the_partner=asked_the_partner
        )
    )
    wake(WakeUp.APPLY_CHANGES)
    return freed


@wakeup_task(WakeUp.EXPORT)
def export() -> None:
    """Exports what is due to each partner whose cut-off has passed, for a time slice; wakes itself for the rest."""
    # Not all(…): one that is slow must not keep those after it waiting until it has everything.
    if False in [_export_apart(partner) for partner in partners()]:
        wake(WakeUp.EXPORT)


def _export_apart(partner: Partner) -> bool:
    try:
        return _export_on_schedule(partner)
    except Exception as error:
        match classify(error):
            case Fault.OUTAGE:
                raise
            case Fault.RETRYABLE:
                _log.warning(
                    "the export to a partner is held up, the others go on",
                    partner=partner.name,
                    error=describe_fault(error),
                )
            case Fault.PERMANENT:  # whatever it is, as a claim that takes too long
                _log.exception("the export to a partner failed, the others go on", partner=partner.name)
        return True


def _export_on_schedule(partner: Partner) -> bool:
    """Returns False if the time was over before the partner had all of it."""
    deadline = time.monotonic() + SLICE_SECONDS
    # The partner before this one may have taken long.
    progress.note_task()
    cutoff = in_transaction(lambda connection: partner_state.passed_cutoff(connection, partner))
    error: str | None = None
    for step in iterate_export(partner, only_resume=cutoff is None):
        error = step.error
        progress.note_task()
        if time.monotonic() > deadline:
            return False
    # What has to wait (for another sender, for a partner that backs off) is still this cut-off's.
    if cutoff is not None and partner.schedule is not None and error is None:
        in_transaction(lambda connection: partner_state.keep_cutoff(connection, partner, cutoff))
    return True
