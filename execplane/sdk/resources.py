"""`resources=`: what a task needs, in Airflow's words or in Kubernetes'."""

from __future__ import annotations

from typing import Any

from execplane.sdk.scope import complaint

_AIRFLOW = ("cpus", "ram", "disk", "gpus")
_KUBERNETES = ("requests", "limits")


def normalise(what: str, given: Any) -> dict[str, Any]:
    """The Kubernetes form: {"requests": {...}, "limits": {...}} with quantities as text; {} when nothing is asked.

    `cpus` is a number of cores, `ram` and `disk` are in MB (as in Airflow), `gpus` a count.
    """
    if not given:
        return {}
    if not isinstance(given, dict):
        raise complaint(f"{what}: resources takes a dict, not {given!r}.", "Write {'cpus': 1, 'ram': 512}.")
    if set(given) <= set(_KUBERNETES):
        found: dict[str, Any] = {}
        for side, wanted in given.items():
            if not isinstance(wanted, dict):
                raise complaint(f"{what}: resources[{side!r}] takes a dict.", "Write {'cpu': '1', 'memory': '512Mi'}.")
            found[side] = {str(name): str(quantity) for name, quantity in wanted.items()}
        return found
    for name, amount in given.items():
        if name not in _AIRFLOW:
            raise complaint(
                f"{what}: resources has no key {name!r}.",
                "Use cpus, ram (MB), disk (MB), gpus, or requests and limits.",
            )
        if isinstance(amount, bool) or not isinstance(amount, (int, float)) or amount < 0:
            raise complaint(f"{what}: resources[{name!r}] takes a number, not {amount!r}.", "Correct the value.")
    wanted = {
        name: text
        for key, name, text in (
            ("cpus", "cpu", f"{given.get('cpus', 0):g}"),
            ("ram", "memory", f"{given.get('ram', 0):g}M"),
            ("disk", "ephemeral-storage", f"{given.get('disk', 0):g}M"),
            ("gpus", "nvidia.com/gpu", f"{given.get('gpus', 0):g}"),
        )
        if given.get(key)
    }
    # The API server wants extended resources (GPUs) as limits; for the others the two sides are equal anyway.
    return {"requests": wanted, "limits": dict(wanted)} if wanted else {}
