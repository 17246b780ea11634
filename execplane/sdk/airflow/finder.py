"""The import finder: modules that exist only as rows of `paths`."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any

from execplane.sdk import scope
from execplane.sdk.airflow import paths
from execplane.sdk.exceptions import UnsupportedImport


class AirflowFinder(importlib.abc.MetaPathFinder):
    """Finds `airflow` and everything under it; raises UnsupportedImport for what execplane does not have."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "airflow" and not fullname.startswith("airflow."):
            return None
        if fullname not in paths.MODULES and fullname not in paths.PACKAGES:
            raise unsupported(fullname, "")
        return importlib.machinery.ModuleSpec(fullname, _Loader(), is_package=fullname in paths.PACKAGES)


class _Loader(importlib.abc.Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _ServedModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__dict__["__execplane__"] = True
        module.__dict__["__all__"] = sorted(paths.MODULES.get(module.__name__, ()))
        if module.__name__ == "airflow":
            module.__dict__["__version__"] = paths.VERSION


class _ServedModule(types.ModuleType):
    """A module whose names come from the sdk, each when it is first asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        where = paths.MODULES.get(self.__name__, {}).get(name)
        if where is not None:
            found = _resolve(where)
            self.__dict__[name] = found
            return found
        inner = f"{self.__name__}.{name}"
        if inner in paths.MODULES or inner in paths.PACKAGES:
            return importlib.import_module(inner)
        raise unsupported(self.__name__, name)

    def __dir__(self) -> list[str]:
        return sorted(paths.MODULES.get(self.__name__, {}))


def _resolve(where: str) -> Any:
    module, _, name = where.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found


def unsupported(module: str, name: str) -> UnsupportedImport:
    """The error for an import of Airflow's that execplane has not: file, line, name, and what to do."""
    file, line, asked = _importer()
    if not name and asked.startswith(module + "."):
        module = asked
    what = f"{module}.{name}" if name else module
    place = scope.place(file, line)
    return UnsupportedImport(f"{place}: execplane does not have {what}.", hint=paths.advice(module, name))


def _importer() -> tuple[str, int, str]:
    """File and line of the import statement, and the module that it asks for: Python imports the packages around it
    first, and an author is not helped by hearing of `airflow.providers`."""
    frame: Any = sys._getframe(1)
    asked = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if frame.f_code.co_name == "_find_and_load" and file.startswith("<frozen importlib"):
            asked = str(frame.f_locals.get("name", asked))
        if not file.startswith("<frozen") and "/importlib/" not in file and not file.startswith(scope.SDK_FOLDER):
            return file, frame.f_lineno, asked
        frame = frame.f_back
    return "", 0, asked
