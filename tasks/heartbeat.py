"""The sign of life that beat asks each queue for: it shows that a worker consumes the queue, even an idle one."""

from tasks.running.wakeups import WakeUp, wakeup_task


@wakeup_task(WakeUp.HEARTBEAT)
def heartbeat() -> None:
    """Does nothing: that it came this far is noted, as after every task."""
