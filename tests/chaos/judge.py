"""Pure: what a storm did wrong, from what the witness saw and what the API server wrote down, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

TOUCHING_SECONDS = 0.05
"""Two threads of the witness may note an end and the next beginning in the wrong order."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start of user code, as the witness saw it. Times are monotonic seconds; `ended` None: it lives."""

    run_id: str
    task_id: str
    pod: str
    uid: str
    nonce: str
    began: float
    ended: float | None
    finished: bool
    """It came to the end of its user code."""

    @property
    def task(self) -> tuple[str, str]:
        return self.run_id, self.task_id


def judge(starts: Sequence[Start], tasks: Iterable[tuple[str, str]], created: Iterable[str]) -> list[str]:
    """Every broken promise, in a sentence. `tasks`: those that had to run; `created`: names of pods that were made."""
    by_pod: dict[str, list[Start]] = {}
    by_task: dict[tuple[str, str], list[Start]] = {task: [] for task in tasks}
    for start in starts:
        by_pod.setdefault(start.pod, []).append(start)
        by_task.setdefault(start.task, []).append(start)
    wrong = [
        f"attempt {pod} was started {len(found)} times: {[(start.uid, start.nonce) for start in found]}"
        for pod, found in by_pod.items()
        if len(found) > 1
    ]
    for task, found in by_task.items():
        wrong += [f"two attempts of {task} ran at once: {one.pod} and {two.pod}" for one, two in overlapping(found)]
        if not any(start.finished for start in found):
            wrong.append(f"{task} never came to its end")
    unseen = by_pod.keys() - set(created)
    wrong += [f"the API server made no pod {pod}" for pod in sorted(unseen)]
    return wrong


def overlapping(starts: Sequence[Start]) -> list[tuple[Start, Start]]:
    """Pairs of different pods that lived at the same time."""

    def end(start: Start) -> float:
        return float("inf") if start.ended is None else start.ended

    return [
        (one, two)
        for one, two in combinations(sorted(starts, key=lambda start: start.began), 2)
        if two.began < end(one) - TOUCHING_SECONDS
    ]


def created_pods(audit: Iterable[dict[str, Any]], namespace: str) -> list[str]:
    """The names of pods that the API server created in the namespace, one for each success.

    One that is killed may have stored a pod and not have written so: then the scheduler's binding, which comes later,
    tells that there was a pod.
    """
    done = [
        entry["objectRef"]
        for entry in audit
        if entry["verb"] == "create"
        and entry["objectRef"].get("resource") == "pods"
        and entry["objectRef"].get("namespace") == namespace
        and entry.get("responseStatus", {}).get("code") == 201
    ]
    created = [one.get("name", "") for one in done if not one.get("subresource")]
    bound = {one["name"] for one in done if one.get("subresource") == "binding"}
    return [*created, *sorted(bound - set(created))]
