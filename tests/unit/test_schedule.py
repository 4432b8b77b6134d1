"""Cut-offs: crontab lines on the clocks of the partner's time zone, also on the days that are longer or shorter."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edi.schedule import Schedule

ROME, AUCKLAND = "Europe/Rome", "Pacific/Auckland"
LINES = ["30 2 * * *", "0 3 * * *", "*/20 * * * *", "59 23 31 12 *", "0 9,14 * * mon-fri", "15 0 1 * *", "5 2 29 2 *"]
# Clocks that go back and forth by an hour, by half of one, at midnight, and those that never do.
ZONES = [ROME, AUCKLAND, "Australia/Lord_Howe", "America/Santiago", "America/New_York", "Asia/Kolkata", "UTC"]


def cutoffs(*lines: str, after: str, zone: str = ROME, until: str | None = None, count: int = 3) -> list[str]:
    """Returns the cut-offs after a moment, in UTC: so many, or all until another moment."""
    schedule, moment = Schedule(lines, ZoneInfo(zone)), utc(after)
    found: list[str] = []
    while len(found) < count if until is None else moment <= utc(until):
        moment = schedule.next_after(moment)
        found.append(f"{moment:%Y-%m-%d %H:%M}")
    return found if until is None else found[:-1]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("lines", "after", "expected"),
    [
        # A Friday, in winter: Rome is an hour ahead.
        (["30 9 * * mon-fri"], "2026-11-20 08:29", ["2026-11-20 08:30", "2026-11-23 08:30", "2026-11-24 08:30"]),
        (["30 9,14 * * *"], "2026-11-20 09:00", ["2026-11-20 13:30", "2026-11-21 08:30", "2026-11-21 13:30"]),
        (["0 18 * * *", "0 9 * * *"], "2026-07-01 06:00", ["2026-07-01 07:00", "2026-07-01 16:00", "2026-07-02 07:00"]),
        (
            ["0 9 * * *", "0 9 * * mon"],
            "2026-11-22 09:00",
            ["2026-11-23 08:00", "2026-11-24 08:00", "2026-11-25 08:00"],
        ),
        (["0 9 31 * *"], "2026-01-31 09:00", ["2026-03-31 07:00", "2026-05-31 07:00", "2026-07-31 07:00"]),
        (["0 9 29 2 *"], "2026-01-01 00:00", ["2028-02-29 08:00", "2032-02-29 08:00", "2036-02-29 08:00"]),
        (["0 9 1-7 * mon"], "2026-11-20 00:00", ["2026-12-07 08:00", "2027-01-04 08:00", "2027-02-01 08:00"]),
        (["  0\t9  * * *"], "2026-11-20 00:00", ["2026-11-20 08:00", "2026-11-21 08:00", "2026-11-22 08:00"]),
    ],
)
def test_each_line_names_moments_on_the_partners_clock(lines: list[str], after: str, expected: list[str]) -> None:
    assert cutoffs(*lines, after=after) == expected


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", "2026-11-20 09:00"),
        ("Asia/Kolkata", "2026-11-20 03:30"),
        ("America/New_York", "2026-11-20 14:00"),
        # There it is Saturday already.
        (AUCKLAND, "2026-11-22 20:00"),
    ],
)
def test_the_same_line_is_another_moment_in_another_zone(zone: str, expected: str) -> None:
    assert cutoffs("0 9 * * mon-fri", after="2026-11-20 00:00", zone=zone, count=1) == [expected]


def test_a_cutoff_is_not_its_own_next_one() -> None:
    assert cutoffs("30 9 * * *", after="2026-11-20 08:30", count=1) == ["2026-11-21 08:30"]
    assert cutoffs("30 9 * * *", after="2026-11-20 08:29:59.999999", count=1) == ["2026-11-20 08:30"]


def test_a_time_that_the_clock_skips_in_spring_is_kept_as_much_later() -> None:
    # On 29 March 2026, 02:00 in Rome is 03:00 at once: at 01:00 UTC.
    expected = ["2026-03-28 01:30", "2026-03-29 01:30", "2026-03-30 00:30"]
    assert cutoffs("30 2 * * *", after="2026-03-28 00:00") == expected
    assert cutoffs("30 2 * * *", "30 2 * * sun", after="2026-03-28 00:00") == expected


def test_another_cutoff_between_does_not_swallow_one_that_was_skipped() -> None:
    found = cutoffs("30 2 * * *", "0 3 * * *", after="2026-03-29 00:00")
    assert found == ["2026-03-29 01:00", "2026-03-29 01:30", "2026-03-30 00:30"]


def test_a_time_that_comes_twice_in_autumn_is_kept_once_the_first_time() -> None:
    # On 25 October 2026, 03:00 in Rome is 02:00 once more: at 01:00 UTC.
    assert cutoffs("30 2 * * *", after="2026-10-24 12:00") == [
        "2026-10-25 00:30",
        "2026-10-26 01:30",
        "2026-10-27 01:30",
    ]
    for second_time in ("2026-10-25 01:00", "2026-10-25 01:10", "2026-10-25 01:30", "2026-10-25 01:59"):
        assert cutoffs("30 2 * * *", after=second_time, count=1) == ["2026-10-26 01:30"]


def test_the_days_on_which_clocks_change_have_every_cutoff_of_other_days() -> None:
    spring = cutoffs("*/30 * * * *", after="2026-03-28 23:30", until="2026-03-29 04:00")
    assert [moment[11:] for moment in spring] == [
        f"{hour:02}:{minute}" for hour in range(4) for minute in ("00", "30")
    ] + ["04:00"]
    autumn = cutoffs("*/30 * * * *", after="2026-10-24 23:30", until="2026-10-25 03:00")
    assert [moment[11:] for moment in autumn] == ["00:00", "00:30", "02:00", "02:30", "03:00"]


def test_a_moment_may_come_in_any_zone() -> None:
    schedule = Schedule(("30 9 * * *",), ZoneInfo(ROME))
    moments = [
        utc("2026-11-20 08:00").astimezone(zone) for zone in (UTC, ZoneInfo(ROME), timezone(timedelta(hours=-7)))
    ]
    assert {schedule.next_after(moment) for moment in moments} == {utc("2026-11-20 08:30")}


@given(
    st.lists(st.sampled_from(LINES), min_size=1, max_size=3),
    st.sampled_from(ZONES),
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_every_cutoff_is_after_the_one_before_and_none_is_left_out(
    lines: list[str], zone: str, moment: datetime
) -> None:
    schedule = Schedule(tuple(lines), ZoneInfo(zone))
    found = [moment]
    for _ in range(5):
        found.append(schedule.next_after(found[-1]))
    for earlier, later in pairwise(found):
        assert earlier < later
        # From anywhere between the two, the later one is still the next.
        assert schedule.next_after(earlier + (later - earlier) / 2) == later
        assert schedule.next_after(later - timedelta(microseconds=1)) == later


@pytest.mark.parametrize(
    "line", ["", "09:00", "0 9 * *", "0 0 9 * * *", "60 * * * *", "0 9 * * someday", "0 9 30 2 *", "*/0 * * * *"]
)
def test_what_is_no_crontab_line_is_reported_with_a_good_one(line: str) -> None:
    with pytest.raises(ValueError, match=r"is not a crontab line such as '30 9,14 \* \* mon-fri': \S"):
        Schedule((line,), ZoneInfo(ROME))
