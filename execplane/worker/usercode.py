"""From a claimed attempt to the sdk and back: load the DAG file, run the task, say how it ended."""

from __future__ import annotations

import gc
import threading
from types import FrameType
from typing import Any

from execplane.contract.errors import ExecplaneError
from execplane.contract.messages import ErrorInfo
from execplane.sdk import execution, loader, tracebacks
from execplane.sdk import services as outside
from execplane.sdk.dags import DAG
from execplane.sdk.exceptions import AirflowTaskTerminated
from execplane.worker.channel import Rendered, Result, Started
from execplane.worker.child import Work, on_sigterm
from execplane.worker.client import Client
from execplane.worker.services import ApiServices


def run(work: Work) -> Result:
    """In the task's process, in its main thread. Never raises but for an order to stop that comes before or after
    the task itself."""
    on_sigterm(_terminate)
    services = _services(work)
    # What a DAG file reads at its top level is what a task would read.
    with outside.use(services):
        loaded = _load(work)
    if isinstance(loaded, Result):
        return loaded
    key = work.start.key.task
    timeout = loaded.get_task(key.task_id).execution_timeout if key.task_id in loaded.task_dict else None
    work.end.send(Started(at=work.clock.now(), timeout_seconds=None if timeout is None else timeout.total_seconds()))

    def show(fields: dict[str, Any]) -> None:
        # Too large for a message they come with the result.
        work.end.send(Rendered(fields=fields))

    outcome = execution.execute(
        loaded,
        key,
        work.claim,
        services,
        clock=work.clock,
        on_rendered=show,
    )
    return _result(outcome, services)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise AirflowTaskTerminated("The task was told to stop.")


def _services(work: Work) -> ApiServices:
    # Between tries nobody can end the wait but a SIGTERM, which raises in it.
    client = Client(
        work.start.api_url,
        work.end.token.read,
        clock=work.clock,
        wait=threading.Event().wait,
        timeout_seconds=work.options.request_timeout_seconds,
        backoff_first_seconds=work.options.backoff_first_seconds,
        backoff_cap_seconds=work.options.backoff_cap_seconds,
    )
    return ApiServices(client, work.start, work.claim, work.nonce, patience_seconds=work.claim.self_fence_seconds)


def _load(work: Work) -> DAG | Result:
    """The attempt's DAG, or the end that its absence is."""
    # What a load makes, stays: looking for garbage in between would find none.
    gc.disable()
    loaded = loader.load_file(work.folder / work.claim.dag_file, work.folder)
    gc.enable()
    for warning in loaded.warnings:
        _say(work, warning, "WARNING")
    try:
        return loaded.dag(work.start.key.task.dag_id)
    except ExecplaneError as error:
        _say(work, f"{error}\n{loaded.traceback}".strip(), "ERROR")
        info = ErrorInfo(type=type(error).__name__, message=str(error), traceback=loaded.traceback, line=loaded.line)
        return Result(outcome="failed", reason=str(error), error=info)


def _result(outcome: execution.Outcome, services: ApiServices) -> Result:
    # The task is over: an order to stop comes too late to change how it ended.
    on_sigterm(lambda number, frame: None)
    try:
        xcoms = services.offload(outcome.xcoms)
    except ExecplaneError as error:
        return Result(outcome="failed", reason=str(error), error=tracebacks.info(error), rendered=outcome.rendered)
    return Result(
        outcome=outcome.outcome,
        reason=outcome.reason,
        error=outcome.error,
        xcoms=xcoms,
        map_length=outcome.map_length,
        map_label=outcome.map_label,
        skip=outcome.skip,
        reschedule_at=outcome.reschedule_at,
        rendered=outcome.rendered,
    )


def _say(work: Work, message: str, level: str) -> None:
    work.end.line(message, at=work.clock.now(), level=level, logger="execplane.worker")
