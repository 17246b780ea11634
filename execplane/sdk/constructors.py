"""What operators' constructors are asked for, looked up once a class: a worker builds a DAG file's tasks anew."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from execplane.sdk import accepting
from execplane.sdk.scope import complaint


@functools.cache
def signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


@dataclass(frozen=True)
class _Takes:
    """What a class's own constructor takes besides self."""

    positional: tuple[str, ...]
    required: tuple[str, ...]
    known: frozenset[str] | None
    """None: any name."""

    @staticmethod
    @functools.cache
    def of(constructor: Callable[..., None]) -> _Takes:
        found = list(signature(constructor).parameters.values())[1:]
        named = [p for p in found if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        open_ended = any(p.kind is p.VAR_KEYWORD for p in found)
        return _Takes(
            positional=tuple(p.name for p in named if p.kind is not p.KEYWORD_ONLY),
            required=tuple(p.name for p in named if p.default is p.empty),
            known=None if open_ended else frozenset(p.name for p in found),
        )


def require(
    cls: type,
    constructor: Callable[..., None],
    default_args: Mapping[str, Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    """A missing or unknown parameter of the class's own constructor is named, before Python's TypeError."""
    takes = _Takes.of(constructor)
    positional = takes.positional[: len(args)]
    for name in takes.required:
        if name not in kwargs and name not in default_args and name not in positional:
            raise complaint(f"{_named(cls, kwargs)} lacks the parameter {name!r}.", f"Add {name}=...")
    if takes.known is not None:
        for name in kwargs:
            if name not in takes.known:
                raise accepting.unknown_parameter(_named(cls, kwargs), name, takes.known)


def _named(cls: type, kwargs: Mapping[str, Any]) -> str:
    return f"{cls.__name__} {kwargs['task_id']!r}" if isinstance(kwargs.get("task_id"), str) else cls.__name__
