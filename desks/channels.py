"""The ways by which a notice reaches its reader, and the three ways in which that can fail."""

from typing import Protocol

import structlog

from desks.notices import Notice

_log = structlog.get_logger()

# No wait of a delivery ends later than this after its beginning: a desk that dawdles must not outlive the lease.
MAX_SECONDS = 40.0
# Time-outs are of one step each: the last connection and the last answer may both take as long as was left before.
MAX_CONNECT_SECONDS = 10.0


class DeliveryError(Exception):
    """A notice was not delivered, or is not known to be; the text says why and quotes nothing personal.

    `retry_after` are the seconds that the other side asked us to wait, where it did. `is_tickets_own` is true for a
    failure that concerns its ticket alone: others of the same desk can go on. `is_in_doubt` is true where it may be the
    ticket's own or the desk's, and only another call can show which.
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
    """It certainly was not delivered, and may be later."""


class Forbidden(NotDelivered):
    """The key to the API is one, and may not do this; somebody can set that right."""


class OutcomeUnknown(DeliveryError):
    """It may or may not have been delivered: the next attempt must look for the notice's mark first."""


class Refused(DeliveryError):
    """It was not delivered and never will be: the ticket is closed or gone, the address is none."""


class Misdelivered(Refused):
    """It was delivered, though not as it should be, and must not be written again; a person has to look at it."""


class Channel(Protocol):
    """One way out. `deliver` runs outside any transaction, under a lease; the caller confirms it."""

    # What `notification.channel` says: ticket, mail or log.
    name: str
    # What is left alone for a while after a failure: the desk by its source, or the mail server.
    outlet: str

    def deliver(self, notice: Notice, *, customer: str, look_first: bool) -> None:
        """Delivers the notice; `customer` is the customer's e-mail address. Raises DeliveryError.

        With `look_first` an earlier try may have delivered it; it is not delivered twice.
        """


class LogChannel:
    """Writes to the log that there is a notice; its text is in `notification`, and a lost line loses nothing."""

    name = outlet = "log"

    def deliver(self, notice: Notice, *, customer: str = "", look_first: bool = False) -> None:
        """Logs the notice, without anything personal."""
        _log.info(
            "told",
            source=notice.source,
            request=notice.request_id,
            ticket=notice.ticket,
            visibility=notice.visibility,
            subject=notice.subject,
        )
