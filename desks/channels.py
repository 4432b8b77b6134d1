"""The ways by which a notice reaches its reader. Today there is one, the log; a helpdesk or mail is one more class."""

from typing import Protocol

import structlog

from desks.notices import Notice

_log = structlog.get_logger()


class Channel(Protocol):
    """One way out.

    Today `deliver` runs after the commit that says "done": right for the log, whose loss loses nothing, since the
    text is in `notification`. A channel that can fail needs a lease, a delivery and a confirmation around it, as an
    interchange has.
    """

    name: str

    def deliver(self, notice: Notice) -> None:
        """Tells the notice."""


class LogChannel:
    """Writes the notice to the log; its text is kept in `notification`."""

    name = "log"

    def deliver(self, notice: Notice) -> None:
        """Logs the notice."""
        _log.info(
            "told",
            source=notice.source,
            request=notice.request_id,
            ticket=notice.ticket,
            visibility=notice.visibility,
            subject=notice.subject,
            body=notice.body,
        )


def channel_for(notice: Notice) -> Channel:  # the notice chooses as soon as there is a choice
    """Returns the one channel that a notice goes out by."""
    return LogChannel()
