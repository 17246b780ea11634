"""Branching: a task that decides which of its direct downstream tasks run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from execplane.sdk.exceptions import AirflowException
from execplane.sdk.operator import BaseOperator
from execplane.sdk.operators.python import PythonOperator, droppable

if TYPE_CHECKING:
    from execplane.sdk.context import Context


def follow(task: BaseOperator, choice: Any, context: Context) -> None:
    """Skip the direct downstream tasks that neither are chosen nor come after a chosen one.

    `choice`: a task id, a group's id, a list of them, or None. An id that is no child skips all children; an id that
    the DAG does not have fails the task.
    """
    chosen = _chosen(choice)
    dag = task.dag
    kept: set[str] = set()
    for name in chosen:
        if name in dag.task_group_dict:
            kept.update(root.task_id for root in dag.task_group_dict[name].roots)
        elif name in dag.task_dict:
            kept.add(name)
        else:
            raise AirflowException(
                f"Branch callable must return valid task_ids. Invalid tasks found: {name!r}.",
                hint="Its direct downstream tasks are " + ", ".join(sorted(task.downstream_task_ids)) + ".",
            )
    # A child that also comes after a chosen task is not skipped.
    kept |= {later for name in set(kept) for later in dag.task_dict[name].get_flat_relative_ids()}
    dropped = droppable(task, task.downstream_task_ids - kept)
    task.log.info("Following branch %s; skipping %s", sorted(chosen), ", ".join(sorted(dropped)) or "nothing")
    context.drop(dropped)


def _chosen(choice: Any) -> set[str]:
    if choice is None:
        return set()
    if isinstance(choice, str):
        return {choice}
    if isinstance(choice, Iterable):
        found = list(choice)
        if all(isinstance(name, str) for name in found):
            return set(found)
    raise AirflowException(f"A branch must give None, a task id or a list of them, not {choice!r}.")


class BaseBranchOperator(BaseOperator):
    """The root of authors' own branches: override `choose_branch`."""

    kind = "branch"

    def choose_branch(self, context: Context) -> Any:
        """The id, or the ids, to follow; None or [] skips all."""
        raise NotImplementedError(f"{type(self).__name__} does not define choose_branch(context).")

    def execute(self, context: Context) -> Any:
        choice = self.choose_branch(context)
        follow(self, choice, context)
        return choice


class BranchPythonOperator(PythonOperator):
    """Follows the id, or the ids, that its callable gives."""

    kind = "branch"

    def execute(self, context: Context) -> Any:
        choice = super().execute(context)
        follow(self, choice, context)
        return choice
