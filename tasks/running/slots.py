"""When beat rings: each wake-up in its interval, and at moments of its own."""

from datetime import datetime

from celery.schedules import schedstate, schedule


class FixedSlotSchedule(schedule):  # type: ignore[misc]  # Celery is untyped
    """Due once in each slot of so many seconds, by the clock; a slot begins `offset` seconds after a multiple of them.

    Celery's own counts from when it has rung: each ring makes the next one later, and two that were apart meet.
    """

    def __init__(self, seconds: float, offset: float) -> None:
        super().__init__(seconds)
        self._offset = offset

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Returns whether it is due, and the seconds until it is the next time."""
        slot, passed = self._at(self.now())
        # Not only a later one: a clock may be set back.
        return schedstate(slot != self._at(last_run_at)[0], self.seconds - passed)

    def _at(self, moment: datetime) -> tuple[float, float]:
        return divmod(moment.timestamp() - self._offset, float(self.seconds))
