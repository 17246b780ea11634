"""Writes `execplane/pods/pod_schema.json` from the client library's models.

`python -m execplane.kube.export_pod_schema` does it.

`pods` checks field names and types without importing `kubernetes`, so it needs them as data. The file is committed;
a test says when it is out of date. A type is written as: "string", "integer", "number", "boolean", "quantity",
"int-or-string", "any", "Name" (of another definition), ["list", TYPE] or ["map", TYPE].
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "pods" / "pod_schema.json"

_QUANTITIES = {
    ("ResourceRequirements", "limits"),
    ("ResourceRequirements", "requests"),
    ("VolumeResourceRequirements", "limits"),
    ("VolumeResourceRequirements", "requests"),
    ("PodSpec", "overhead"),
    ("EmptyDirVolumeSource", "sizeLimit"),
    ("ResourceFieldSelector", "divisor"),
}
"""Numbers are right here, too; the models only know strings."""

_OPAQUE = {("Pod", "status")}
"""Copied along from `kubectl get -o yaml`; nobody writes it, so its inside is not described."""


def export() -> dict[str, Any]:
    """The definitions, reached from Pod, sorted."""
    from kubernetes.client import V1Pod

    schema = V1Pod.model_json_schema(by_alias=True)
    definitions = {_name(title): body for title, body in schema["$defs"].items()}
    definitions["Pod"] = {key: value for key, value in schema.items() if key != "$defs"}
    result: dict[str, Any] = {}
    pending = ["Pod"]
    while pending:
        name = pending.pop()
        if name in result:
            continue
        properties = definitions[name].get("properties", {})
        fields = {field: _type(name, field, body) for field, body in sorted(properties.items())}
        result[name] = {"fields": fields, "required": sorted(definitions[name].get("required", []))}
        pending.extend(_references(list(fields.values()), definitions))
    return dict(sorted(result.items()))


def _name(title: str) -> str:
    return title.removeprefix("CoreV1").removeprefix("V1")


def _type(owner: str, field: str, body: dict[str, Any]) -> Any:
    if (owner, field) in _OPAQUE:
        return "any"
    kind = _collapsed(body)
    if (owner, field) in _QUANTITIES:
        return ["map", "quantity"] if isinstance(kind, list) else "quantity"
    return kind


def _collapsed(body: dict[str, Any]) -> Any:
    if "$ref" in body:
        return _name(body["$ref"].rsplit("/", 1)[1])
    if "anyOf" in body:
        choices = [choice for choice in body["anyOf"] if choice.get("type") != "null"]
        if {choice.get("type") for choice in choices} == {"integer", "string"}:
            return "int-or-string"
        return _collapsed(choices[0]) if len(choices) == 1 else "any"
    match body.get("type"):
        case "array":
            return ["list", _collapsed(body["items"])]
        case "object":
            inner = body.get("additionalProperties")
            return ["map", _collapsed(inner)] if isinstance(inner, dict) else "any"
        case str() as simple:
            return simple
        case _:
            return "any"


def _references(types: list[Any], definitions: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for kind in types:
        while isinstance(kind, list):
            kind = kind[1]
        if kind in definitions:
            found.append(kind)
    return found


def text() -> str:
    """The file's content: one definition a line, so that a change can be read."""
    lines = [f"{json.dumps(name)}: {json.dumps(body, sort_keys=True)}" for name, body in export().items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    TARGET.write_text(text())
