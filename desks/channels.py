"""The channels by which a notice reaches its reader, and the failures that only helpdesks know."""

from typing import Protocol

import structlog

from delivery.outcomes import NotDelivered, Refused
from desks.notices import Notice

_log = structlog.get_logger()

# All waits of a delivery end within this time after its start: a slow desk must not outlast the lease.
MAX_SECONDS = 40.0
# Each time-out covers one step, so connecting and reading may each take all the time that was left.
MAX_CONNECT_SECONDS = 10.0


class Forbidden(NotDelivered):
    """The key to the API is valid, but not allowed to do this; somebody can correct that."""


class Misdelivered(Refused):
    """It was delivered wrongly and must not be written again; a person has to look at it."""

    delivered_nothing = False


class Channel(Protocol):
    """One way to deliver notices. `deliver` runs outside any transaction, under a lease; the caller confirms it."""

    # As in `notification.channel`: ticket, mail or log.
    name: str
    # What backs off when it fails: the desk by its source, or the mail server.
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
