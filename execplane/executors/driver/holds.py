"""What launch holds mean for one executor: which attempts may not be launched, and the sentence for each. Pure.

The hold that was made first speaks for what several of them cover.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from execplane.contract.launch_holds import LaunchHold, Scope


def covers(
    hold: LaunchHold, *, executor: str, dag_id: str, tags: Collection[str], cluster: str = "", namespace: str = ""
) -> bool:
    """Whether the attempt may not be launched for it. cluster and namespace: "" while they are not known; the executor
    of a named cluster has its name."""
    match hold.scope:
        case Scope.ALL:
            return True
        case Scope.EXECUTOR:
            return hold.name == executor
        case Scope.CLUSTER:
            return hold.name in (cluster, executor)
        case Scope.NAMESPACE:
            return bool(namespace) and hold.name == namespace
        case Scope.DAG_TAG:
            return hold.name in tags
        case Scope.DAG:
            return hold.name == dag_id


def concerns(hold: LaunchHold, *, executor: str) -> bool:
    """Whether any launch of the executor may wait for it."""
    return hold.scope not in (Scope.EXECUTOR, Scope.CLUSTER) or hold.name == executor


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What an executor leaves out of its claims, each with the sentence that says why. `whole`: all of it, "" else."""

    whole: str = ""
    dags: Mapping[str, str] = field(default_factory=dict)
    clusters: Mapping[str, str] = field(default_factory=dict)
    namespaces: Mapping[str, str] = field(default_factory=dict)

    def place(self, cluster: str, namespace: str) -> str:
        """Why no pod may be made there; "" when it may."""
        return self.clusters.get(cluster, "") or self.namespaces.get(namespace, "")


def held(holds: Sequence[LaunchHold], *, executor: str, tagged: Mapping[str, Collection[str]] | None = None) -> Held:
    """`tagged`: the tags of each DAG that has one that is held."""
    whole = ""
    found: dict[Scope, dict[str, str]] = {scope: {} for scope in Scope}
    for hold in holds:
        match hold.scope:
            case Scope.ALL | Scope.EXECUTOR | Scope.CLUSTER if covers(hold, executor=executor, dag_id="", tags=()):
                whole = whole or hold.sentence
            case Scope.DAG_TAG:
                for dag_id, tags in (tagged or {}).items():
                    if hold.name in tags:
                        found[Scope.DAG].setdefault(dag_id, hold.sentence)
            case scope:
                found[scope].setdefault(hold.name, hold.sentence)
    return Held(
        whole=whole,
        dags=found[Scope.DAG],
        clusters=found[Scope.CLUSTER],
        namespaces=found[Scope.NAMESPACE],
    )


def next_expiry(holds: Iterable[LaunchHold]) -> datetime | None:
    """When the first of them stops counting by itself."""
    return min((hold.until for hold in holds if hold.until is not None), default=None)


def held_for(spans: Iterable[tuple[datetime, datetime]], start: datetime, end: datetime) -> timedelta:
    """How much of the time from start to end lies in one of the spans."""
    total, reached = timedelta(), start
    for since, until in sorted(spans):
        since, until = max(since, reached), min(until, end)
        if until > since:
            total, reached = total + (until - since), until
    return total
