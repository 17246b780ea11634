"""When a DAG runs, as its author writes it: presets, cron, timedelta, and Airflow's timetable classes.

Only what stands in the DagVersion is decided here (`TimetableSpec`); computing runs is the scheduler's. The little
arithmetic at the end serves templates (`next_ds`) and LatestOnlyOperator.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from execplane.sdk import checks
from execplane.sdk.scope import complaint

if TYPE_CHECKING:
    from execplane.contract.dag import TimetableSpec

PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class Timetable:
    """An author's explicit timetable: fixes the semantics, whatever the deployment's default is."""

    semantics = ""

    def schedule(self) -> Any:
        raise NotImplementedError

    zone: str | None = None


class _CronTimetable(Timetable):
    def __init__(self, cron: str, timezone: str | tzinfo = "UTC") -> None:
        self.cron = cron
        self.zone = timezone if isinstance(timezone, str) else _zone(timezone)

    def schedule(self) -> Any:
        return self.cron


class CronDataIntervalTimetable(_CronTimetable):
    """Cron, with Airflow 2's data intervals."""

    semantics = "interval"


class CronTriggerTimetable(_CronTimetable):
    """Cron, where the logical date is the run's moment."""

    semantics = "instant"

    def __init__(self, cron: str, *, timezone: str | tzinfo = "UTC", interval: Any = None) -> None:
        super().__init__(cron, timezone)
        if interval:
            raise complaint(
                "CronTriggerTimetable: execplane does not support interval.", "Use CronDataIntervalTimetable."
            )


class DeltaDataIntervalTimetable(Timetable):
    """A timedelta, with Airflow 2's data intervals."""

    semantics = "interval"

    def __init__(self, delta: timedelta) -> None:
        self.delta = delta

    def schedule(self) -> Any:
        return self.delta


class DeltaTriggerTimetable(DeltaDataIntervalTimetable):
    """A timedelta, where the logical date is the run's moment."""

    semantics = "instant"


class NullTimetable(Timetable):
    def schedule(self) -> Any:
        return None


class OnceTimetable(Timetable):
    def schedule(self) -> Any:
        return "@once"


class ContinuousTimetable(Timetable):
    def schedule(self) -> Any:
        return "@continuous"


def _zone(zone: tzinfo | None) -> str:
    try:
        return checks.zone_name(zone)
    except ValueError as error:
        raise complaint(f"The time zone {error}.", "Use a zone with an IANA name.") from None


def describe(dag_id: str, schedule: Any, zone: tzinfo | None, semantics: str) -> TimetableSpec:
    """The schedule in the form that is stored. Raises DagImportError naming what is wrong with it."""
    from execplane.contract.dag import TimetableSpec

    zone_name = _zone(zone)
    if isinstance(schedule, Timetable):
        semantics = schedule.semantics or semantics
        zone_name = schedule.zone or zone_name
        schedule = schedule.schedule()
    if schedule is None or schedule == "None":
        return TimetableSpec(kind="none", timezone=zone_name, semantics=semantics)
    if schedule in ("@once", "@continuous"):
        return TimetableSpec(kind=schedule[1:], timezone=zone_name, semantics=semantics, description=schedule)
    if isinstance(schedule, str):
        return _cron(dag_id, schedule, zone_name, semantics)
    delta = _as_delta(dag_id, schedule)
    if delta is not None:
        if delta <= timedelta(0):
            raise complaint(f"DAG {dag_id!r}: the schedule {schedule!r} is not positive.", "Give a positive timedelta.")
        return TimetableSpec(
            kind="delta",
            delta_seconds=delta.total_seconds(),
            timezone=zone_name,
            semantics=semantics,
            description=str(delta),
        )
    raise complaint(
        f"DAG {dag_id!r}: the schedule {schedule!r} is not supported.",
        "Use a cron expression, a preset such as '@daily', a timedelta, '@once' or None.",
    )


def _as_delta(dag_id: str, schedule: Any) -> timedelta | None:
    if isinstance(schedule, timedelta):
        return schedule
    if type(schedule).__name__ == "relativedelta":
        if schedule.years or schedule.months or schedule.weekday is not None:
            raise complaint(
                f"DAG {dag_id!r}: the schedule {schedule!r} has months or years.",
                "Write it as cron, such as '0 0 1 * *' for each month.",
            )
        return timedelta(days=schedule.days, hours=schedule.hours, minutes=schedule.minutes, seconds=schedule.seconds)
    return None


def _cron(dag_id: str, expression: str, zone_name: str, semantics: str) -> TimetableSpec:
    from cronsim import CronSim, CronSimError

    from execplane.contract.dag import TimetableSpec

    expanded = PRESETS.get(expression.strip(), expression.strip())
    if expanded.startswith("@"):
        raise complaint(f"DAG {dag_id!r}: there is no preset {expression!r}.", "Use one of " + ", ".join(PRESETS) + ".")
    try:
        # The date only starts the search; a pattern without any date (30 February) shows by its first step.
        next(CronSim(expanded, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise complaint(
            f"DAG {dag_id!r}: {expression!r} is not a cron expression ({error}).",
            "Write five fields: minute, hour, day of month, month, day of week.",
        ) from None
    except StopIteration:
        raise complaint(
            f"DAG {dag_id!r}: no date ever fits the cron expression {expression!r}.", "Correct it."
        ) from None
    if len(expanded.split()) != 5:
        raise complaint(f"DAG {dag_id!r}: {expression!r} has not five fields.", "Seconds and years are not supported.")
    return TimetableSpec(
        kind="cron", expression=expanded, timezone=zone_name, semantics=semantics, description=expression
    )


def following(spec: TimetableSpec, moment: datetime) -> datetime | None:
    """The next moment of the schedule after `moment` (aware), in UTC; None where the schedule has none."""
    if spec.kind == "delta":
        return moment + timedelta(seconds=spec.delta_seconds)
    if spec.kind != "cron":
        return None
    from cronsim import CronSim

    return next(CronSim(spec.expression, moment.astimezone(ZoneInfo(spec.timezone)))).astimezone(UTC)


def preceding(spec: TimetableSpec, moment: datetime) -> datetime | None:
    """The moment of the schedule before `moment`, in UTC; None where the schedule has none."""
    if spec.kind == "delta":
        return moment - timedelta(seconds=spec.delta_seconds)
    if spec.kind != "cron":
        return None
    from cronsim import CronSim

    return next(CronSim(spec.expression, moment.astimezone(ZoneInfo(spec.timezone)), reverse=True)).astimezone(UTC)
