"""Airflow's import paths, old and new, served from the sdk.

An import finder, not a package named airflow: it is installed by the parser's child, the worker and `dags test` only,
and steps aside where Apache Airflow itself is installed.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import sys

from execplane.sdk.airflow.finder import AirflowFinder

_DISTRIBUTIONS = ("apache-airflow", "apache-airflow-core")


def real_airflow() -> str:
    """Where Apache Airflow itself is installed; "" when it is not."""
    for name in _DISTRIBUTIONS:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    spec = importlib.machinery.PathFinder.find_spec("airflow")
    return spec.origin if spec is not None and spec.origin else ""


def install() -> bool:
    """Serve `airflow` from now on, in this process. False: Apache Airflow is installed, and stays what it is."""
    if any(isinstance(finder, AirflowFinder) for finder in sys.meta_path):
        return True
    loaded = sys.modules.get("airflow")
    if (loaded is not None and not hasattr(loaded, "__execplane__")) or real_airflow():
        return False
    sys.meta_path.insert(0, AirflowFinder())
    return True


def uninstall() -> None:
    """Take the paths away again, loaded modules included."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, AirflowFinder)]
    for name in [name for name, module in sys.modules.items() if hasattr(module, "__execplane__")]:
        if name == "airflow" or name.startswith("airflow."):
            del sys.modules[name]
