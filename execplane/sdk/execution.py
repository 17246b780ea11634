"""Runs one attempt of one task, and says how it ended. Knows no network: see `services`."""

from __future__ import annotations

import copy
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import ExecplaneError
from execplane.contract.keys import NOT_MAPPED, TaskKey
from execplane.contract.messages import ClaimAnswer, ErrorInfo, XComValue
from execplane.contract.states import TaskState
from execplane.sdk import context as contexts
from execplane.sdk import masking, params, services, templating, tracebacks, xcom
from execplane.sdk.dags import DAG
from execplane.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTerminated,
    AirflowTaskTimeout,
    ParamValidationError,
    UnmappableXComTypePushed,
)
from execplane.sdk.log import TASK_LOGGER
from execplane.sdk.mapping import MappedOperator
from execplane.sdk.operator import BaseOperator
from execplane.sdk.xcom_arg import MapXComArg

_log = logging.getLogger(TASK_LOGGER)
_RENDERED_LONGEST = 4096


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the attempt ended: the fields of `messages.End` that depend on the task.

    outcome: "success" | "failed" | "skipped" | "reschedule" | "fail_without_retry" | "terminated" | "timeout".
    """

    outcome: str
    reason: str = ""
    error: ErrorInfo | None = None
    xcoms: tuple[XComValue, ...] = ()
    """The result, not sent yet."""
    map_length: int | None = None
    map_label: str = ""
    """The mapped instance's name, by map_index_template."""
    skip: tuple[str, ...] = ()
    reschedule_at: datetime | None = None
    rendered: dict[str, Any] | None = None
    user_code_started_at: datetime | None = None


def execute(
    dag: DAG,
    key: TaskKey,
    claim: ClaimAnswer,
    outside: services.Services,
    *,
    clock: Clock | None = None,
    pause: Callable[[float], None] = contexts.sleep,
    on_rendered: Callable[[dict[str, Any]], None] | None = None,
    test_mode: bool = False,
) -> Outcome:
    """Run the task of `key` once, in this thread, and never raise: what goes wrong is in the Outcome.

    Call it in the main thread, so that execution_timeout and termination reach code that blocks. To stop the task,
    raise `AirflowTaskTerminated(reason)` in this thread (from a SIGTERM handler): on_kill is called and the outcome is
    "terminated". `on_rendered` is called once, with the rendered template fields, before user code runs.
    """
    attempt = _Attempt(dag, key, claim, outside, clock or SystemClock(), pause, on_rendered, test_mode)
    with services.use(outside):
        return attempt.run()


