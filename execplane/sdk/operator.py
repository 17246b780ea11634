"""BaseOperator: the root of every task, Airflow's and the author's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from execplane.sdk import accepting, executor_config, parameters, resources, scope, xcom_arg
from execplane.sdk.constructors import require, signature
from execplane.sdk.edges import Edges
from execplane.sdk.exceptions import AirflowException
from execplane.sdk.log import LoggingMixin
from execplane.sdk.params import ParamsDict
from execplane.sdk.scope import complaint

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from execplane.contract.states import TriggerRule
    from execplane.sdk.context import Context
    from execplane.sdk.dags import DAG
    from execplane.sdk.groups import TaskGroup
    from execplane.sdk.mapping import OperatorPartial

BASE_NAMES = frozenset(name for row in parameters.OPERATOR for name in (row.name, *row.aliases)) | {
    row.name for row in parameters.OPERATOR_REFUSED
}
_FROM_DEFAULT_ARGS = BASE_NAMES - {"task_id", "dag", "task_group", "default_args"}
_TABLE = accepting.Table(parameters.OPERATOR, parameters.OPERATOR_REFUSED)


class OperatorMeta(type):
    """Fills parameters from default_args at every level of inheritance, and joins the finished task to its DAG."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> Any:
        if "__init__" in namespace:
            namespace["__init__"] = _with_default_args(namespace["__init__"])
        return super().__new__(mcs, name, bases, namespace, **kwargs)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        task: Any = _bare(cls, _default_args(kwargs))
        if args and _constructor(cls) is _constructor(BaseOperator):
            raise complaint(f"{cls.__name__} is given arguments without names.", "Write task_id='...', and so on.")
        require(cls, _constructor(cls), task._default_args, args, kwargs)
        _constructor(cls)(task, *args, **kwargs)
        task._constructing = False
        if not hasattr(task, "task_id"):
            raise complaint(f"{cls.__name__}.__init__ does not call super().__init__(**kwargs).", "Add the call.")
        task.line = scope.author_position()[1]
        task.set_xcomargs_dependencies()
        return task


def _bare(cls: Any, default_args: dict[str, Any]) -> Any:
    """An instance whose constructor has not run."""
    task = object.__new__(cls)
    task.__dict__.update(_default_args=default_args, _constructing=True)
    return task


def _constructor(cls: Any) -> Callable[..., None]:
    found: Callable[..., None] = cls.__init__
    return found


def _default_args(kwargs: dict[str, Any]) -> dict[str, Any]:
    dag = kwargs.get("dag") or getattr(kwargs.get("task_group"), "dag", None) or scope.current_dag()
    found: dict[str, Any] = dict(dag.default_args) if dag is not None else {}
    group = kwargs.get("task_group") or scope.current_group(dag)
    lineage = []
    while group is not None:
        lineage.append(group.default_args)
        group = group.parent_group
    for args in reversed(lineage):
        found.update(args)
    found.update(kwargs.get("default_args") or {})
    return found


