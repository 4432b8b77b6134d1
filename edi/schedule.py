"""When a partner gets its interchanges: crontab lines in the partner's time zone."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from celery.schedules import crontab


@dataclass(frozen=True, slots=True)
class Schedule:
    """Crontab lines; each moment that one of them matches is a cut-off, at which due orders go out."""

    lines: tuple[str, ...]
    zone: ZoneInfo

    def __post_init__(self) -> None:
        """Raises ValueError for an invalid line."""
        for line in self.lines:
            _parsed(line)

    def next_after(self, moment: datetime) -> datetime:
        """Returns the first cut-off after an aware moment, in UTC.

        A time that the clock skips in spring is moved forward by as much as the clock; one that occurs twice in autumn
        counts the first time only.
        """
        return min(self._next(line, moment) for line in self.lines)

    def _next(self, line: str, moment: datetime) -> datetime:
        # Local time, labelled as UTC, because Celery miscounts the two days a year that are longer or shorter.
        # The search starts an hour early: a skipped time moves forward, past others with a later local time.
        wall = moment.astimezone(self.zone).replace(tzinfo=UTC) - timedelta(hours=1)
        while True:
            last, delta, _ = _parsed(line).remaining_delta(wall, tz=UTC)
            wall = last + delta
            following: datetime = wall.replace(tzinfo=self.zone).astimezone(UTC)
            if following > moment:
                return following


def _parsed(line: str) -> crontab:
    try:
        return crontab.from_string(" ".join(line.split()))
    except Exception as error:  # Celery raises several kinds, among them its own
        raise ValueError(f"'{line}' is not a crontab line such as '30 9,14 * * mon-fri': {error}") from error