class _Attempt:
    def __init__(
        self,
        dag: DAG,
        key: TaskKey,
        claim: ClaimAnswer,
        outside: services.Services,
        clock: Clock,
        pause: Callable[[float], None],
        on_rendered: Callable[[dict[str, Any]], None] | None,
        test_mode: bool,
    ) -> None:
        self.dag, self.key, self.claim, self.clock = dag, key, claim, clock
        self.outside, self.pause, self.on_rendered, self.test_mode = outside, pause, on_rendered, test_mode
        self.rendered: dict[str, Any] | None = None
        self.started_at: datetime | None = None
        self.task: BaseOperator
        self.context: contexts.Context

    def run(self) -> Outcome:
        try:
            self.task = self.dag.get_task(self.key.task_id)
            self.context = contexts.Context(
                task=self.task,
                key=self.key,
                claim=self.claim,
                services=self.outside,
                clock=self.clock,
                pause=self.pause,
                test_mode=self.test_mode,
            )
        except ExecplaneError as error:
            return self._outcome("fail_without_retry", error)
        with contexts.running(self.context):
            return self._run_in_context()

    def _run_in_context(self) -> Outcome:
        try:
            self._prepare()
            self._call_back("on_execute_callback", self.task.on_execute_callback)
            self.started_at = self.clock.now()
            result = self._work()
            xcoms, length = self._keep(result)
        except BaseException as error:
            return self._ended_by(error)
        self.context.ti.ended(TaskState.SUCCESS)
        self._call_back("on_success_callback", self.task.on_success_callback)
        return self._outcome("success", xcoms=xcoms, map_length=length, skip=tuple(sorted(self.context.dropped)))

    def _prepare(self) -> None:
        """Resolve the mapping, the params and the templates, on a copy of the task."""
        conf = self.claim.run.conf
        untouched: frozenset[int] = frozenset()
        self.context.params = params.merge(self.dag.params, self.task.params, conf)
        if isinstance(self.task, MappedOperator):
            if self.key.map_index == NOT_MAPPED:
                raise AirflowFailException(f"Task {self.key.task_id!r} is mapped, and this attempt has no map_index.")
            self.task, untouched = self.task.unmap(self.context, self.key.map_index)
        else:
            self.task = copy.copy(self.task)
        self.context.task = self.task
        templating.render_fields(self.task, self.context, untouched)
        self.rendered = shown_fields(self.task)
        if self.on_rendered is not None:
            self.on_rendered(self.rendered)

    def _work(self) -> Any:
        timeout = self.task.execution_timeout
        with time_limit(None if timeout is None else timeout.total_seconds(), self.key):
            self.task.pre_execute(self.context)
            result = self.task.execute(self.context)
            self.task.post_execute(self.context, result)
        return result

    def _keep(self, result: Any) -> tuple[tuple[XComValue, ...], int | None]:
        """The XComs that the result becomes, and its length where it has one."""
        has_length = xcom.map_length(result) is not None and self.task.do_xcom_push
        if not has_length and self.key.map_index == NOT_MAPPED and is_mapped_over(self.dag, self.key.task_id):
            raise UnmappableXComTypePushed(
                f"Task {self.key.task_id!r} gave {type(result).__name__}, and another task maps over its result.",
                hint="Return a list or a dict.",
            )
        if result is None or not self.task.do_xcom_push:
            return (), None
        found = []
        if self.task.multiple_outputs:
            if not isinstance(result, Mapping):
                raise AirflowException(
                    f"Task {self.key.task_id!r} has multiple_outputs, and gave {type(result).__name__}.",
                    hint="Return a dict with text keys.",
                )
            for name, value in result.items():
                if not isinstance(name, str):
                    raise AirflowException(
                        f"Task {self.key.task_id!r} has multiple_outputs, and gave the key {name!r}."
                    )
                found.append(self.context.ti.packed(name, value))
        found.append(self.context.ti.packed(xcom.RETURN_KEY, result))
        return tuple(found), xcom.map_length(result)

    # ---- ends ------------------------------------------------------------------------------------------------------

    def _ended_by(self, error: BaseException) -> Outcome:
        if isinstance(error, AirflowSkipException):
            _log.info("Skipping: %s", error)
            self.context.ti.ended(TaskState.SKIPPED)
            self._call_back("on_skipped_callback", self.task.on_skipped_callback, error)
            return self._outcome("skipped", reason=str(error))
        if isinstance(error, AirflowRescheduleException):
            return self._outcome("reschedule", reason=str(error), reschedule_at=error.reschedule_date)
        if isinstance(error, AirflowTaskTerminated):
            self._kill()
            return self._outcome("terminated", reason=str(error))
        if isinstance(error, SystemExit) and error.code in (None, 0):
            self.context.ti.ended(TaskState.SUCCESS)
            self._call_back("on_success_callback", self.task.on_success_callback)
            return self._outcome("success", reason="The task called sys.exit(0).")
        return self._failed(error)

    def _failed(self, error: BaseException) -> Outcome:
        outcome = "failed"
        if isinstance(error, (AirflowFailException, AirflowSensorTimeout, ParamValidationError)):
            outcome = "fail_without_retry"
        elif isinstance(error, AirflowTaskTimeout):
            outcome = "timeout"
            self._kill()
        _log.error("Task failed with %s: %s\n%s", type(error).__name__, error, tracebacks.trimmed(error))
        again = outcome != "fail_without_retry" and self.context.ti.is_eligible_to_retry()
        self.context.ti.ended(TaskState.UP_FOR_RETRY if again else TaskState.FAILED)
        if again:
            self._call_back("on_retry_callback", self.task.on_retry_callback, error)
        else:
            self._call_back("on_failure_callback", self.task.on_failure_callback, error)
        return self._outcome(outcome, error)

    def _kill(self) -> None:
        try:
            self.task.on_kill()
        except Exception:
            _log.exception("on_kill failed")

    def _call_back(self, name: str, callbacks: Any, error: BaseException | None = None) -> None:
        """A callback that raises is logged; it never changes how the task ends."""
        from execplane.sdk.checks import callbacks as as_callbacks

        if error is not None:
            self.context["exception"] = error
            self.context["reason"] = str(error)
        for callback in as_callbacks(callbacks):
            try:
                callback(self.context)
            except Exception:
                _log.exception("%s failed", name)

    def _outcome(self, outcome: str, error: BaseException | None = None, **fields: Any) -> Outcome:
        found = None if error is None else tracebacks.info(error, self.dag.file)
        if error is not None and not fields.get("reason"):
            fields["reason"] = f"{type(error).__name__}: {found.message}" if found is not None else ""
        return Outcome(
            outcome=outcome,
            error=found,
            rendered=self.rendered,
            map_label=self._map_label(),
            user_code_started_at=self.started_at,
            **fields,
        )

    def _map_label(self) -> str:
        """Rendered after the task ran, as in Airflow: the task may have put into the context what the name needs."""
        template = getattr(getattr(self, "task", None), "map_index_template", None)
        if not template or self.key.map_index == NOT_MAPPED or self.rendered is None:
            return ""
        try:
            return masking.mask(str(templating.Renderer(self.task, self.context).render(template)))[:250]
        except Exception:
            _log.exception("map_index_template could not be rendered")
            return ""


