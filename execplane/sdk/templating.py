"""Jinja templates in operators' fields: sandboxed, and an undefined name is always an error."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from execplane.sdk.exceptions import AirflowException
from execplane.sdk.params import DagParam
from execplane.sdk.xcom_arg import XComArg

if TYPE_CHECKING:
    import jinja2

    from execplane.sdk.context import Context
    from execplane.sdk.dags import DAG
    from execplane.sdk.operator import BaseOperator


class LiteralValue:
    """A string that looks like a template or a file name, and is neither: `literal("{{ kept }}")`."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def iter_references(self) -> tuple[()]:
        return ()

    def resolve(self, context: Any) -> Any:
        return self.value


literal = LiteralValue


def environment(dag: DAG | None) -> jinja2.Environment:
    """The DAG's Jinja environment: its folder first, then template_searchpath; made once for a DAG."""
    cached: jinja2.Environment | None = getattr(dag, "_jinja", None)
    if cached is not None:
        return cached
    import jinja2
    import jinja2.nativetypes
    import jinja2.sandbox

    from execplane.sdk.macros import FILTERS

    class Sandbox(jinja2.sandbox.SandboxedEnvironment):
        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            # Airflow's authors reach single-underscore attributes; only Python's internals stay closed.
            return not jinja2.sandbox.is_internal_attribute(obj, attr)

    class NativeSandbox(Sandbox, jinja2.nativetypes.NativeEnvironment):
        pass

    folders = [dag.folder or ".", *dag.template_searchpath] if dag is not None else ["."]
    options: dict[str, Any] = {
        "loader": jinja2.FileSystemLoader(folders),
        "undefined": jinja2.StrictUndefined,
        "extensions": ["jinja2.ext.do"],
        **(dag.jinja_environment_kwargs if dag is not None else {}),
    }
    native = dag is not None and dag.render_template_as_native_obj
    env: jinja2.Environment = NativeSandbox(**options) if native else Sandbox(**options)
    env.filters.update(FILTERS)
    if dag is not None:
        env.globals.update(dag.user_defined_macros)
        env.filters.update(dag.user_defined_filters)
        dag._jinja = env  # type: ignore[attr-defined]
    return env


class Renderer:
    """Renders one task's values. `untouched`: ids of values that came from XComs, and are no templates."""

    def __init__(self, task: BaseOperator, context: Context, untouched: frozenset[int] = frozenset()) -> None:
        self.task = task
        self.context = context
        self.untouched = untouched
        dag = task.dag
        self._always = dag is not None and (dag.render_template_as_native_obj or bool(dag.jinja_environment_kwargs))
        self._variables: dict[str, Any] | None = None

    def render(self, value: Any) -> Any:
        """`value` with its strings rendered; lists, tuples, sets and dicts' values too, dicts' keys not."""
        if id(value) in self.untouched:
            return value
        if isinstance(value, str):
            return self._render_text(value)
        if isinstance(value, (XComArg, DagParam, LiteralValue)):
            return value.resolve(self.context)
        if isinstance(value, tuple):
            if type(value) is not tuple:
                return type(value)(*(self.render(entry) for entry in value))
            return tuple(self.render(entry) for entry in value)
        if isinstance(value, list):
            return [self.render(entry) for entry in value]
        if isinstance(value, dict):
            return {key: self.render(entry) for key, entry in value.items()}
        if isinstance(value, set):
            return {self.render(entry) for entry in value}
        if not isinstance(value, (bytes, type)) and hasattr(value, "template_fields"):
            return self._render_object(value)
        return value

    def _render_object(self, value: Any) -> Any:
        for name in value.template_fields:
            setattr(value, name, self.render(getattr(value, name)))
        return value

    def _render_text(self, text: str) -> Any:
        if text.endswith(tuple(self.task.template_ext)) and self.task.template_ext:
            return self._render_with(lambda env: env.get_template(text))
        if not self._always and "{" not in text:
            return text.removesuffix("\n")  # as Jinja does; Jinja itself is not needed, and costs its import
        return self._render_with(lambda env: env.from_string(text))

    def _render_with(self, load: Any) -> Any:
        import jinja2

        env = environment(self.task.dag)
        if self._variables is None:
            self._variables = dict(self.context)
        try:
            return load(env).render(self._variables)
        except jinja2.TemplateNotFound as error:
            folders = ", ".join(getattr(env.loader, "searchpath", ()))
            raise AirflowException(
                f"The template file {error.name!r} is not there; looked in {folders}.",
                hint="Put it beside the DAG file or in template_searchpath, or end the text with a space.",
            ) from None
        except jinja2.UndefinedError as error:
            raise AirflowException(
                f"A template uses a name that does not exist: {error.message}.",
                hint="Correct the name, or use | default(...).",
            ) from None
        except jinja2.TemplateSyntaxError as error:
            where = f"{os.path.basename(error.filename)}, " if error.filename and error.filename != "<unknown>" else ""
            raise AirflowException(
                f"A template cannot be read ({where}line {error.lineno}: {error.message}).",
                hint="Bash's ${#array[@]} opens a Jinja comment: write {% raw %} around it.",
            ) from None


def render_fields(task: BaseOperator, context: Context, untouched: frozenset[int] = frozenset()) -> None:
    """Render every template field of `task` in place. Raises AirflowException naming the field."""
    renderer = Renderer(task, context, untouched)
    for name in task.template_fields:
        try:
            value = getattr(task, name)
        except AttributeError:
            raise AirflowException(
                f"{task.operator_name} has {name!r} in template_fields, and task {task.task_id!r} no such attribute."
            ) from None
        if not value:
            continue
        try:
            rendered = renderer.render(value)
        except AirflowException as error:
            if error.message.startswith(("A template", "The template")):
                raise AirflowException(
                    f"Field {name!r} of task {task.task_id!r}: {error.message}", hint=error.hint
                ) from None
            raise
        object.__setattr__(task, name, rendered)
