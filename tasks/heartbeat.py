"""The sign of life that beat asks each queue for: that somebody works it off, also where nothing else is to do."""

from tasks.running.wakeups import WakeUp, wakeup_task


@wakeup_task(WakeUp.HEARTBEAT)
def heartbeat() -> None:
    """Does nothing: that it came this far is noted, as after every task."""
