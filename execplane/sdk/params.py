"""Typed parameters of a run: `Param`, and the check of a value against its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from execplane.sdk.exceptions import ParamValidationError
from execplane.sdk.scope import complaint

if TYPE_CHECKING:
    from execplane.sdk.context import Context

_UNSET: Any = object()


class Param:
    """`Param(5, type="integer", minimum=1, description="...")`: a default and the keywords of JSON Schema."""

    def __init__(self, default: Any = _UNSET, description: str | None = None, **schema: Any) -> None:
        self.has_default = default is not _UNSET
        self._default = default
        self.description = description
        inner = schema.pop("schema", None)
        self.schema: dict[str, Any] = {**inner, **schema} if isinstance(inner, dict) else schema

    @property
    def value(self) -> Any:
        """The default; None when there is none."""
        return self._default if self.has_default else None

    def resolve(self, value: Any = _UNSET) -> Any:
        """`value` (else the default), checked. Raises ParamValidationError."""
        found = self._default if value is _UNSET else value
        if found is _UNSET:
            raise ParamValidationError("No value is given, and there is no default.")
        if wrong := violation(self.schema, found):
            raise ParamValidationError(wrong)
        return found

    def __repr__(self) -> str:
        return f"Param({self.value!r})"


class ParamsDict(MutableMapping[str, Any]):
    """Params by name; reading one gives its value."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self._params: dict[str, Param] = {}
        if given:
            self.update(given._params if isinstance(given, ParamsDict) else given)

    @classmethod
    def checked(cls, what: str, *sources: Any) -> ParamsDict:
        """What an author gives as `params`, later sources over earlier ones. Raises DagImportError."""
        found = cls()
        for source in sources:
            if source is None:
                continue
            if not isinstance(source, (dict, ParamsDict)):
                raise complaint(f"{what}: params takes a dict, not {source!r}.", "Write params={'name': Param(...)}.")
            found.update(source._params if isinstance(source, ParamsDict) else source)
        return found

    def __setitem__(self, name: str, value: Any) -> None:
        if isinstance(value, Param):
            self._params[name] = value
        elif name in self._params:
            old = self._params[name]
            self._params[name] = Param(value, old.description, schema=old.schema)
        else:
            self._params[name] = Param(value)

    def __getitem__(self, name: str) -> Any:
        return self._params[name].value

    def __delitem__(self, name: str) -> None:
        del self._params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def get_param(self, name: str) -> Param:
        return self._params[name]

    def dump(self) -> dict[str, Any]:
        return dict(self)


class DagParam:
    """A parameter of a `@dag` function, given to a task: the run's value when the task runs."""

    def __init__(self, name: str, default: Any) -> None:
        self.name = name
        self.default = default

    def resolve(self, context: Context) -> Any:
        return context["params"].get(self.name, self.default)


def merge(dag_params: ParamsDict, task_params: Mapping[str, Any], conf: Mapping[str, Any]) -> dict[str, Any]:
    """What `{{ params }}` is: the DAG's, under the task's, under the run's conf (unknown keys included), checked.

    Raises ParamValidationError naming the parameter.
    """
    merged = ParamsDict(dag_params)
    merged.update(task_params._params if isinstance(task_params, ParamsDict) else task_params)
    values: dict[str, Any] = {}
    for name, param in merged._params.items():
        try:
            values[name] = param.resolve(conf[name]) if name in conf else param.resolve()
        except ParamValidationError as error:
            raise ParamValidationError(f"Param {name!r}: {error.message}") from None
    values.update({name: value for name, value in conf.items() if name not in values})
    return values


_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: (isinstance(value, int) and not isinstance(value, bool)) or _is_whole(value),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "array": lambda value: isinstance(value, (list, tuple)),
    "object": lambda value: isinstance(value, dict),
}
_FORMATS: dict[str, Callable[[str], Any]] = {
    "date": date.fromisoformat,
    "date-time": datetime.fromisoformat,
    "time": time.fromisoformat,
}
_Rule = Callable[[Any, Any], "str | bool"]


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


