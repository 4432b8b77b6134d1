"""When beat sends wake-ups: each one in its own interval, at its own offset."""

from datetime import datetime

from celery.schedules import schedstate, schedule


class FixedSlotSchedule(schedule):  # type: ignore[misc]  # Celery is untyped
    """Due once in each slot of `seconds` seconds of the wall clock; slots begin `offset` seconds after multiples of it.

    Celery's own schedule counts from the last run, so each run delays the next, and schedules that were apart drift
    together.
    """

    def __init__(self, seconds: float, offset: float) -> None:
        super().__init__(seconds)
        self._offset = offset

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Returns whether it is due, and the seconds until the next time."""
        slot, passed = self._at(self.now())
        # An earlier slot counts too: a clock may be set back.
        return schedstate(slot != self._at(last_run_at)[0], self.seconds - passed)

    def _at(self, moment: datetime) -> tuple[float, float]:
        return divmod(moment.timestamp() - self._offset, float(self.seconds))
