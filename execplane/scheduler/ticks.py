"""The moments of a cron expression in a time zone, also where the clock changes.

cronsim walks the wall clock; this maps wall times to moments by Airflow's rules, so that no day surprises:
a wall time that the clock jumps over comes as much later as the jump is wide (02:30 runs at 03:30); one that comes
twice counts once, the second time; but an expression for every hour follows real time and takes both. The moments
of an expression are thus a fixed, strictly ordered set, whoever asks from where. Steps like */4 follow the wall clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from execplane.contract.errors import InvalidInput

_MICROSECOND = timedelta(microseconds=1)
_NEAR = timedelta(hours=26)
"""Wider than any jump of a clock: Samoa left out a whole day."""
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - cronsim walks naive wall time


@dataclass(frozen=True, slots=True)
class Ticks:
    """All arguments are aware, all answers are in UTC; None: there is no such tick (within 50 years)."""

    expression: str
    zone: tzinfo
    every_hour: bool

    @staticmethod
    def of(expression: str, timezone_name: str) -> Ticks:
        """Raises InvalidInput for an expression or a time zone that there is not."""
        return _ticks(expression, timezone_name)

    def after(self, moment: datetime) -> datetime | None:
        """The first tick later than `moment`."""
        slack = self._slack(moment)
        best: datetime | None = None
        limit = datetime.max  # noqa: DTZ901 - a wall time, compared with cronsim's
        for wall in CronSim(self.expression, self._wall(moment) - slack):
            if wall > limit:
                break
            for tick in self._moments(wall):
                if tick > moment and (best is None or tick < best):
                    best = tick
                    slack = max(slack, self._slack(tick))
                    limit = self._wall(tick) + slack
            if best is not None and not slack:
                break
        return best

    def before(self, moment: datetime) -> datetime | None:
        """The last tick earlier than `moment`."""
        slack = self._slack(moment)
        best: datetime | None = None
        limit = datetime.min  # noqa: DTZ901 - as above
        for wall in CronSim(self.expression, self._wall(moment) + slack, reverse=True):
            if wall < limit:
                break
            for tick in self._moments(wall):
                if tick < moment and (best is None or tick > best):
                    best = tick
                    slack = max(slack, self._slack(tick))
                    limit = self._wall(tick) - slack
            if best is not None and not slack:
                break
        return best

    def at_or_after(self, moment: datetime) -> datetime | None:
        return self.after(moment - _MICROSECOND)

    def at_or_before(self, moment: datetime) -> datetime | None:
        return self.before(moment + _MICROSECOND)

    def _wall(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=None, fold=0)

    def _moments(self, wall: datetime) -> tuple[datetime, ...]:
        first = wall.replace(tzinfo=self.zone).astimezone(UTC)
        second = wall.replace(tzinfo=self.zone, fold=1).astimezone(UTC)
        if first >= second:
            return (first,)  # Once, or in a gap: the offset from before the jump puts it behind the jump.
        return (first, second) if self.every_hour else (second,)

    def _slack(self, moment: datetime) -> timedelta:
        """By how much the clock jumps near `moment`: the order of wall times is not that of moments within it."""
        if self.zone is UTC:
            return timedelta(0)
        offsets = [
            near.astimezone(self.zone).utcoffset() or timedelta(0) for near in (moment - _NEAR, moment, moment + _NEAR)
        ]
        return max(offsets) - min(offsets)


@lru_cache(maxsize=4096)
def _ticks(expression: str, timezone_name: str) -> Ticks:
    try:
        hours = CronSim(expression, _EPOCH).hours
    except CronSimError as error:
        raise InvalidInput(
            f"{expression!r} is not a cron expression: {error}.",
            hint='Write five fields: minute, hour, day of month, month, day of week, like "30 2 * * 1-5".',
        ) from error
    return Ticks(expression=expression, zone=_zone(timezone_name), every_hour=len(hours) == 24)


def _zone(name: str) -> tzinfo:
    if name.upper() in ("UTC", "ETC/UTC", "Z"):
        return UTC
    if match := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidInput(f"There is no time zone {name!r}.", hint='Use a name like "Europe/Berlin".') from error


def explain(expression: str) -> str:
    """The expression in English, as far as cronsim can say it; else itself."""
    try:
        return str(CronSim(expression, _EPOCH).explain())
    except (CronSimError, ValueError, KeyError, IndexError):
        return expression
