"""Is this a pod, field by field: unknown names and wrong types are found before the API server is asked.

The API server would drop an unknown field or answer with a Go error; here the error names the path, the layer that
wrote it, and the nearest right name. What only the server can know (a missing Secret, a quota) stays its business.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from execplane.contract.errors import InvalidInput
from execplane.pods.fields import BASE
from execplane.pods.merge import Layer
from execplane.pods.nearest import nearest
from execplane.pods.tree import Node, below, plant

Type = str | list[Any]
"""As `kube.export_pod_schema` writes it."""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    fields: dict[str, Type]
    required: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with a pod, and who wrote it."""

    path: str
    layer: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@cache
def definitions() -> dict[str, Definition]:
    """The pod's schema, by definition name."""
    data = importlib.resources.files("execplane.pods").joinpath("pod_schema.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, Definition])


def check_layer(layer: Layer) -> None:
    """Raises InvalidInput naming the first bad field of one layer, its path, and the nearest right name."""
    if not isinstance(layer.pod, dict):
        raise InvalidInput(f"{layer} is {type(layer.pod).__name__}, not a pod.", hint="Write it as a pod's YAML.")
    _raise_first(list(problems(plant(layer.pod, layer.name), whole=False)), str(layer))


def check_template(layer: Layer) -> None:
    """`check_layer` for a template: it must also be a Pod, and have a container `base`."""
    if not isinstance(layer.pod, dict):
        kind = "empty" if layer.pod is None else f"{type(layer.pod).__name__}, not a mapping"
        raise InvalidInput(f"The pod {layer} is {kind}.", hint="It must be one Pod: apiVersion: v1, kind: Pod.")
    for field, wanted in (("apiVersion", "v1"), ("kind", "Pod")):
        if layer.pod.get(field) != wanted:
            found = layer.pod.get(field)
            said = f"{field} is {found!r}" if found is not None else f"it has no {field}"
            raise InvalidInput(
                f"The pod {layer} is not a Pod: {said}.",
                hint=f"Write `{field}: {wanted}`; a Deployment's or Job's pod stands under spec.template.",
            )
    check_layer(layer)
    containers = (layer.pod.get("spec") or {}).get("containers") or []
    names = [container.get("name") for container in containers]
    # A single container without a name is `base`; see merge.
    if names and BASE not in names and names != [None]:
        raise InvalidInput(
            f"The pod {layer} has no container named {BASE!r} (only {', '.join(map(repr, names))}).",
            hint=f"Name the container that runs the task {BASE!r}.",
        )


def check_pod(tree: Node) -> None:
    """The merged pod: everything required is there, too."""
    _raise_first(list(problems(tree, whole=True)), "The pod")


def _raise_first(found: list[Problem], source: str) -> None:
    if not found:
        return
    first, more = found[0], len(found) - 1
    also = f" ({more} more: {', '.join(problem.path for problem in found[1:4])})" if more else ""
    by = "" if source.startswith(first.layer) else f" (set by {first.layer})"
    raise InvalidInput(f"{source}: {first.path} {first.what}{by}{also}.", hint=first.hint)


def problems(tree: Node, *, whole: bool) -> Iterator[Problem]:
    """All that is wrong; `whole`: required fields are asked for, too."""
    yield from _object(tree, "Pod", "", whole)


def _object(node: Node, name: str, path: str, whole: bool) -> Iterator[Problem]:
    definition = definitions()[name]
    if not isinstance(node.value, dict):
        yield _wrong(node, path, f"an object ({name})")
        return
    for field, child in node.value.items():
        kind = definition.fields.get(field)
        where = below(path, field)
        if kind is None:
            hint = nearest(field, definition.fields)
            yield Problem(path=where, layer=child.layer, what=f"is not a field of {name}", hint=hint)
        elif child.value is not None:
            yield from _check(child, kind, where, whole)
    if whole:
        for field in definition.required:
            if field not in node.value:
                yield Problem(
                    path=below(path, field),
                    layer=node.layer,
                    what="is missing",
                    hint=f"{name} requires {field}.",
                )


def _check(node: Node, kind: Type, path: str, whole: bool) -> Iterator[Problem]:
    if isinstance(kind, str):
        if kind in definitions():
            yield from _object(node, kind, path, whole)
        elif not _fits(node.value, kind):
            yield _wrong(node, path, _SPOKEN.get(kind, kind))
        return
    container, inner = kind
    if container == "list":
        if not isinstance(node.value, list):
            yield _wrong(node, path, "a list")
            return
        for index, item in enumerate(node.value):
            yield from _check(item, inner, f"{path}[{index}]", whole)
    elif not isinstance(node.value, dict):
        yield _wrong(node, path, "a mapping")
    else:
        for name, child in node.value.items():
            if child.value is not None:
                yield from _check(child, inner, f"{path}[{name}]", whole)


_SPOKEN = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "quantity": 'a quantity such as "500m" or "2Gi"',
    "int-or-string": "a whole number or a string",
}


def _fits(value: Any, kind: str) -> bool:
    match kind:
        case "any":
            return True
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "quantity":
            return isinstance(value, str | int | float) and not isinstance(value, bool)
        case "int-or-string":
            return isinstance(value, str | int) and not isinstance(value, bool)
        case _:
            raise AssertionError(kind)


def _wrong(node: Node, path: str, wanted: str) -> Problem:
    if isinstance(node.value, dict | list):
        found = "an object" if isinstance(node.value, dict) else "a list"
        return Problem(path=path or "the pod", layer=node.layer, what=f"must be {wanted}, not {found}")
    said = json.dumps(node.value)
    hint = f'Write "{said}" with quotes.' if wanted == "a string" and node.value is not None else ""
    return Problem(path=path or "the pod", layer=node.layer, what=f"must be {wanted}, not {said}", hint=hint)
