"""Reading what partners answer: each file is kept in a transaction of its own, then moved out of the inbox."""

import math
import time
from collections.abc import Callable
from functools import partial

import structlog

from edi import receipts
from edi.partners import Partner
from edi.receipts import Applied, Kept
from edi.transports.transport import NotReceived
from orders.faults import Fault, classify, told
from orders.tables import AcknowledgementState, InterchangeState
from tasks.database import in_transaction
from tasks.doorbells import Doorbell, ring, rung_by
from tasks.partners import partners

_log = structlog.get_logger()

# A partner whose line hangs must not keep the others' answers waiting.
SLICE_SECONDS = 10.0


def _to_the_log(partner: Partner, name: str, kept: Kept | NotReceived) -> None:
    log = _log.bind(partner=partner.name, file=name)
    if isinstance(kept, NotReceived):
        log.error("a file of the inbox could not be received", error=str(kept))
        return
    if kept.error:
        log.warning("what the partner sent cannot be read, kept", error=kept.error)
    if kept.others:
        log.info("what the partner sent is kept and not read", holds=kept.others)
    for one in kept.applied:
        _tell_one(log.bind(number=one.acknowledgement.control_number, kind=one.acknowledgement.kind), one)


def _tell_one(log: structlog.BoundLogger, one: Applied) -> None:
    if one.settled is InterchangeState.REJECTED:
        log.error("interchange rejected", reasons=one.acknowledgement.reasons)
    elif one.state is AcknowledgementState.UNMATCHED:
        log.warning("acknowledgement of an interchange that was not sent")
    else:
        log.info("acknowledgement", state=one.state, settled=one.settled)


def read_inbox(
    partner: Partner,
    tell: Callable[[Partner, str, Kept | NotReceived], None] = _to_the_log,
    *,
    until: float = math.inf,
) -> list[tuple[str, Kept]]:
    """Keeps and applies what waits in a partner's inbox; tells and returns it by file name. Raises NotReceived.

    A file that cannot be had stays where it is, and holds up no other. What has its turn after the monotonic time
    `until` is left for the next reading.
    """
    read: list[tuple[str, Kept]] = []
    for name in partner.transport.list_inbox():
        if time.monotonic() > until:
            break
        try:
            kept = _receive(partner, name, tell)
        except NotReceived as error:
            tell(partner, name, error)
            kept = Kept(error=str(error))
        if kept is not None:
            read.append((name, kept))
    return read


def _receive(partner: Partner, name: str, tell: Callable[[Partner, str, Kept], None]) -> Kept | None:
    content = partner.transport.read(name)
    kept = in_transaction(lambda connection: receipts.keep(connection, partner, name, content))
    # Before the file is moved: that may fail, and the next reading finds it kept and has nothing to tell.
    if kept is not None:
        tell(partner, name, kept)
        if any(one.settled for one in kept.applied):
            # Delivery may be what was proved: then requests wait for it.
            ring(Doorbell.APPLY_CHANGES)
    # Only now: a crash before this reads the file once more, and finds it kept. Not if it was replaced since, nor at
    # the first sight of one that cannot be read: it may still be being written. The next reading tells.
    is_whole = kept is None or kept.error is None
    if is_whole and partner.transport.read(name) == content:
        partner.transport.archive(name)
    return kept


@rung_by(Doorbell.READ_INBOXES)
def read_inboxes() -> None:
    """Reads the inboxes of all partners, each for a time slice, and tells the log whose acknowledgement is late."""
    for partner in partners():
        _read_apart(partner)


def _read_apart(partner: Partner) -> None:
    try:
        _read_and_tell_late(partner)
    except Exception as error:
        match classify(error):
            case Fault.OUTAGE:
                raise
            case Fault.AGAIN:
                _log.warning(
                    "the inbox of a partner is held up, the others are read", partner=partner.name, error=told(error)
                )
            case Fault.WORK:
                _log.exception("reading the inbox of a partner failed, the others are read", partner=partner.name)


def _read_and_tell_late(partner: Partner) -> None:
    try:
        read_inbox(partner, until=time.monotonic() + SLICE_SECONDS)
    except NotReceived as error:
        _log.error("an inbox could not be read", partner=partner.name, error=str(error))
    for number in in_transaction(partial(receipts.tell_late, partner=partner)):
        _log.warning("not acknowledged in time", partner=partner.name, control_number=number)
