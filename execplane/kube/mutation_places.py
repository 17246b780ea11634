"""Where an operator's `pod_mutation_hook` may stand: looked up without importing anything of the operator's.

The driver asks here whether there may be a hook at all; only the hook's own process imports what is found.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points

HOOK_NAME = "pod_mutation_hook"
MODULES = ("execplane_local_settings", "airflow_local_settings")
OUR_GROUP = "execplane.pod_mutation_hook"
"""Entry points that name the function itself."""
AIRFLOW_GROUP = "airflow.policy"
"""Airflow's plugins of policies: entry points that name a module or object which has the function, among others."""


def any_place(folders: Sequence[str]) -> bool:
    """Whether there may be a hook; `folders` are looked in after the path."""
    importlib.invalidate_caches()
    return any(_importable(name, folders) for name in MODULES) or any(True for _ in hook_entry_points())


def hook_entry_points() -> Iterator[EntryPoint]:
    """Ours, then Airflow's, each group by name: the order does not depend on how packages were installed."""
    for group in (OUR_GROUP, AIRFLOW_GROUP):
        # A package that stands on the path twice has its entry points twice.
        yield from sorted(set(entry_points(group=group)), key=lambda point: (point.name, point.value))


def config_folders(home: str) -> tuple[str, ...]:
    """Where Airflow looks, too: `config` in its home; and in ours."""
    homes = (home, os.environ.get("AIRFLOW_HOME", ""))
    return tuple(os.path.join(one, "config") for one in homes if one)


def _importable(name: str, folders: Sequence[str]) -> bool:
    if importlib.util.find_spec(name) is not None:
        return True
    return bool(folders) and importlib.machinery.PathFinder.find_spec(name, list(folders)) is not None
