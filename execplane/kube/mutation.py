"""The operator's `pod_mutation_hook`, in Airflow's name and place: found on the path, called with a V1Pod.

The model cannot hold every field of a pod, so what the caller gets is the model's JSON before and after; only the
difference is to be applied to the raw pod.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import traceback
from collections.abc import Callable
from typing import Any, cast

from kubernetes import client as library
from pydantic import ValidationError

from execplane.contract.errors import ConfigError, InvalidInput

HOOK_NAME = "pod_mutation_hook"
MODULES = ("execplane_local_settings", "airflow_local_settings")
_QUANTITIES = frozenset({"limits", "requests", "overhead"})
_SIZES = frozenset({"sizeLimit", "divisor"})

Hook = Callable[[Any], Any]


def find_hook(modules: tuple[str, ...] = MODULES) -> Hook | None:
    """The first module's hook; None when there is none. A settings module that cannot be imported is an error."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            continue
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise ConfigError(
                f"{name} cannot be imported: {type(error).__name__}: {error}{_where(error)}.",
                hint="Mend the file, or take it off the path.",
            ) from error
        hook = getattr(module, HOOK_NAME, None)
        if hook is not None:
            if not callable(hook):
                raise ConfigError(f"{name}.{HOOK_NAME} is not a function.", hint="Define it with def.")
            return cast(Hook, hook)
    return None


def run_hook(hook: Hook, pod: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod as the model sees it, before and after the hook. Raises InvalidInput when the hook raises.

    The hook changes the model in place, or returns another one.
    """
    try:
        model = library.V1Pod.from_dict(_texts(pod))
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise InvalidInput(f"The pod cannot be given to {HOOK_NAME}: wrong type of {fields}.") from error
    assert model is not None
    before = copy.deepcopy(_plain(model))
    try:
        returned = hook(model)
    except Exception as error:
        raise InvalidInput(
            f"{HOOK_NAME} raised {type(error).__name__}: {error}{_where(error)}.",
            hint="Mend the hook; no pod is made without it.",
        ) from error
    return before, _plain(returned if isinstance(returned, library.V1Pod) else model)


def _plain(model: Any) -> dict[str, Any]:
    serialiser: Any = library.ApiClient(library.Configuration())
    return cast("dict[str, Any]", serialiser.sanitize_for_serialization(model))


def _texts(value: Any, name: str = "", owner: str = "") -> Any:
    """A copy in which quantities are strings, as the model wants them."""
    if isinstance(value, dict):
        return {key: _texts(child, key, name) for key, child in value.items()}
    if isinstance(value, list):
        return [_texts(child) for child in value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if number and (name in _SIZES or owner in _QUANTITIES) else value


def _where(error: Exception) -> str:
    """The last line of the operator's own file in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if "local_settings" in frame.filename), None)
    return f" ({last.filename}:{last.lineno})" if last else ""
