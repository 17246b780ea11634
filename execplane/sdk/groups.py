"""Task groups: ids with a prefix, shared default_args, and one end of an edge for many tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from execplane.sdk import checks, scope
from execplane.sdk.accepting import Parameter, Refused, Table
from execplane.sdk.edges import Edges
from execplane.sdk.exceptions import DuplicateTaskIdFound
from execplane.sdk.scope import complaint

if TYPE_CHECKING:
    from execplane.sdk.dags import DAG
    from execplane.sdk.operator import BaseOperator

TASK_GROUP = (
    Parameter(name="group_id", takes="id", check=checks.optional(checks.identifier), effect="Names the group."),
    Parameter(
        name="prefix_group_id",
        takes="bool",
        check=checks.boolean,
        default=True,
        effect="Whether the ids of its tasks begin with its own.",
    ),
    Parameter(name="parent_group", takes="TaskGroup", effect="The group around it, outside of a `with` block."),
    Parameter(name="dag", takes="DAG", effect="The DAG it belongs to, outside of a `with DAG` block."),
    Parameter(name="default_args", takes="dict", check=checks.mapping, effect="Over the DAG's, for its tasks."),
    Parameter(name="tooltip", takes="string", check=checks.text, default="", effect="Shown in the graph."),
    Parameter(
        name="group_display_name",
        takes="string",
        check=checks.optional(checks.text),
        effect="The label on pages.",
    ),
    Parameter(
        name="add_suffix_on_collision",
        takes="bool",
        check=checks.boolean,
        default=False,
        effect="A second group of one id gets __1 after it, instead of an error.",
    ),
)
TASK_GROUP_REFUSED = (
    Refused(name="ui_color", advice="Remove it; colours on pages mean states."),
    Refused(name="ui_fgcolor", advice="Remove it; colours on pages mean states."),
)
_TABLE = Table(TASK_GROUP, TASK_GROUP_REFUSED)


class TaskGroup(Edges):
    """`with TaskGroup("load") as load:`: tasks inside are `load.<id>`; `load >> x` waits for its last tasks."""

    def __init__(self, group_id: str | None = None, prefix_group_id: bool = True, **kwargs: Any) -> None:
        given = {"group_id": group_id, "prefix_group_id": prefix_group_id, **kwargs}
        found = _TABLE.take(f"TaskGroup {group_id!r}", given)
        if not found["group_id"]:
            raise complaint("TaskGroup lacks the parameter 'group_id'.", "Name the group.")
        parent: TaskGroup | None = found["parent_group"]
        dag = found["dag"] or (parent.dag if parent is not None else scope.current_dag())
        if dag is None:
            raise complaint(f"TaskGroup {group_id!r} belongs to no DAG.", "Put it in `with DAG(...)`, or give dag=.")
        self.dag: DAG = dag
        self.parent_group = parent if parent is not None else scope.current_group(dag)
        self.prefix_group_id: bool = found["prefix_group_id"]
        self.default_args: dict[str, Any] = found["default_args"]
        self.tooltip: str = found["tooltip"]
        self.label: str = found["group_id"]
        self.group_display_name: str | None = found["group_display_name"]
        self.children: dict[str, BaseOperator | TaskGroup] = {}
        self.group_id = self._free_id(found["add_suffix_on_collision"])
        dag.task_group_dict[self.group_id] = self
        if self.parent_group is not None:
            self.parent_group.add(self)

    def _free_id(self, may_suffix: bool) -> str:
        parent = self.parent_group
        wanted = parent.child_id(self.label) if parent is not None else self.label
        taken = self.dag.task_group_dict.keys() | self.dag.task_dict.keys()
        if wanted not in taken:
            return wanted
        if not may_suffix:
            raise complaint(
                f"The group id {wanted!r} is used twice in DAG {self.dag.dag_id!r}.",
                "Rename one, or give add_suffix_on_collision=True.",
                DuplicateTaskIdFound,
            )
        number = 1
        while f"{wanted}__{number}" in taken:
            number += 1
        return f"{wanted}__{number}"

    def child_id(self, label: str) -> str:
        """The full id of a task or group with this label inside the group."""
        if self.prefix_group_id:
            return f"{self.group_id}.{label}"
        if self.parent_group is not None:
            return self.parent_group.child_id(label)
        return label

    def add(self, child: BaseOperator | TaskGroup) -> None:
        self.children[child.group_id if isinstance(child, TaskGroup) else child.task_id] = child
        if not isinstance(child, TaskGroup):
            child.task_group = self

    def __enter__(self) -> TaskGroup:
        scope.open_groups.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        scope.open_groups.remove(self)

    def tasks(self) -> list[BaseOperator]:
        """Every task inside, those of inner groups included."""
        found: list[BaseOperator] = []
        for child in self.children.values():
            found.extend(child.tasks() if isinstance(child, TaskGroup) else [child])
        return found

    def iter_tasks(self) -> list[BaseOperator]:
        return self.tasks()

    def edge_roots(self) -> Sequence[BaseOperator]:
        tasks = self.tasks()
        inside = {task.task_id for task in tasks}
        return [task for task in tasks if not task.upstream_task_ids & inside]

    def edge_leaves(self) -> Sequence[BaseOperator]:
        tasks = self.tasks()
        inside = {task.task_id for task in tasks}
        return [task for task in tasks if not task.downstream_task_ids & inside]

    @property
    def roots(self) -> list[BaseOperator]:
        return list(self.edge_roots())

    @property
    def leaves(self) -> list[BaseOperator]:
        return list(self.edge_leaves())

    def __repr__(self) -> str:
        return f"<TaskGroup: {self.group_id}>"


class _GroupFactory:
    """What `@task_group` leaves in place of the function: each call makes a group of the tasks that it makes."""

    def __init__(self, function: Callable[..., Any], given: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._given = given

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = {"group_id": self._function.__name__, "add_suffix_on_collision": True, **self._given}
        if not given.get("tooltip") and self._function.__doc__:
            given["tooltip"] = self._function.__doc__.strip()
        with TaskGroup(**given) as group:
            result = self._function(*args, **kwargs)
        return group if result is None else result

    def override(self, **given: Any) -> _GroupFactory:
        return _GroupFactory(self._function, {**self._given, **given})

    def expand(self, **kwargs: Any) -> Any:
        raise complaint(
            f"The task group {self._function.__name__!r} is mapped, which execplane does not support.",
            "Map the tasks inside it.",
        )

    expand_kwargs = partial = expand


def task_group(function: Callable[..., Any] | None = None, **given: Any) -> Any:
    """`@task_group`: the function's tasks become a group named after it."""
    if isinstance(function, str):
        return functools.partial(task_group, group_id=function, **given)
    if function is None:
        return functools.partial(task_group, **given)
    return _GroupFactory(function, given)
