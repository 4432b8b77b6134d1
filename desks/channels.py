"""The channels by which a notice reaches its reader, and the ways in which a delivery can fail."""

from typing import Protocol

import structlog

from desks.notices import Notice

_log = structlog.get_logger()

# All waits of a delivery end within this time after its start: a slow desk must not outlast the lease.
MAX_SECONDS = 40.0
# Each time-out covers one step, so connecting and reading may each take all the time that was left.
MAX_CONNECT_SECONDS = 10.0


class DeliveryError(Exception):
    """A notice was not delivered, or may not have been; the message says why and quotes nothing personal.

    `retry_after` are the seconds that the other side asked us to wait, if it did. `is_tickets_own` is true if it
    concerns only its ticket, so that others of the same desk can go on. `is_in_doubt` is true if only another call can
    show whether it concerns the ticket or the whole desk.
    """

    def __init__(
        self,
        message: str,
        retry_after: float | None = None,
        *,
        is_tickets_own: bool = False,
        is_in_doubt: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.is_tickets_own = is_tickets_own
        self.is_in_doubt = is_in_doubt


class NotDelivered(DeliveryError):
    """It was certainly not delivered, and a later attempt may succeed."""


class Forbidden(NotDelivered):
    """The key to the API is valid, but not allowed to do this; somebody can correct that."""


class OutcomeUnknown(DeliveryError):
    """It may or may not have been delivered: the next attempt must look for the notice's mark first."""


class Refused(DeliveryError):
    """It was not delivered and never will be: the ticket is closed or gone, or the address is invalid."""


class Misdelivered(Refused):
    """It was delivered wrongly and must not be written again; a person has to look at it."""


class Channel(Protocol):
    """One way to deliver notices. `deliver` runs outside any transaction, under a lease; the caller confirms it."""

    # As in `notification.channel`: ticket, mail or log.
    name: str
    # The destination that pauses after a failure: the source of a desk, or the mail server.
    destination: str

    def deliver(self, notice: Notice, *, customer: str, look_first: bool) -> None:
        """Delivers the notice; `customer` is the customer's e-mail address. Raises DeliveryError.

        With `look_first`, an earlier attempt may have delivered it; then it is not delivered again.
        """


class LogChannel:
    """Logs that there is a notice; its text is in `notification`, so a lost line loses nothing."""

    name = destination = "log"

    def deliver(self, notice: Notice, *, customer: str = "", look_first: bool = False) -> None:
        """Logs the notice, without anything personal."""
        _log.info(
            "notice written",
            source=notice.source,
            request=notice.request_id,
            ticket=notice.ticket,
            visibility=notice.visibility,
            subject=notice.subject,
        )
