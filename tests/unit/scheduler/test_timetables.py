"""When the next run is: both semantics, catchup, ends, and what holds for every timetable."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from execplane.contract.dag import TimetableSpec
from execplane.contract.errors import InvalidInput
from execplane.contract.states import RunType
from execplane.scheduler.timetables import LastRun, NextRun, describe, manual_interval, next_run, run_id


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cron(expression: str, semantics: str = "interval", timezone: str = "UTC") -> TimetableSpec:
    return TimetableSpec(kind="cron", expression=expression, semantics=semantics, timezone=timezone)


def delta(semantics: str = "interval", **period: float) -> TimetableSpec:
    return TimetableSpec(kind="delta", delta_seconds=timedelta(**period).total_seconds(), semantics=semantics)


def ended(start: str, end: str) -> LastRun:
    return LastRun(logical_date=at(start), data_interval_start=at(start), data_interval_end=at(end))


def following(
    spec: TimetableSpec,
    now: str,
    *,
    start: str | None = None,
    end: str | None = None,
    catchup: bool = False,
    last: LastRun | None = None,
) -> tuple[datetime, datetime, datetime] | None:
    """Interval start, interval end, run_after; checks that the logical date fits the semantics."""
    found = next_run(
        spec,
        start_date=at(start) if start else None,
        end_date=at(end) if end else None,
        catchup=catchup,
        last=last,
        now=at(now),
    )
    if found is None:
        return None
    assert found.logical_date == found.data_interval_start
    return found.data_interval_start, found.data_interval_end, found.run_after


DAILY, DAILY_INSTANT = cron("0 0 * * *"), cron("0 0 * * *", "instant")


def test_a_daily_interval_is_named_by_its_start_and_runs_at_its_end() -> None:
    day = (at("2026-01-01"), at("2026-01-02"), at("2026-01-02"))
    assert following(DAILY, "2026-01-01T10:00", start="2026-01-01") == day


def test_a_daily_instant_is_named_by_its_own_moment() -> None:
    assert following(DAILY_INSTANT, "2025-12-30", start="2026-01-01") == (at("2026-01-01"),) * 3


def test_a_start_between_ticks_waits_for_the_next_one() -> None:
    found = following(DAILY, "2026-01-01T10:00", start="2026-01-01T05:00")
    assert found == (at("2026-01-02"), at("2026-01-03"), at("2026-01-03"))


def test_catchup_begins_at_the_start_and_leaves_nothing_out() -> None:
    found = following(DAILY, "2026-02-01", start="2026-01-01", catchup=True)
    assert found == (at("2026-01-01"), at("2026-01-02"), at("2026-01-02"))
    found = following(DAILY, "2026-02-01", start="2026-01-01", catchup=True, last=ended("2026-01-01", "2026-01-02"))
    assert found == (at("2026-01-02"), at("2026-01-03"), at("2026-01-03"))


def test_without_catchup_the_latest_complete_interval_comes_first() -> None:
    expected = (at("2026-01-30"), at("2026-01-31"), at("2026-01-31"))
    assert following(DAILY, "2026-01-31T10:00", start="2026-01-01") == expected
    assert following(DAILY, "2026-01-31T10:00") == expected
    assert following(DAILY, "2026-01-31T00:00") == expected
    missed = ended("2026-01-01", "2026-01-02")
    assert following(DAILY, "2026-01-31T10:00", start="2026-01-01", last=missed) == expected


def test_without_catchup_the_latest_instant_that_passed_comes_first() -> None:
    assert following(DAILY_INSTANT, "2026-01-31T10:00", start="2026-01-01") == (at("2026-01-31"),) * 3
    assert following(DAILY_INSTANT, "2026-01-31T10:00", last=ended("2026-01-31", "2026-01-31")) == (
        (at("2026-02-01"),) * 3
    )


def test_an_instant_dag_without_a_start_begins_with_the_tick_to_come_or_one_that_came_just_now() -> None:
    assert following(DAILY_INSTANT, "2026-01-31T00:06") == (at("2026-02-01"),) * 3
    assert following(DAILY_INSTANT, "2026-01-31T00:05") == (at("2026-01-31"),) * 3


def test_after_a_change_of_the_schedule_the_next_interval_starts_where_the_last_one_ended() -> None:
    hourly = ended("2026-01-01T04:00", "2026-01-01T05:00")
    found = following(DAILY, "2026-01-01T06:00", start="2025-01-01", last=hourly)
    assert found == (at("2026-01-01T05:00"), at("2026-01-02"), at("2026-01-02"))


def test_the_end_date_bounds_logical_dates() -> None:
    last = ended("2026-01-01", "2026-01-02")
    assert following(DAILY, "2026-01-03T00:00", start="2026-01-01", end="2026-01-02", last=last) is not None
    assert following(DAILY, "2026-01-03T00:00", start="2026-01-01", end="2026-01-01T12:00", last=last) is None


def test_catchup_without_a_start_has_nothing_to_catch_up_on() -> None:
    found = following(DAILY, "2026-01-31T10:00", catchup=True)
    assert found == (at("2026-01-30"), at("2026-01-31"), at("2026-01-31"))


def test_a_cron_that_never_comes_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'0 0 31 2,4 \\*' is not a cron expression: Bad day-of-month"):
        following(cron("0 0 31 2,4 *"), "2026-01-01", start="2026-01-01")


def test_a_delta_without_catchup_first_takes_the_period_that_ends_now() -> None:
    found = following(delta(hours=6), "2026-01-31T10:00", start="2026-01-01T03:00")
    assert found == (at("2026-01-31T04:00"), at("2026-01-31T10:00"), at("2026-01-31T10:00"))
    assert following(delta("instant", hours=6), "2026-01-31T10:00", start="2026-01-01") == (
        (at("2026-01-31T10:00"),) * 3
    )


def test_a_delta_begins_at_a_start_to_come() -> None:
    found = following(delta(hours=6), "2026-01-01T02:00", start="2026-01-01")
    assert found == (at("2026-01-01"), at("2026-01-01T06:00"), at("2026-01-01T06:00"))


def test_a_delta_keeps_its_grid_when_asked_late_and_after_missed_periods() -> None:
    last = ended("2026-01-01T00:00", "2026-01-01T06:00")
    late = following(delta(hours=6), "2026-01-01T12:07", last=last)
    assert late == (at("2026-01-01T06:00"), at("2026-01-01T12:00"), at("2026-01-01T12:00"))
    missed = following(delta(hours=6), "2026-01-03T01:00", last=last)
    assert missed == (at("2026-01-02T18:00"), at("2026-01-03T00:00"), at("2026-01-03T00:00"))
    all_of_it = following(delta(hours=6), "2026-01-03T01:00", start="2026-01-01", last=last, catchup=True)
    assert all_of_it == late
    instant = ended("2026-01-01", "2026-01-01")
    assert following(delta("instant", hours=6), "2026-01-01T13:00", last=instant) == (at("2026-01-01T12:00"),) * 3


def test_a_delta_of_days_does_not_follow_the_clock_of_a_zone() -> None:
    spec = TimetableSpec(kind="delta", delta_seconds=86400, timezone="Europe/Berlin")
    found = following(spec, "2026-03-29T12:00", last=ended("2026-03-27T12:00", "2026-03-28T12:00"))
    assert found == (at("2026-03-28T12:00"), at("2026-03-29T12:00"), at("2026-03-29T12:00"))


def test_once_runs_once_at_its_start() -> None:
    spec = TimetableSpec(kind="once")
    assert following(spec, "2026-01-31", start="2026-01-01") == (at("2026-01-01"),) * 3
    assert following(spec, "2026-01-31") == (at("2026-01-31"),) * 3
    assert following(spec, "2026-01-31", start="2026-01-01", last=ended("2026-01-01", "2026-01-01")) is None
    assert following(spec, "2026-01-31", start="2026-01-03", end="2026-01-02") is None


def test_continuous_runs_begin_where_the_last_one_ended_and_are_never_empty() -> None:
    spec = TimetableSpec(kind="continuous")
    assert following(spec, "2026-01-02", start="2026-01-01") == (at("2026-01-01"), at("2026-01-02"), at("2026-01-02"))
    last = ended("2026-01-01", "2026-01-02")
    assert following(spec, "2026-01-03", last=last) == (at("2026-01-02"), at("2026-01-03"), at("2026-01-03"))
    start, end, _ = following(spec, "2026-01-02", last=last) or pytest.fail("no run")
    assert start == at("2026-01-02") < end


def test_a_continuous_dag_gets_no_run_while_one_is_active() -> None:
    spec = TimetableSpec(kind="continuous")
    asked = {"start_date": at("2026-01-01"), "end_date": None, "catchup": False, "now": at("2026-01-02")}
    assert next_run(spec, **asked, last=None, active=True) is None  # type: ignore[arg-type]
    assert next_run(spec, **asked, last=None) is not None  # type: ignore[arg-type]


def test_none_runs_only_by_hand() -> None:
    assert following(TimetableSpec(), "2026-01-01", start="2025-01-01", catchup=True) is None


def test_an_unknown_kind_is_a_fault() -> None:
    with pytest.raises(ValueError, match="unknown kind of timetable: 'lunar'"):
        following(TimetableSpec(kind="lunar"), "2026-01-01")


@pytest.mark.parametrize(
    ("spec", "start"),
    [
        (DAILY, "2026-01-30"),
        (delta(hours=3), "2026-01-31T07:00"),
        (DAILY_INSTANT, None),
        (delta("instant", hours=3), None),
        (TimetableSpec(), None),
        (TimetableSpec(kind="once"), None),
    ],
)
def test_a_manual_run_stands_for_the_last_whole_period_or_for_its_moment(
    spec: TimetableSpec, start: str | None
) -> None:
    moment = at("2026-01-31T10:00")
    expected = (moment, moment) if start is None else (at(start), at("2026-01-31") if spec is DAILY else moment)
    assert manual_interval(spec, moment) == expected


def test_a_run_id_is_airflows_in_utc() -> None:
    berlin = datetime.fromisoformat("2026-01-01T01:00:00+01:00")
    assert run_id(RunType.SCHEDULED, berlin) == "scheduled__2026-01-01T00:00:00+00:00"
    assert run_id(RunType.MANUAL, at("2026-01-01T00:00:00.25")) == "manual__2026-01-01T00:00:00.250000+00:00"
    assert run_id(RunType.BACKFILL, berlin) == "backfill__2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (cron("30 2 * * 1-5", timezone="Europe/Berlin"), "At 02:30 on Monday through Friday (Europe/Berlin)"),
        (delta(days=1, hours=2), "Every 1 day, 2:00:00"),
        (TimetableSpec(), "Only by hand"),
        (TimetableSpec(kind="once"), "Once"),
        (TimetableSpec(kind="continuous"), "Continuously: the next run begins when the last one has ended"),
    ],
)
def test_a_timetable_is_described_in_words(spec: TimetableSpec, words: str) -> None:
    assert describe(spec) == words


def test_a_wrong_expression_and_a_wrong_zone_are_named() -> None:
    with pytest.raises(InvalidInput, match="'61 \\* \\* \\* \\*' is not a cron expression: Bad minute"):
        following(cron("61 * * * *"), "2026-01-01")
    with pytest.raises(InvalidInput, match="There is no time zone 'Mars/Olympus'"):
        following(cron("0 0 * * *", timezone="Mars/Olympus"), "2026-01-01")


# What holds for every timetable

SPECS = st.one_of(
    st.builds(
        cron,
        st.sampled_from(["0 0 * * *", "*/5 * * * *", "30 2 * * *", "0 */4 * * *", "0 6 * * 1", "0 0 29 2 *"]),
        st.sampled_from(["interval", "instant"]),
        st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "+05:30"]),
    ),
    st.builds(delta, st.sampled_from(["interval", "instant"]), minutes=st.sampled_from([1, 7, 60, 1440, 10000])),
)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))


@settings(deadline=None)
@given(SPECS, st.none() | MOMENTS, st.booleans(), MOMENTS, st.lists(st.floats(0, 5e6), min_size=4, max_size=4))
def test_runs_follow_each_other_without_overlap_and_tile_where_nothing_was_missed(
    spec: TimetableSpec, start: datetime | None, catchup: bool, now: datetime, pauses: list[float]
) -> None:
    last: NextRun | None = None
    for pause in pauses:
        ledger = (
            None
            if last is None
            else LastRun(
                logical_date=last.logical_date,
                data_interval_start=last.data_interval_start,
                data_interval_end=last.data_interval_end,
            )
        )
        found = next_run(spec, start_date=start, end_date=None, catchup=catchup, last=ledger, now=now)
        assert found is not None
        assert found.data_interval_end == found.run_after
        assert (found.data_interval_start < found.data_interval_end) is (spec.semantics == "interval")
        assert start is None or found.logical_date >= start
        if last is not None:
            assert found.logical_date > last.logical_date
            assert found.run_after > last.run_after
            if spec.semantics == "interval":
                assert found.data_interval_start >= last.data_interval_end
                missed = found.data_interval_start > last.data_interval_end
                assert not missed or (not catchup and found.data_interval_end <= now)
        last, now = found, max(now, found.run_after) + timedelta(seconds=pause)


@settings(deadline=None)
@given(SPECS, st.none() | MOMENTS, st.booleans(), MOMENTS, st.floats(0, 5))
def test_a_run_that_is_asked_for_again_when_it_is_due_is_due(
    spec: TimetableSpec, start: datetime | None, catchup: bool, now: datetime, late_seconds: float
) -> None:
    planned = next_run(spec, start_date=start, end_date=None, catchup=catchup, last=None, now=now)
    assert planned is not None
    # One that has passed already is created as it was planned.
    assume(planned.run_after >= now)
    due = planned.run_after + timedelta(seconds=late_seconds)
    again = next_run(spec, start_date=start, end_date=None, catchup=catchup, last=None, now=due)
    assert again is not None
    assert again.run_after <= due
