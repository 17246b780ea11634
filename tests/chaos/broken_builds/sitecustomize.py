"""execplane built without one of its promises: the tests that guard the promise must notice.

Python imports this module at the start of every process that finds it on PYTHONPATH. `BROKEN_BUILD` names what is
taken away, once the module that holds it has been imported.
"""

import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

WANTED = os.environ.get("BROKEN_BUILD", "")


def without_the_fence(launching: Any) -> None:
    """Every process that asks may start the attempt."""

    def pass_fence(attempt_id: int, **who: Any) -> Any:
        with launching.write():
            row = launching.locked_attempt(attempt_id)
            launching._begin(row, **who)
        return launching.Passed(code="running", first_time=True)

    launching.pass_fence = pass_fence


BUILDS = {"without_the_fence": ("execplane.store.transitions.launching", without_the_fence)}


class Breaking(Loader):
    def __init__(self, loader: Loader, breaks: Callable[[ModuleType], None]) -> None:
        self.loader, self.breaks = loader, breaks

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.breaks(module)


class Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        module, breaks = BUILDS[WANTED]
        if name != module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None  # noqa: PT018
        spec.loader = Breaking(spec.loader, breaks)
        return spec


if WANTED:
    sys.meta_path.insert(0, Finder())
