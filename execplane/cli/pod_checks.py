"""`execplane pods check`: would the pods of these tasks be made, and if not, why? Asks no cluster and changes nothing.

The pods are built as the driver builds them, with the template, rules, mutation hooks and policies of this machine: run
it where the driver runs, before a policy or a hook goes live.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from execplane.cli.output import Output, OutputOption, remark, show_rows
from execplane.cli.session import reading

if TYPE_CHECKING:
    from execplane.compose import Deployment
    from execplane.contract.dag import DagSpec, TaskSpec
    from execplane.executors.kubernetes_pods import PodMaker
    from execplane.store.queries.dags import DagRow

_PAGE = 500
_RUN_ID = "check"
_READY_SECONDS = 120.0


def check_pods(
    dag_id: Annotated[str, typer.Argument(metavar="[DAG_ID]", help="Only this DAG; unset: all that are active.")] = "",
    task_id: Annotated[str, typer.Option("--task", help="Only this task of the DAG.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Whether tasks' pods can be built and keep to the policies. Example: execplane pods check orders --task load

    JSON and YAML show each pod as it would be sent, and which layer set each field. Exit code: 0 all, 1 not all.
    """
    from execplane.contract.errors import InvalidInput

    if task_id and not dag_id:
        raise InvalidInput("--task is a task of one DAG.", hint="Name the DAG, too.")
    with reading() as deployment:
        rows = list(_checked(deployment, dag_id, task_id))
    bad = [row for row in rows if not row["allowed"]]
    shown = rows if output is not Output.TABLE or dag_id else bad
    none = f"All {len(rows)} pods can be built." if rows else "No task of these DAGs runs in a pod."
    show_rows(shown, output, ("dag_id", "task_id", "executor", "namespace", "allowed", "reason", "hint"), empty=none)
    if bad:
        remark(f"{len(bad)} of {len(rows)} pods would be refused.")
        raise typer.Exit(1)


def _checked(deployment: Deployment, dag_id: str, task_id: str) -> Iterator[dict[str, Any]]:
    from execplane.executors.driver.workloads import task_of
    from execplane.store.queries import dags, versions

    makers: dict[str, PodMaker] = {}
    try:
        for dag in [dags.get_dag(dag_id, recent=1)] if dag_id else _active():
            spec = versions.spec(dag.version_id) if dag.version_id is not None else None
            if spec is None:
                continue
            for task in [task_of(spec, task_id)] if task_id else spec.tasks:
                executor = _executor(deployment, task)
                if executor in deployment.config.pod_executors:
                    maker = makers.get(executor) or _ready(deployment, executor)
                    makers[executor] = maker
                    yield _row(deployment, maker, executor, dag, spec, task)
    finally:
        for maker in makers.values():
            maker.close()


def _active() -> Iterator[DagRow]:
    from execplane.store.queries.dags import DagFilter, list_dags

    after: str | None = ""
    while after is not None:
        page = list_dags(DagFilter(status="active"), after=after, limit=_PAGE, recent=1)
        yield from page.rows
        after = page.next_key


def _executor(deployment: Deployment, task: TaskSpec) -> str:
    config = deployment.config
    return task.executor or config.queue_executors.get(task.queue) or config.executor


def _ready(deployment: Deployment, executor: str) -> PodMaker:
    """Raises Unavailable when nothing can be built at all: the template is broken, or the mutation hook."""
    from execplane.contract.errors import Unavailable
    from execplane.executors.kubernetes_pods import PodMaker

    maker = PodMaker(deployment.kubernetes_options(executor), deployment.clock)
    if trouble := maker.check(_READY_SECONDS):
        maker.close()
        raise Unavailable(trouble)
    return maker


def _row(
    deployment: Deployment, maker: PodMaker, executor: str, dag: DagRow, spec: DagSpec, task: TaskSpec
) -> dict[str, Any]:
    from execplane.contract.errors import ExecplaneError
    from execplane.contract.keys import AttemptKey, TaskKey
    from execplane.executors.driver.workloads import workload
    from execplane.store.launch_rows import LaunchRow

    assert dag.version_id is not None
    key = AttemptKey(task=TaskKey(dag_id=spec.dag_id, run_id=_RUN_ID, task_id=task.task_id), attempt_no=1)
    launch = LaunchRow(
        attempt_id=0,
        key=key,
        try_number=1,
        queue=task.queue,
        pool=task.pool,
        dag_version_id=dag.version_id,
        bundle="",
        priority=task.priority_weight,
    )
    row = {"dag_id": spec.dag_id, "task_id": task.task_id, "executor": executor, "namespace": ""}
    try:
        built = maker.pod(workload(launch, deployment.deployed(executor)))
    except ExecplaneError as error:
        return {**row, "allowed": False, "reason": error.message, "hint": error.hint, "pod": None, "layers": {}}
    row["namespace"] = built.namespace
    return {**row, "allowed": True, "reason": "", "hint": "", "pod": built.pod, "layers": built.provenance}
