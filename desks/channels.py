"""The channels by which a notice reaches its reader, and the failures that only helpdesks know."""

from typing import Protocol

import structlog

from delivery.outcomes import NotDelivered, Refused
from desks.notices import Notice

_log = structlog.get_logger()

# No wait of a delivery ends later than this after its beginning: a desk that dawdles must not outlive the lease.
MAX_SECONDS = 40.0
# Time-outs are of one step each: the last connection and the last answer may both take as long as was left before.
MAX_CONNECT_SECONDS = 10.0


class Forbidden(NotDelivered):
    """The key to the API is one, and may not do this; somebody can set that right."""


class Misdelivered(Refused):
    """It was delivered, though not as it should be, and must not be written again; a person has to look at it."""

    delivered_nothing = False


class Channel(Protocol):
    """One way out. `deliver` runs outside any transaction, under a lease; the caller confirms it."""

    # What `notification.channel` says: ticket, mail or log.
    name: str
    # What backs off when it fails: the desk by its source, or the mail server.
    destination: str

    def deliver(self, notice: Notice, *, customer: str, look_first: bool) -> None:
        """Delivers the notice; `customer` is the customer's e-mail address. Raises DeliveryError.

        With `look_first` an earlier try may have delivered it; it is not delivered twice.
        """


class LogChannel:
    """Writes to the log that there is a notice; its text is in `notification`, and a lost line loses nothing."""

    name = destination = "log"

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
