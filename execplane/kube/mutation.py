"""The operators' `pod_mutation_hook`s, in Airflow's name and places: imported, and called with a V1Pod.

The model cannot hold every field of a pod, so what the caller gets is the model's JSON before and after; only the
difference is to be applied to the raw pod. For the hook's own process (`mutation_child`): nobody else runs their code.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint
from typing import Any, cast

from kubernetes import client as library
from pydantic import ValidationError

from execplane.contract.errors import ConfigError, InvalidInput
from execplane.kube.mutation_places import AIRFLOW_GROUP, HOOK_NAME, MODULES, hook_entry_points

_QUANTITIES = frozenset({"limits", "requests", "overhead"})
_MOST_SAID = 500
_SIZES = frozenset({"sizeLimit", "divisor"})

Hook = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class FoundHook:
    """One hook, and where it stands."""

    name: str
    """What an operator finds it by: the module's name, or the entry point's."""
    call: Hook
    file: str = ""


def find_hooks() -> list[FoundHook]:
    """All hooks in the order in which they run: the first settings module's, then those of entry points.

    So it is in Airflow, where the local settings come before the plugins. One function that is found in two places
    runs once. A module that cannot be imported is an error (ConfigError): pods without its changes might do harm.
    """
    found: list[FoundHook] = []
    for one in (*_of_modules(), *_of_entry_points()):
        if all(one.call is not known.call for known in found):
            found.append(one)
    return found


def _of_modules() -> Iterator[FoundHook]:
    for name in MODULES:
        if importlib.util.find_spec(name) is None:
            continue
        hook = getattr(_imported(name, partial(importlib.import_module, name)), HOOK_NAME, None)
        if hook is not None:
            yield _found(f"{name}.{HOOK_NAME}", hook)
            return


def _of_entry_points() -> Iterator[FoundHook]:
    for point in hook_entry_points():
        name = f"entry point {point.name} ({point.group})"
        loaded = _imported(name, point.load)
        hook = getattr(loaded, HOOK_NAME, None) if point.group == AIRFLOW_GROUP else loaded
        if hook is not None:
            yield _found(f"{name}: {point.value}", hook)


def _imported(name: str, load: Callable[[], Any]) -> Any:
    _stand_in_for_airflow()
    try:
        return load()
    except BaseException as error:
        missing = isinstance(error, ImportError) and (error.name or "").split(".")[0] == "airflow"
        hint = "Airflow is not installed here: import it below `if TYPE_CHECKING:` only. " if missing else ""
        raise ConfigError(
            f"{name} cannot be imported: {type(error).__name__}: {_said(error)}{place_of(error)}.",
            hint=f"{hint}Mend the file, or take it off the path.",
        ) from error


def _found(name: str, hook: object) -> FoundHook:
    if not callable(hook):
        raise ConfigError(f"{name} is not a function.", hint="Define it with def.")
    try:
        file = inspect.getsourcefile(inspect.unwrap(hook)) or ""
    except TypeError:
        file = ""
    return FoundHook(name=name, call=cast(Hook, hook), file=file)


def _stand_in_for_airflow() -> None:
    """Airflow's plugins mark their hooks with `airflow.policies.hookimpl`; where Airflow is missing, that does."""
    if "airflow" in sys.modules or importlib.util.find_spec("airflow") is not None:
        return
    airflow, policies = types.ModuleType("airflow"), types.ModuleType("airflow.policies")

    def hookimpl(function: Any = None, **options: Any) -> Any:
        return function if function is not None else lambda marked: marked

    vars(airflow).update(__path__=[], policies=policies)
    vars(policies).update(hookimpl=hookimpl)
    sys.modules.update({"airflow": airflow, "airflow.policies": policies})


def run_hooks(hooks: Sequence[FoundHook], pod: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod as the model sees it, before and after the hooks. Raises InvalidInput when one raises.

    A hook changes the model in place, or returns another one. MemoryError is not caught: it says something of the
    whole process.
    """
    try:
        model = library.V1Pod.from_dict(_texts(pod))
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise InvalidInput(f"The pod cannot be given to {HOOK_NAME}: wrong type of {fields}.") from error
    assert model is not None
    before = _plain(model)
    for hook in hooks:
        try:
            returned = hook.call(model)
            model = returned if isinstance(returned, library.V1Pod) else model
        except MemoryError:
            raise
        except BaseException as error:
            raise InvalidInput(
                f"{hook.name} raised {type(error).__name__}: {_said(error)}{place_of(error, hook.file)}.",
                hint="Mend the hook; no pod is made without it.",
            ) from error
    return before, _plain(model)


def _plain(model: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", _serialiser().sanitize_for_serialization(model))


@cache
def _serialiser() -> Any:
    return library.ApiClient(library.Configuration())


def _texts(value: Any, name: str = "", owner: str = "") -> Any:
    """A copy in which quantities are strings, as the model wants them."""
    if isinstance(value, dict):
        return {key: _texts(child, key, name) for key, child in value.items()}
    if isinstance(value, list):
        return [_texts(child) for child in value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if number and (name in _SIZES or owner in _QUANTITIES) else value


def _said(error: BaseException) -> str:
    """On one line: pydantic's messages have many."""
    return " ".join(str(error).split())[:_MOST_SAID].rstrip(".")


def place_of(error: BaseException, file: str = "") -> str:
    """ " (file:line)" of the operator's own code in the traceback: of `file`, else the last that is not a library's."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}:{error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    of_file = [frame for frame in frames if frame.filename == file or "local_settings" in frame.filename]
    own = of_file or [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""


def _is_ours(file: str) -> bool:
    return file == __file__ or file.startswith("<frozen") or file in (importlib.__file__, inspect.getfile(EntryPoint))
