"""From ledger rows to workloads, and from workloads to intents."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from execplane.contract.categories import Category
from execplane.contract.dag import DagSpec, TaskSpec
from execplane.contract.errors import ExecplaneError, NotFound, NotYet, PolicyViolation, Unavailable
from execplane.contract.executor import Executor
from execplane.contract.observations import Diagnosis
from execplane.contract.workload import Intent, Workload
from execplane.executors.driver.lessons import Lessons, lessons
from execplane.store.database import is_outage
from execplane.store.earlier_attempts import earlier_attempts
from execplane.store.launch_rows import LaunchRow, launch_rows
from execplane.store.queries.versions import spec as dag_spec

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployed:
    """What every workload of one executor has in common."""

    deployment_id: str
    incarnation: int
    api_url: str
    source: str = "bundle"
    dags_folder: str = ""
    learns: bool = False
    """Whether the executor can make use of what earlier attempts teach."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """Intents in order of priority, and what could not be built: attempt id -> why."""

    intents: tuple[Intent, ...]
    refused: dict[int, Diagnosis]
    not_yet: tuple[int, ...] = ()
    """They wait, for a reason that is none of theirs."""


def build_all(attempt_ids: Sequence[int], executor: Executor, deployed: Deployed) -> Built:
    """Build each attempt's intent once; a bad template or override fails its own attempt only."""
    intents: list[Intent] = []
    refused: dict[int, Diagnosis] = {}
    not_yet: list[LaunchRow] = []
    rows = launch_rows(attempt_ids)
    learned = _learned(rows) if deployed.learns else {}

    def build(row: LaunchRow) -> None:
        try:
            intents.append(executor.build(workload(row, deployed, learned.get(row.attempt_id, _NOTHING))))
        except NotYet:
            not_yet.append(row)
        except ExecplaneError as error:
            refused[row.attempt_id] = Diagnosis(
                category=Category.ADMISSION_DENIED if isinstance(error, PolicyViolation) else Category.LAUNCH_ERROR,
                sentence=error.message,
                hint=error.hint,
                infrastructure=isinstance(error, Unavailable),
            )
        except Exception as error:
            # A fault of ours in one launch: it must not keep all others of the executor from being claimed.
            if is_outage(error):
                raise
            log.exception("the launch of %s could not be built", row.key)
            sentence = f"The launch could not be built ({type(error).__name__}: {error})."
            refused[row.attempt_id] = Diagnosis(
                category=Category.LAUNCH_ERROR, sentence=sentence, hint="See the driver's log.", infrastructure=True
            )

    for row in rows:
        build(row)
    # Who was told that others go first is tried after them; who cannot be tried even then waits.
    again, not_yet = not_yet, []
    for row in again:
        build(row)
    return Built(intents=tuple(intents), refused=refused, not_yet=tuple(row.attempt_id for row in not_yet))


_NOTHING = Lessons()


def _learned(rows: Sequence[LaunchRow]) -> dict[int, Lessons]:
    again = [row.attempt_id for row in rows if row.key.attempt_no > 1]
    return {pk: lessons(found) for pk, found in earlier_attempts(again).items()} if again else {}


def task_of(spec: DagSpec, task_id: str) -> TaskSpec:
    """Raises NotFound when the run's version has no such task (it was removed)."""
    for task in spec.tasks:
        if task.task_id == task_id:
            return task
    raise NotFound(f"The DAG {spec.dag_id} has no task {task_id} in this version.")


def workload(row: LaunchRow, deployed: Deployed, learned: Lessons = _NOTHING) -> Workload:
    """One attempt, ready for its executor."""
    spec = dag_spec(row.dag_version_id)
    task = task_of(spec, row.key.task.task_id)
    return Workload(
        attempt_id=row.attempt_id,
        key=row.key,
        try_number=row.try_number,
        deployment_id=deployed.deployment_id,
        incarnation=deployed.incarnation,
        api_url=deployed.api_url,
        dag_file=spec.file,
        bundle=row.bundle,
        source=deployed.source,
        dags_folder=deployed.dags_folder,
        queue=row.queue,
        pool=row.pool,
        priority=row.priority,
        owner=task.owner,
        tags=spec.tags,
        executor_config=task.executor_config,
        dag_executor_config=spec.executor_config,
        resources=task.resources,
        execution_timeout_seconds=task.execution_timeout_seconds,
        avoid_nodes=learned.avoid_nodes,
        oom_kills=learned.oom_kills,
    )
