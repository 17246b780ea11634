"""BaseSensorOperator: poke until it is done, or until the timeout."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from execplane.sdk import checks
from execplane.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
)
from execplane.sdk.operator import BaseOperator
from execplane.sdk.scope import complaint

if TYPE_CHECKING:
    from execplane.sdk.context import Context

WEEK_SECONDS = 7 * 24 * 3600.0


class PokeReturnValue:
    """What `poke` may give instead of a bool: whether it is done, and then the result."""

    def __init__(self, is_done: bool, xcom_value: Any = None) -> None:
        self.is_done = is_done
        self.xcom_value = xcom_value

    def __bool__(self) -> bool:
        return self.is_done


class BaseSensorOperator(BaseOperator):
    """Waits until `poke(context)` gives something true.

    mode "poke" sleeps in its process; "reschedule" ends the attempt and starts another of the same try, holding no
    slot meanwhile. A timeout never retries: it fails, or skips with `soft_fail`. Seconds, or timedeltas.
    """

    kind = "sensor"
    ui_color = "#e6f1f2"
    template_fields: Sequence[str] = ()

    def __init__(
        self,
        *,
        poke_interval: timedelta | float = 60.0,
        timeout: timedelta | float = WEEK_SECONDS,
        soft_fail: bool = False,
        mode: str = "poke",
        exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None,
        silent_fail: bool = False,
        never_fail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        what = f"{self.operator_name} {self.task_id!r}"
        self.poke_interval = _seconds(what, "poke_interval", poke_interval)
        self.timeout = _seconds(what, "timeout", timeout)
        self.max_wait = None if max_wait is None else _seconds(what, "max_wait", max_wait)
        if mode not in ("poke", "reschedule"):
            raise complaint(f"{what}: mode is {mode!r}.", "Use 'poke' or 'reschedule'.")
        if soft_fail and never_fail:
            raise complaint(f"{what}: soft_fail and never_fail are both set.", "Keep one.")
        self.mode = mode
        self.soft_fail = soft_fail
        self.never_fail = never_fail
        self.silent_fail = silent_fail
        self.exponential_backoff = exponential_backoff

    def poke(self, context: Context) -> Any:
        """Whether the wait is over; a PokeReturnValue to give a result, too."""
        raise NotImplementedError(f"{type(self).__name__} does not define poke(context).")

    @property
    def reschedule(self) -> bool:
        return self.mode == "reschedule"

    def execute(self, context: Context) -> Any:
        started = context.clock.now()
        if self.reschedule and context.task_facts.first_started_at is not None:
            started = context.task_facts.first_started_at
        number = 1 if not self.reschedule else self._pokes_until(context.clock.now() - started)
        while not (found := self._look(context)):
            if (context.clock.now() - started).total_seconds() > self.timeout:
                self._time_out()
            wait = self._wait_seconds(number, started, context.clock.now())
            if self.reschedule:
                raise AirflowRescheduleException(context.clock.now() + timedelta(seconds=wait))
            context.sleep(wait)
            number += 1
        self.log.info("Success criteria met. Exiting.")
        return found.xcom_value if isinstance(found, PokeReturnValue) else None

    def _look(self, context: Context) -> Any:
        try:
            return self.poke(context)
        except (AirflowSkipException, AirflowFailException, AirflowRescheduleException):
            raise
        except Exception as error:
            if self.silent_fail:
                self.log.exception("The sensor's poke failed; it is looked at again.")
                return False
            if self.never_fail:
                raise AirflowSkipException(f"Skipping because never_fail is set: {error}") from error
            raise

    def _time_out(self) -> None:
        message = f"Sensor has timed out; it waited longer than its timeout of {self.timeout:g} s."
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(f"Skipping due to soft_fail: {message}")
        raise AirflowSensorTimeout(message)

    def _wait_seconds(self, number: int, started: datetime, now: datetime) -> float:
        """The pause after look `number` (from 1); never longer than what is left of the timeout."""
        wait = self.poke_interval
        if self.exponential_backoff:
            wait = self.poke_interval * 2.0 ** min(number - 1, 32)
            wait = min(wait, self.max_wait if self.max_wait is not None else WEEK_SECONDS)
        left = self.timeout - (now - started).total_seconds()
        return max(0.0, min(wait, left + 0.001))

    def _pokes_until(self, elapsed: timedelta) -> int:
        """Which look this is, when earlier attempts made the ones before: derived from the time that has passed."""
        if not self.exponential_backoff or self.poke_interval <= 0:
            return 1
        number, passed = 1, 0.0
        while passed + self.poke_interval * 2.0 ** min(number - 1, 32) <= elapsed.total_seconds() and number < 64:
            passed += min(self.poke_interval * 2.0 ** min(number - 1, 32), self.max_wait or WEEK_SECONDS)
            number += 1
        return number


def _seconds(what: str, name: str, value: Any) -> float:
    try:
        found: timedelta = checks.delay(value)
    except ValueError as error:
        raise complaint(f"{what}: {name} {error}.", "Correct the value.") from None
    return found.total_seconds()
