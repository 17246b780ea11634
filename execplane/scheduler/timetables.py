"""When the next run of a DAG is, and which data interval it stands for.

Two explicit semantics: "interval" (Airflow 2: a run comes at the end of its interval and is named by the start) and
"instant" (Airflow 3: a run is named by its own moment). Intervals tile: each starts at the stored end of the one
before, also across changes of the clock or of the schedule itself; only runs that nobody caught up on leave a gap.

All datetimes are aware; answers are in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from execplane.contract.dag import TimetableSpec
from execplane.contract.states import RunType
from execplane.scheduler.ticks import Ticks, explain

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The last run that the timetable made (manual runs do not count)."""

    logical_date: datetime
    data_interval_start: datetime
    data_interval_end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRun:
    """The run to make next; it is due when `run_after` has come."""

    logical_date: datetime
    data_interval_start: datetime
    data_interval_end: datetime
    run_after: datetime


def next_run(
    spec: TimetableSpec,
    *,
    start_date: datetime | None,
    end_date: datetime | None,
    catchup: bool,
    last: LastRun | None,
    now: datetime,
    active: bool = False,
) -> NextRun | None:
    """The next run after `last`, or None when there will be none.

    With catchup nothing is left out, from `start_date` on (without one there is nothing to catch up on). Without it,
    missed periods are skipped up to the latest one that is complete now. Ask again when `last` changes or when it is
    time: the answer may be later then, if periods went by unused (a paused DAG). `end_date` bounds logical dates.
    `active`: a run of the DAG is queued or running. Only "continuous" asks: None until that one has ended.
    """
    start, end, now = _utc(start_date), _utc(end_date), now.astimezone(UTC)
    catchup = catchup and (start is not None or last is not None)
    match spec.kind:
        case "none":
            return None
        case "once":
            found = None if last is not None else _point(start or now)
        case "continuous" if active:
            return None
        case "continuous":
            found = _continuous(start, last, now)
        case "cron" if spec.semantics == "instant":
            found = _cron_instant(_ticks(spec), start, catchup, last, now)
        case "cron":
            found = _cron_interval(_ticks(spec), start, catchup, last, now)
        case "delta" if spec.semantics == "instant":
            found = _delta_instant(_period(spec), start, catchup, last, now)
        case "delta":
            found = _delta_interval(_period(spec), start, catchup, last, now)
        case _:
            raise ValueError(f"unknown kind of timetable: {spec.kind!r}")
    if found is None or (end is not None and found.logical_date > end):
        return None
    return found


def manual_interval(spec: TimetableSpec, at: datetime) -> tuple[datetime, datetime]:
    """The data interval of a manual run at `at`: the last whole period before it ("interval"), else [at, at]."""
    at = at.astimezone(UTC)
    if spec.semantics == "interval" and spec.kind == "delta":
        return at - _period(spec), at
    if spec.semantics == "interval" and spec.kind == "cron":
        ticks = _ticks(spec)
        end = ticks.at_or_before(at)
        start = ticks.before(end) if end is not None else None
        if end is not None and start is not None:
            return start, end
    return at, at


def run_id(run_type: RunType, at: datetime) -> str:
    """Airflow's run id, always in UTC: "scheduled__2026-01-01T00:00:00+00:00". `at` is the logical date."""
    return f"{run_type}__{at.astimezone(UTC).isoformat()}"


def describe(spec: TimetableSpec) -> str:
    """One sentence for people, time zone included where it matters."""
    match spec.kind:
        case "none":
            return "Only by hand"
        case "once":
            return "Once"
        case "continuous":
            return "Continuously: the next run begins when the last one has ended"
        case "delta":
            return f"Every {timedelta(seconds=spec.delta_seconds)}"
        case _:
            return f"{explain(spec.expression)} ({spec.timezone})"


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def _ticks(spec: TimetableSpec) -> Ticks:
    return Ticks.of(spec.expression, spec.timezone)


def _period(spec: TimetableSpec) -> timedelta:
    period = timedelta(seconds=spec.delta_seconds)
    if period <= timedelta(0):
        raise ValueError(f"a timetable's period must be positive, not {period}")
    return period


def _point(at: datetime) -> NextRun:
    return NextRun(logical_date=at, data_interval_start=at, data_interval_end=at, run_after=at)


def _interval(start: datetime, end: datetime) -> NextRun:
    return NextRun(logical_date=start, data_interval_start=start, data_interval_end=end, run_after=end)


def _continuous(start: datetime | None, last: LastRun | None, now: datetime) -> NextRun:
    begin = last.data_interval_end.astimezone(UTC) if last is not None else start or now
    # Never empty: two runs of one moment would have one logical date.
    return _interval(begin, max(now, begin + _INSTANT))


def _cron_interval(
    ticks: Ticks, start: datetime | None, catchup: bool, last: LastRun | None, now: datetime
) -> NextRun | None:
    begin = last.data_interval_end.astimezone(UTC) if last is not None else None
    floor = ticks.at_or_after(start) if start is not None else None
    if start is not None and floor is None:
        return None
    candidates = [moment for moment in (begin, floor) if moment is not None]
    if not catchup:
        latest_end = ticks.at_or_before(now)
        latest_begin = ticks.before(latest_end) if latest_end is not None else None
        if latest_begin is not None:
            candidates.append(latest_begin)
    first = max(candidates, default=None) or ticks.after(now)
    end = ticks.after(first) if first is not None else None
    return None if first is None or end is None else _interval(first, end)


def _cron_instant(
    ticks: Ticks, start: datetime | None, catchup: bool, last: LastRun | None, now: datetime
) -> NextRun | None:
    floor = ticks.at_or_after(start) if start is not None else None
    following = ticks.after(last.logical_date.astimezone(UTC)) if last is not None else None
    if (start is not None and floor is None) or (last is not None and following is None):
        return None
    candidates = [moment for moment in (floor, following) if moment is not None]
    if not catchup:
        passed = ticks.at_or_before(now)
        if passed is not None and (candidates or _just_passed(ticks, passed, now)):
            candidates.append(passed)
    at = max(candidates, default=None) or ticks.after(now)
    return None if at is None else _point(at)


def _just_passed(ticks: Ticks, passed: datetime, now: datetime) -> bool:
    """A DAG that never ran and names no start begins with the tick to come, or with one that came just now:
    asked a moment late, it would never be due otherwise."""
    following = ticks.after(passed)
    return following is not None and now - passed <= min(timedelta(minutes=5), (following - passed) / 10)


def _delta_interval(
    period: timedelta, start: datetime | None, catchup: bool, last: LastRun | None, now: datetime
) -> NextRun:
    if last is None:
        # Without catchup the first period is the one that ends now (Airflow 3): it sets the grid for all others.
        begin = start if start is not None and (catchup or start > now - period) else now - period
    else:
        begin = last.data_interval_end.astimezone(UTC)
        missed = (now - begin) // period - 1
        if not catchup and missed > 0:
            begin += missed * period
        if start is not None:
            begin = max(begin, start)
    return _interval(begin, begin + period)


def _delta_instant(
    period: timedelta, start: datetime | None, catchup: bool, last: LastRun | None, now: datetime
) -> NextRun:
    if last is None:
        at = start if start is not None and (catchup or start > now) else now
    else:
        at = last.logical_date.astimezone(UTC) + period
        missed = (now - at) // period
        if not catchup and missed > 0:
            at += missed * period
        if start is not None:
            at = max(at, start)
    return _point(at)