_NUMBER_RULES: dict[str, tuple[str, _Rule]] = {
    "minimum": ("is below the minimum", lambda value, limit: value >= limit),
    "maximum": ("is above the maximum", lambda value, limit: value <= limit),
    "exclusiveMinimum": ("is not above", lambda value, limit: value > limit),
    "exclusiveMaximum": ("is not below", lambda value, limit: value < limit),
    "multipleOf": ("is not a multiple of", lambda value, limit: value % limit == 0),
}
_TEXT_RULES: dict[str, tuple[str, _Rule]] = {
    "minLength": ("is shorter than", lambda value, limit: len(value) >= limit),
    "maxLength": ("is longer than", lambda value, limit: len(value) <= limit),
    "pattern": ("does not match", lambda value, limit: re.search(limit, value) is not None),
}
_LIST_RULES: dict[str, tuple[str, _Rule]] = {
    "minItems": ("has fewer entries than", lambda value, limit: len(value) >= limit),
    "maxItems": ("has more entries than", lambda value, limit: len(value) <= limit),
}


def violation(schema: Mapping[str, Any], value: Any) -> str:
    """Why `value` does not fit `schema`, in one sentence; "" when it does.

    The keywords of JSON Schema that Airflow's documentation uses; others (title, examples, section) are for forms.
    """
    kinds = schema.get("type")
    if kinds is not None:
        allowed = [kinds] if isinstance(kinds, str) else list(kinds)
        if not any(_TYPES.get(kind, lambda _: False)(value) for kind in allowed):
            return f"{value!r} is not of type {' or '.join(map(str, allowed))}."
    if "enum" in schema and value not in schema["enum"]:
        return f"{value!r} is not one of {list(schema['enum'])!r}."
    if "const" in schema and value != schema["const"]:
        return f"{value!r} is not {schema['const']!r}."
    return _sized(schema, value) or _nested(schema, value) or _combined(schema, value)


def _sized(schema: Mapping[str, Any], value: Any) -> str:
    rules: dict[str, tuple[str, _Rule]] = {}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        rules = _NUMBER_RULES
    elif isinstance(value, str):
        rules = _TEXT_RULES
    elif isinstance(value, (list, tuple)):
        rules = _LIST_RULES
    for keyword, (words, holds) in rules.items():
        if keyword in schema and not holds(value, schema[keyword]):
            return f"{value!r} {words} {schema[keyword]!r}."
    if isinstance(value, str) and (parse := _FORMATS.get(schema.get("format", ""))):
        try:
            parse(value)
        except ValueError:
            return f"{value!r} is not a {schema['format']}."
    return ""


def _nested(schema: Mapping[str, Any], value: Any) -> str:
    if isinstance(value, (list, tuple)):
        if schema.get("uniqueItems") and any(entry in value[:index] for index, entry in enumerate(value)):
            return f"{value!r} has an entry twice."
        if isinstance(schema.get("items"), Mapping):
            for index, entry in enumerate(value):
                if wrong := violation(schema["items"], entry):
                    return f"Entry {index}: {wrong}"
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            if name not in value:
                return f"{name!r} is missing."
        properties = schema.get("properties", {})
        for name, entry in value.items():
            if name in properties:
                if wrong := violation(properties[name], entry):
                    return f"{name!r}: {wrong}"
            elif schema.get("additionalProperties") is False:
                return f"{name!r} is not allowed."
    return ""


def _combined(schema: Mapping[str, Any], value: Any) -> str:
    for inner in schema.get("allOf", ()):
        if wrong := violation(inner, value):
            return wrong
    if "anyOf" in schema and all(violation(inner, value) for inner in schema["anyOf"]):
        return f"{value!r} fits none of the allowed forms."
    if "oneOf" in schema and sum(not violation(inner, value) for inner in schema["oneOf"]) != 1:
        return f"{value!r} does not fit exactly one of the allowed forms."
    if "not" in schema and not violation(schema["not"], value):
        return f"{value!r} has a form that is not allowed."
    return ""
