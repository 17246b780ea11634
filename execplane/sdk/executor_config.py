"""`executor_config=`: a pod override, kept exactly as the author wrote it.

A V1Pod becomes the raw dict that the API server takes, by the object's own table of names, without importing
`kubernetes` here: openapi models (up to 36) and pydantic ones (37) both carry `attribute_map`.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Any

from execplane.contract.executor_config import HOLD_ON_FAILURE
from execplane.sdk.scope import complaint

_KEYS = ("pod_override", "podOverride", "pod_template_file", HOLD_ON_FAILURE, "KubernetesExecutor")
_ADVICE = (
    "Use pod_override (a V1Pod or a dict), pod_template_file, hold_on_failure, or the legacy KubernetesExecutor dict."
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def normalise(what: str, given: Any) -> dict[str, Any]:
    """The config with every Kubernetes object turned into a raw dict; plain dicts stay untouched, None included."""
    if not given:
        return {}
    if not isinstance(given, dict):
        raise complaint(f"{what}: executor_config takes a dict, not {given!r}.", _ADVICE)
    for key in given:
        if key not in _KEYS:
            raise complaint(f"{what}: executor_config has no key {key!r}.", _ADVICE)
    if "pod_override" in given and "podOverride" in given:
        raise complaint(f"{what}: executor_config has both pod_override and podOverride.", "Keep pod_override.")
    if not isinstance(given.get("pod_template_file", ""), str):
        raise complaint(f"{what}: pod_template_file takes a path.", "Give the path as text.")
    wanted = dict(given)
    if HOLD_ON_FAILURE in wanted:
        wanted[HOLD_ON_FAILURE] = _hold_seconds(what, wanted[HOLD_ON_FAILURE])
    found = {key: plain(value, f"{what}: executor_config[{key!r}]") for key, value in wanted.items()}
    for key in ("pod_override", "podOverride", "KubernetesExecutor"):
        if key in found and not isinstance(found[key], dict):
            raise complaint(f"{what}: {key} takes a dict or a V1Pod, not {given[key]!r}.", _ADVICE)
    return found


def _hold_seconds(what: str, value: Any) -> float:
    """ "1h", "90m", "45s", a timedelta, or seconds; 0 and None mean no hold, which overrides the DAG's."""
    if value is None:
        return 0.0
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        seconds = float(found[1]) * _UNIT_SECONDS[found[2]]
    else:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise complaint(
            f"{what}: {HOLD_ON_FAILURE} takes a time, not {value!r}.", 'Write "1h", "90m", a timedelta, or seconds.'
        )
    return seconds


def plain(value: Any, path: str) -> Any:
    """`value` as JSON has it. A Kubernetes object loses its None fields, a dict keeps everything."""
    names = getattr(type(value), "attribute_map", None)
    if isinstance(names, dict):
        found = {}
        for attribute, key in names.items():
            entry = getattr(value, attribute, None)
            if entry is not None:
                found[key] = plain(entry, f"{path}.{key}")
        return found
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise complaint(f"{path} has the key {key!r}.", "Use text keys.")
        return {key: plain(entry, f"{path}.{key}") for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry, f"{path}[{index}]") for index, entry in enumerate(value)]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    raise complaint(
        f"{path} is of type {type(value).__name__}, which a pod cannot hold.",
        "Use plain values or kubernetes.client models.",
    )