def _with_default_args(init: Callable[..., None]) -> Callable[..., None]:
    """`init`, with the named parameters that it was not given taken from the task's default_args."""
    names: list[str] | None = None

    @functools.wraps(init)
    def filled(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal names
        if names is None:
            found = list(signature(init).parameters.values())[1:]
            names = [p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        defaults = getattr(self, "_default_args", None)
        if defaults:
            positional = names[: len(args)]
            for name in names:
                if name not in kwargs and name in defaults and name not in positional:
                    kwargs[name] = defaults[name]
        init(self, *args, **kwargs)

    return filled


@functools.cache
def _plain(cls: type) -> bool:
    """Whether the parameters may go straight into the instance: nobody set up properties or a __setattr__ for them."""
    own = cls.__mro__[: cls.__mro__.index(BaseOperator)]
    if any("__setattr__" in base.__dict__ for base in own):
        return False
    names = {row.stored_as for row in parameters.OPERATOR} - {"dag", "task_group", "default_args", "task_id"}
    return not any(hasattr(inspect.getattr_static(cls, name, None), "__set__") for name in names)


@functools.cache
def constructor_names(cls: type) -> frozenset[str]:
    """Every parameter that a class of operators takes, its bases' included."""
    names: set[str] = set(BASE_NAMES)
    for base in cls.__mro__:
        if "__init__" in base.__dict__ and base is not object:
            found = signature(_constructor(base)).parameters.values()
            names.update(p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
            if not any(p.kind is p.VAR_KEYWORD for p in found):
                break
    return frozenset(names - {"self"})


class BaseOperator(Edges, LoggingMixin, metaclass=OperatorMeta):
    """One task. Subclasses override `execute`, name their `template_fields`, and pass **kwargs on."""

    template_fields: Sequence[str] = ()
    template_ext: Sequence[str] = ()
    template_fields_renderers: ClassVar[dict[str, str]] = {}
    shallow_copy_attrs: Sequence[str] = ()
    operator_extra_links: Sequence[Any] = ()
    ui_color = "#fff"
    ui_fgcolor = "#000"

    kind: ClassVar[str] = "task"
    """What the scheduler must know of it: see `TaskSpec.kind`."""
    shown_as: ClassVar[str] = ""
    """The operator's name on pages where it is not the class's."""

    task_id: str
    owner: str
    retries: int
    retry_delay: timedelta
    retry_exponential_backoff: float
    max_retry_delay: timedelta | None
    start_date: datetime | None
    end_date: datetime | None
    depends_on_past: bool
    ignore_first_depends_on_past: bool
    wait_for_downstream: bool
    priority_weight: int
    weight_rule: str
    queue: str
    pool: str
    pool_slots: int
    execution_timeout: timedelta | None
    trigger_rule: TriggerRule
    executor: str | None
    executor_config: dict[str, Any]
    resources: dict[str, Any]
    params: ParamsDict
    email: Any
    do_xcom_push: bool
    multiple_outputs: bool
    max_active_tis_per_dag: int | None
    max_active_tis_per_dagrun: int | None
    map_index_template: str | None
    task_display_name: str | None
    logger_name: str | None
    doc_md: str | None
    on_execute_callback: Any
    on_success_callback: Any
    on_failure_callback: Any
    on_retry_callback: Any
    on_skipped_callback: Any

    upstream_task_ids: set[str]
    downstream_task_ids: set[str]
    upstream_labels: dict[str, str]
    label: str
    task_group: TaskGroup | None
    line: int = 0
    _dag: DAG | None
    _default_args: dict[str, Any]
    _constructing: bool

    def __init__(self, **kwargs: Any) -> None:
        given = dict(kwargs)
        for name, value in self._default_args.items():
            if name in _FROM_DEFAULT_ARGS:
                given.setdefault(name, value)
        what = f"{type(self).__name__} {given.get('task_id')!r}"
        if given.get("task_id") is None:
            raise complaint(f"{type(self).__name__} lacks the parameter 'task_id'.", "Add task_id='...'.")
        _check_email(what, given)
        found = _TABLE.take(what, given)
        dag, group = found.pop("dag"), found.pop("task_group")
        found.pop("default_args")
        label = found.pop("task_id")
        found["params"] = ParamsDict.checked(what, found["params"])
        found["executor_config"] = executor_config.normalise(what, found["executor_config"])
        found["resources"] = resources.normalise(what, found["resources"])
        found["_logger_name"] = found["logger_name"] or ""
        found["depends_on_past"] |= found["wait_for_downstream"]
        for hook in ("_pre_execute_hook", "_post_execute_hook"):
            if found[hook] is None:
                del found[hook]
        if _plain(type(self)):
            self.__dict__.update(found)
        else:
            for name, value in found.items():
                setattr(self, name, value)
        self._settle(label, dag, group)

    def _settle(self, label: str, dag: DAG | None, group: TaskGroup | None) -> None:
        # Past __setattr__, which is for what authors assign.
        self.__dict__.update(
            upstream_task_ids=set(),
            downstream_task_ids=set(),
            upstream_labels={},
            label=label,
            task_group=None,
            _dag=None,
        )
        if dag is None and group is not None:
            dag = group.dag
        dag = dag if dag is not None else scope.current_dag()
        if group is None:
            group = scope.current_group(dag)
        self.task_id = group.child_id(label) if group is not None else label
        if dag is not None:
            dag.add_task(self)
        if group is not None:
            group.add(self)

    # ---- belonging -------------------------------------------------------------------------------------------------

    @property
    def dag(self) -> Any:
        """The DAG, or None while the task has none."""
        return self._dag

    @dag.setter
    def dag(self, dag: DAG) -> None:
        if self._dag is None and dag is not None:
            dag.add_task(self)
        elif self._dag is not dag:
            raise complaint(f"Task {self.task_id!r} belongs to DAG {self.dag_id!r} already.", "Give it one DAG.")

    def has_dag(self) -> bool:
        return self._dag is not None

    @property
    def dag_id(self) -> str:
        return self._dag.dag_id if self._dag is not None else ""

    @property
    def task_type(self) -> str:
        return type(self).__name__

    @property
    def operator_name(self) -> str:
        return self.shown_as or type(self).__name__

    @property
    def operator_class(self) -> type[BaseOperator]:
        """The class whose `execute` runs."""
        return type(self)

    @property
    def output(self) -> xcom_arg.XComArg:
        """The task's result, to be given to other tasks."""
        return xcom_arg.XComArg(self)

    # ---- edges -----------------------------------------------------------------------------------------------------

    def edge_roots(self) -> Sequence[BaseOperator]:
        return [self]

    def edge_leaves(self) -> Sequence[BaseOperator]:
        return [self]

    @property
    def upstream_list(self) -> list[BaseOperator]:
        return [self.dag.task_dict[task_id] for task_id in sorted(self.upstream_task_ids)]

    @property
    def downstream_list(self) -> list[BaseOperator]:
        return [self.dag.task_dict[task_id] for task_id in sorted(self.downstream_task_ids)]

    def get_direct_relative_ids(self, upstream: bool = False) -> set[str]:
        return set(self.upstream_task_ids if upstream else self.downstream_task_ids)

    def get_direct_relatives(self, upstream: bool = False) -> list[BaseOperator]:
        return self.upstream_list if upstream else self.downstream_list

    def get_flat_relative_ids(self, upstream: bool = False) -> set[str]:
        """Ids of all descendants, or with `upstream` of all ancestors."""
        found: set[str] = set()
        waiting = [self]
        while waiting:
            task = waiting.pop()
            for task_id in task.upstream_task_ids if upstream else task.downstream_task_ids:
                if task_id not in found:
                    found.add(task_id)
                    waiting.append(self.dag.task_dict[task_id])
        return found

    def argument_values(self) -> list[Any]:
        """What is looked through for results of other tasks."""
        return [getattr(self, name, None) for name in self.template_fields]

    def set_xcomargs_dependencies(self) -> None:
        """Every result of another task among the arguments is an edge."""
        for value in self.argument_values():
            # Most arguments of most tasks are left empty.
            if value is None or (type(value) in (tuple, list, dict) and not value):
                continue
            for arg in xcom_arg.find(value):
                self.set_upstream(arg)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        # An argument assigned after construction may bring edges, too.
        if not self.__dict__.get("_constructing", True) and name in self.template_fields:
            self.set_xcomargs_dependencies()

    # ---- running ---------------------------------------------------------------------------------------------------

    def execute(self, context: Context) -> Any:
        """The task's work; its result becomes the XCom return_value."""
        raise NotImplementedError(f"{type(self).__name__} does not define execute(context).")

    def pre_execute(self, context: Context) -> None:
        """Called right before execute; calls the `pre_execute` parameter."""
        hook = self.__dict__.get("_pre_execute_hook")
        if hook is not None:
            hook(context)

    def post_execute(self, context: Context, result: Any = None) -> None:
        """Called right after execute; calls the `post_execute` parameter."""
        hook = self.__dict__.get("_post_execute_hook")
        if hook is not None:
            hook(context, result)

    def on_kill(self) -> None:
        """Called when the try is timed out or told to stop: end what the task has started elsewhere."""

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Render the template fields in place."""
        from execplane.sdk import templating

        templating.render_fields(self, context)

    def render_template(self, content: Any, context: Context, jinja_env: Any = None) -> Any:
        """`content` with templates in it rendered."""
        from execplane.sdk import templating

        return templating.Renderer(self, context).render(content)

    def get_template_env(self) -> Any:
        from execplane.sdk import templating

        return templating.environment(self.dag)

    def xcom_pull(self, context: Context, *args: Any, **kwargs: Any) -> Any:
        return context["ti"].xcom_pull(*args, **kwargs)

    def xcom_push(self, context: Context, key: str, value: Any) -> None:
        context["ti"].xcom_push(key=key, value=value)

    def defer(self, *args: Any, **kwargs: Any) -> None:
        raise AirflowException("Deferring is not supported.", hint="Use a sensor with mode='reschedule'.")

    def as_setup(self) -> Any:
        raise complaint(f"Task {self.task_id!r} is made a setup task.", "Use plain dependencies.")

    def as_teardown(self, **kwargs: Any) -> Any:
        raise complaint(f"Task {self.task_id!r} is made a teardown task.", "Use trigger_rule='all_done'.")

    # ---- mapping ---------------------------------------------------------------------------------------------------

    @classmethod
    def make_detached(cls, kwargs: dict[str, Any]) -> BaseOperator:
        """A task outside of any DAG, for one mapped instance: arguments make no edges any more."""
        task: Any = _bare(cls, kwargs.get("default_args") or {})
        _constructor(cls)(task, **kwargs)
        found: BaseOperator = task
        return found

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """The parameters that all mapped instances share; `.expand(...)` gives those that differ."""
        from execplane.sdk.mapping import OperatorPartial

        return OperatorPartial(cls, kwargs)

    def __repr__(self) -> str:
        return f"<Task({self.operator_name}): {self.task_id}>"


def _check_email(what: str, given: dict[str, Any]) -> None:
    if not given.get("email"):
        return
    if given.get("email_on_failure") is not False or given.get("email_on_retry") is not False:
        raise complaint(
            f"{what}: email is given, and execplane sends no mail.",
            "Use on_failure_callback and on_retry_callback, or set email_on_failure and email_on_retry to False.",
        )


def apply_defaults(function: Callable[..., Any]) -> Callable[..., Any]:
    """Airflow 1.10's decorator of operators' constructors; every constructor has it here."""
    return function
