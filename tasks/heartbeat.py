"""The sign of life that beat asks each queue for: that somebody works it off, also where nothing else is to do."""

from tasks.running.wakeups import Doorbell, rung_by


@rung_by(Doorbell.HEARTBEAT)
def heartbeat() -> None:
    """Does nothing: that it came this far is noted, as after every task."""
