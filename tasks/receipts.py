"""Reading what partners answer: each file is stored in a transaction of its own, then moved out of the inbox."""

import math
import time
from collections.abc import Callable

import structlog

from database.faults import Fault, classify, describe_fault
from database.tables import AcknowledgementState, InterchangeState
from database.transactions import in_transaction
from edi import acknowledgement_files, partner_state
from edi.acknowledgement_files import Applied, StoredFile
from edi.partner_state import InboxTurn
from edi.partners import Partner
from edi.transports.transport import NotReceived
from tasks.partners import partners
from tasks.running import progress
from tasks.running.wakeups import WakeUp, wake, wakeup_task

_log = structlog.get_logger()

# A partner whose line hangs must not keep the others' answers waiting, and all together not the exports.
SLICE_SECONDS = 10.0
ROUND_SECONDS = 60.0


def _to_the_log(partner: Partner, name: str, stored: StoredFile | NotReceived) -> None:
    log = _log.bind(partner=partner.name, file=name)
    if isinstance(stored, NotReceived):
        log.error("a file of the inbox could not be received", error=str(stored))
        return
    if stored.again:
        if stored.is_whole:
            log.info("the same file was stored before under the same name; moved away", error=stored.error)
        return
    if stored.error:
        log.warning("what the partner sent cannot be read, but is stored", error=stored.error)
    if stored.others:
        log.warning("what the partner sent is stored and not read", holds=stored.others)
    for one in stored.applied:
        _log_one(log.bind(number=one.acknowledgement.control_number, kind=one.acknowledgement.kind), one)


def _log_one(log: structlog.BoundLogger, one: Applied) -> None:
    if one.settled is InterchangeState.REJECTED:
        log.error("interchange rejected", reasons=one.acknowledgement.reasons)
    elif one.state is AcknowledgementState.UNMATCHED:
        log.warning("acknowledgement of an interchange that was not sent")
    else:
        log.info("acknowledgement", state=one.state, settled=one.settled)


def read_inbox(
    partner: Partner,
    report: Callable[[Partner, str, StoredFile | NotReceived], None] = _to_the_log,
    *,
    until: float = math.inf,
) -> list[tuple[str, StoredFile]]:
    """Stores and applies what is in a partner's inbox; reports and returns it by file name. Raises NotReceived.

    A file that cannot be read stays where it is, and holds up no other. What has its turn after the monotonic time
    `until` is left for the next reading; what could not be read by then is raised, since the connection hangs.
    """
    read: list[tuple[str, StoredFile]] = []
    for name in partner.transport.list_inbox():
        if time.monotonic() > until:
            break
        try:
            stored = _receive(partner, name, report)
        except NotReceived as error:
            report(partner, name, error)
            if time.monotonic() > until:
                raise
            stored = StoredFile(error=str(error))
        read.append((name, stored))
    return read


def _receive(partner: Partner, name: str, report: Callable[[Partner, str, StoredFile], None]) -> StoredFile:
    content = partner.transport.read(name)
    stored = in_transaction(lambda connection: acknowledgement_files.store(connection, partner, name, content))
    # Before the file is moved: that may fail, and the next reading finds it stored and has nothing new to report.
    report(partner, name, stored)
    if any(one.settled for one in stored.applied):
        # Delivery may be what was proved: then requests wait for it.
        wake(WakeUp.APPLY_CHANGES)
    # Only now: a crash before this reads the file once more, and finds it stored. Not if it was replaced since.
    if stored.is_whole and partner.transport.read(name) == content:
        partner.transport.archive(name)
    return stored


@wakeup_task(WakeUp.READ_INBOXES)
def read_inboxes() -> None:
    """Logs whose acknowledgement is late, then reads the inboxes, each for a time slice, unless someone does.

    One that fails backs off. What is left when the time is over waits for beat's next wake-up.
    """
    for partner in partners():
        _apart(partner, _log_late)
    having = {partner.name: partner for partner in partners() if partner.transport.has_inbox}
    if not having:
        return
    until = time.monotonic() + ROUND_SECONDS
    since = in_transaction(lambda connection: partner_state.begin_inbox_round(connection, having.values()))
    while time.monotonic() < until and (
        turn := in_transaction(lambda c: partner_state.take_inbox_turn(c, having, since))
    ):
        _take_turn(having[turn.partner], turn)


def _take_turn(partner: Partner, turn: InboxTurn) -> None:
    error = _apart(partner, lambda of: read_inbox(of, until=time.monotonic() + SLICE_SECONDS))
    in_transaction(lambda connection: partner_state.end_inbox_turn(connection, turn, error))
    progress.note_task()


def _log_late(partner: Partner) -> None:
    for number in in_transaction(lambda connection: acknowledgement_files.note_late(connection, partner)):
        _log.warning("not acknowledged in time", partner=partner.name, control_number=number)


def _apart(partner: Partner, work: Callable[[Partner], object]) -> str | None:
    """Does one partner's work; what goes wrong is logged, holds up no other, and is returned if it is the partner's."""
    try:
        work(partner)
    except NotReceived as error:
        _log.error("an inbox could not be read", partner=partner.name, error=str(error))
        return str(error)
    except Exception as error:
        match classify(error):
            case Fault.OUTAGE:
                raise
            case Fault.RETRYABLE:
                _log.warning("what a partner answers is held up", partner=partner.name, error=describe_fault(error))
                return None
            case Fault.PERMANENT:
                _log.exception("what a partner answers could not be dealt with", partner=partner.name)
        return f"{type(error).__name__}: the log says more"
    return None
