"""Cron where clocks change: in every zone, over every change, against a walk over all wall-clock minutes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from execplane.scheduler.ticks import Ticks

DAY = timedelta(days=1)
EXPRESSIONS: dict[str, tuple[set[int], set[int]]] = {
    "0 * * * *": ({0}, set(range(24))),
    "0 0 * * *": ({0}, {0}),
    "30 2 * * *": ({30}, {2}),
    "15,45 1-3 * * *": ({15, 45}, {1, 2, 3}),
    "0 */4 * * *": ({0}, {0, 4, 8, 12, 16, 20}),
}
SAMPLE = (
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Havana",
    "Africa/Casablanca",
    "Asia/Tehran",
    "Atlantic/Azores",
)


def expected(expression: str, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """All ticks in [begin, end): every wall-clock minute is tried, and its moments are told by the rules."""
    minutes, hours = EXPRESSIONS[expression]
    ticks = set()
    day: date = (begin - 2 * DAY).date()
    while day <= (end + 2 * DAY).date():
        for hour in hours:
            for minute in minutes:
                wall = datetime.combine(day, time(hour, minute), zone)
                moments = [wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1)]
                shown = [moment.astimezone(zone).replace(tzinfo=None) for moment in moments]
                real = [
                    moment for moment, seen in zip(moments, shown, strict=True) if seen == wall.replace(tzinfo=None)
                ]
                if not real:
                    ticks.add(max(moments))  # The clock jumps over it: as much later as the jump is wide.
                elif len(hours) == 24:
                    ticks.update(real)
                else:
                    ticks.add(max(real))
        day += DAY
    return sorted(tick for tick in ticks if begin <= tick < end)


def changes(zone: ZoneInfo, first_year: int, last_year: int) -> Iterator[tuple[datetime, timedelta, timedelta]]:
    """Days on which the zone's offset changes: (start, offset before, offset after)."""
    moment, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year, 12, 31, tzinfo=UTC)
    before = moment.astimezone(zone).utcoffset() or timedelta(0)
    while moment < end:
        after = (moment + DAY).astimezone(zone).utcoffset() or timedelta(0)
        if after != before:
            yield moment, before, after
        moment, before = moment + DAY, after


def check_change(name: str, around: datetime) -> None:
    zone = ZoneInfo(name)
    begin, end = around - DAY, around + 2 * DAY
    for expression in EXPRESSIONS:
        ticks = Ticks.of(expression, name)
        wanted = expected(expression, zone, begin, end)
        assert walk_forward(ticks, begin, end) == wanted, (name, expression, around)
        assert walk_back(ticks, begin, end) == wanted, (name, expression, around)


def walk_forward(ticks: Ticks, begin: datetime, end: datetime) -> list[datetime]:
    found = []
    moment = ticks.at_or_after(begin)
    while moment is not None and moment < end:
        found.append(moment)
        following = ticks.after(moment)
        assert following is not None
        assert following > moment
        moment = following
    return found


def walk_back(ticks: Ticks, begin: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    moment = ticks.before(end)
    while moment is not None and moment >= begin:
        found.append(moment)
        moment = ticks.before(moment)
    return found[::-1]


@pytest.mark.parametrize("name", SAMPLE)
def test_ticks_are_right_around_every_change_of_two_years(name: str) -> None:
    for around, _, _ in changes(ZoneInfo(name), 2021, 2022):
        check_change(name, around)


def test_a_zone_that_leaves_out_a_whole_day_loses_no_order() -> None:
    check_change("Pacific/Apia", datetime(2011, 12, 30, tzinfo=UTC))


@pytest.mark.slow
def test_ticks_are_right_around_every_change_in_every_zone_for_ten_years() -> None:
    seen = set()
    for name in sorted(available_timezones()):
        for change in changes(ZoneInfo(name), 2016, 2025):
            if change not in seen:
                seen.add(change)
                check_change(name, change[0])
    assert len(seen) > 300


def local(expression: str, zone: str, after: str, count: int) -> list[str]:
    ticks = Ticks.of(expression, zone)
    moment = datetime.fromisoformat(after)
    found = []
    for _ in range(count):
        moment = ticks.after(moment) or pytest.fail("no tick")
        found.append(moment.astimezone(ticks.zone).isoformat(timespec="minutes"))
    return found


def test_a_time_that_the_clock_jumps_over_runs_an_hour_later() -> None:
    assert local("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00+01:00", 2) == [
        "2026-03-29T03:30+02:00",
        "2026-03-30T02:30+02:00",
    ]


def test_a_time_that_comes_twice_runs_once_the_second_time() -> None:
    assert local("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00+02:00", 2) == [
        "2026-10-25T02:30+01:00",
        "2026-10-26T02:30+01:00",
    ]


def test_asking_from_between_the_two_finds_the_second() -> None:
    assert local("30 2 * * *", "Europe/Berlin", "2026-10-25T02:45+02:00", 1) == ["2026-10-25T02:30+01:00"]
    assert local("30 2 * * *", "Europe/Berlin", "2026-03-29T03:10+02:00", 1) == ["2026-03-29T03:30+02:00"]


def test_hourly_follows_real_time_and_steps_follow_the_wall_clock() -> None:
    assert local("0 * * * *", "Europe/Berlin", "2026-10-25T01:30+02:00", 3) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00",
    ]
    assert local("0 */4 * * *", "Europe/Berlin", "2026-10-24T23:00+02:00", 3) == [
        "2026-10-25T00:00+02:00",
        "2026-10-25T04:00+01:00",
        "2026-10-25T08:00+01:00",
    ]


def test_a_clock_that_changes_by_half_an_hour_does_not_loop() -> None:
    assert local("0 * * * *", "Australia/Lord_Howe", "2026-04-05T00:30+11:00", 3) == [
        "2026-04-05T01:00+11:00",
        "2026-04-05T02:00+10:30",
        "2026-04-05T03:00+10:30",
    ]


def test_moments_between_seconds_are_neither_lost_nor_found_twice() -> None:
    ticks = Ticks.of("* * * * *", "UTC")
    minute, half = datetime(2026, 1, 1, 0, 1, tzinfo=UTC), timedelta(microseconds=500_000)
    assert ticks.after(minute - half) == minute
    assert ticks.before(minute + half) == minute
    assert ticks.at_or_after(minute) == ticks.at_or_before(minute) == minute
    assert ticks.before(minute) == minute - timedelta(minutes=1)
