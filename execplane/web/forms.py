"""The trigger form: a field for each of a DAG's params, and back from the browser's strings to a conf. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from execplane.contract.dag import ParamSpec

_FORMATS = {"date": "date", "date-time": "datetime", "time": "time", "multiline": "textarea"}


@dataclass(frozen=True, kw_only=True)
class FormField:
    """kind: "text" | "textarea" | "integer" | "number" | "checkbox" | "select" | "lines" | "json" | "date" |
    "datetime" | "time" | "const"."""

    name: str
    kind: str
    title: str
    description: str = ""
    value: str = ""
    checked: bool = False
    required: bool = False
    choices: tuple[tuple[str, str], ...] = ()
    """(JSON of the value, label)"""
    suggestions: tuple[str, ...] = ()
    minimum: str = ""
    maximum: str = ""
    error: str = ""


def fields(
    params: Mapping[str, ParamSpec],
    given: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> tuple[FormField, ...]:
    """The form's fields in the author's order; `given` is what a refused form had."""
    return tuple(
        _field(name, param, None if given is None else given, (errors or {}).get(name, ""))
        for name, param in params.items()
    )


def _types(param: ParamSpec) -> list[str]:
    declared = param.schema.get("type")
    if isinstance(declared, str):
        return [declared]
    if isinstance(declared, list):
        return [str(item) for item in declared]
    by_value = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return [by_value.get(type(param.default), "string" if param.default is None else "object")]


def _kind(param: ParamSpec) -> str:
    schema, types = param.schema, [name for name in _types(param) if name != "null"]
    if "const" in schema:
        return "const"
    if schema.get("enum"):
        return "select"
    match types:
        case ["boolean"]:
            return "checkbox"
        case ["integer"] | ["number"]:
            return types[0]
        case ["string"]:
            return _FORMATS.get(str(schema.get("format", "")), "text")
        case ["array"] if (schema.get("items") or {}).get("type") == "string":
            return "lines"
        case _:
            return "json"


def _text(kind: str, value: Any) -> str:
    if kind == "select":
        return json.dumps(value)
    if kind == "lines":
        return "\n".join(str(item) for item in value or [])
    if value is None:
        return ""
    if kind in ("json", "const"):
        return json.dumps(value, indent=2, ensure_ascii=False)
    if kind == "datetime":
        return str(value).replace("Z", "+00:00")[:16]
    return str(value)


def _field(name: str, param: ParamSpec, given: Mapping[str, str] | None, error: str) -> FormField:
    kind, schema = _kind(param), param.schema
    key = f"param.{name}"
    value = _text(kind, param.default) if given is None else given.get(key, "")
    return FormField(
        name=key,
        kind=kind,
        title=str(schema.get("title") or name),
        description=param.description or str(schema.get("description") or ""),
        value=value,
        checked=bool(param.default) if given is None else key in given,
        required=kind != "checkbox" and "null" not in _types(param) and not _may_be_empty(kind, param),
        choices=tuple((json.dumps(item), _label(schema, item)) for item in schema.get("enum", [])),
        suggestions=tuple(str(item) for item in schema.get("examples", [])) if kind == "text" else (),
        minimum=str(schema.get("minimum", "")),
        maximum=str(schema.get("maximum", "")),
        error=error,
    )


def _label(schema: Mapping[str, Any], item: Any) -> str:
    labels = schema.get("values_display") or {}
    return str(labels.get(item, item) if isinstance(labels, Mapping) else item)


def _may_be_empty(kind: str, param: ParamSpec) -> bool:
    return kind in ("text", "textarea", "lines", "const") and not param.schema.get("minLength")


def read(params: Mapping[str, ParamSpec], given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The conf that a submitted form means, and what is wrong, by param."""
    conf: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, param in params.items():
        try:
            conf[name] = _value(_kind(param), param, f"param.{name}", given)
        except ValueError as error:
            errors[name] = str(error)
    return conf, errors


def _value(kind: str, param: ParamSpec, key: str, given: Mapping[str, str]) -> Any:
    text = given.get(key, "")
    if kind == "checkbox":
        return key in given
    if kind == "const":
        return param.schema["const"]
    if kind == "lines":
        return [line for line in text.splitlines() if line.strip()]
    if kind in ("text", "textarea"):
        return None if not text and "null" in _types(param) else text.replace("\r\n", "\n")
    if not text.strip():
        if "null" in _types(param) or (kind in ("select", "json") and param.default is None):
            return None
        raise ValueError("A value is needed.")
    return _parse(kind, text.strip())


def _parse(kind: str, text: str) -> Any:
    if kind == "integer":
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number.") from None
    if kind == "number":
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number.") from None
    if kind == "datetime":
        return f"{text}:00+00:00" if len(text) == 16 else text
    if kind in ("date", "time"):
        return text
    return parse_json(text)


def parse_json(text: str) -> Any:
    """Raises ValueError with the place of the mistake."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"Not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise ValueError("Not valid JSON: it is nested too deeply.") from None


def read_conf(text: str) -> dict[str, Any]:
    """A whole conf typed as JSON. Raises ValueError."""
    if not text.strip():
        return {}
    conf = parse_json(text)
    if not isinstance(conf, dict):
        raise ValueError('The configuration must be a JSON object, for example {"key": "value"}.')
    return conf