def is_mapped_over(dag: DAG, task_id: str) -> bool:
    """Whether a mapped task gets its instances from this task's result."""
    from execplane.sdk.xcom_arg import XComArg

    for other in dag.tasks:
        if isinstance(other, MappedOperator):
            for value in other.mapped.values():
                base = value.base() if isinstance(value, MapXComArg) else value
                if isinstance(base, XComArg) and any(task.task_id == task_id for task, _ in base.references()):
                    return True
    return False


def shown_fields(task: BaseOperator) -> dict[str, Any]:
    """The rendered template fields as pages show them: JSON, long texts cut, known secrets hidden."""
    return {name: _shown(masking.mask_value(getattr(task, name))) for name in task.template_fields}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return (
            value if len(value) <= _RENDERED_LONGEST else value[:_RENDERED_LONGEST] + f"... ({len(value)} characters)"
        )
    if value is None or isinstance(value, (bool, int, float)):
        return value
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return _shown(masking.mask(repr(value)))
    return value if len(text) <= _RENDERED_LONGEST else _shown(text)


@contextmanager
def time_limit(seconds: float | None, key: TaskKey) -> Iterator[None]:
    """Raise AirflowTaskTimeout in this thread after `seconds`. In the main thread it interrupts blocking calls, too;
    in another one it comes at the next Python instruction."""
    if seconds is None:
        yield
        return
    message = f"Timeout: task {key.task_id!r} ran longer than its execution_timeout of {seconds:g} s."
    if threading.current_thread() is not threading.main_thread():
        with _time_limit_in_thread(seconds):
            yield
        return

    def expire(signum: int, frame: Any) -> None:
        _log.error(message)
        raise AirflowTaskTimeout(message)

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _time_limit_in_thread(seconds: float) -> Iterator[None]:
    import ctypes

    ident = threading.get_ident()
    timer = threading.Timer(
        seconds,
        lambda: ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(AirflowTaskTimeout)),
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
