"""What a pod's status says: where it stands, since when, and why; never a decision.

The task's container is `base`: when it has ended, the attempt has ended, whatever its sidecars still do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from execplane.contract.observations import Diagnosis
from execplane.pods.ends import diagnose_deletion, diagnose_end
from execplane.pods.fields import BASE
from execplane.pods.status import ContainerStatus, Pod, Status
from execplane.pods.waits import diagnose_wait


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One look at a pod. Times are the cluster's; None: not yet, or the status does not say."""

    phase: str
    finished: bool
    """The task's container has ended, or never will start."""
    end: Diagnosis | None
    """Why it ended; only when finished."""
    waiting: Diagnosis | None
    """Why it does not run yet; only while it does not."""
    node: str
    image_digest: str
    exit_code: int | None
    last_words: str
    """The termination message of `base`."""
    created_at: datetime | None
    scheduled_at: datetime | None
    initialized_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    deleting: bool
    sidecars_running: tuple[str, ...]
    """Containers that outlive a finished `base`."""


def observe(pod: Pod) -> Observation:
    """Read one pod."""
    status = pod.status()
    base = _named(status.container_statuses, BASE)
    terminated = base.state.terminated if base else None
    running = base.state.running if base else None
    finished = terminated is not None or status.phase in ("Succeeded", "Failed")
    started = terminated.started_at if terminated else (running.started_at if running else None)
    return Observation(
        phase=status.phase,
        finished=finished,
        end=diagnose_end(pod, status) if finished else None,
        waiting=diagnose_wait(pod, status) if not finished and running is None else None,
        node=pod.spec.node_name,
        image_digest=_digest(base.image_id) if base else "",
        exit_code=terminated.exit_code if terminated else None,
        last_words=terminated.message if terminated else "",
        created_at=pod.metadata.creation_timestamp,
        scheduled_at=_since(status, "PodScheduled"),
        initialized_at=_since(status, "Initialized"),
        started_at=started,
        finished_at=terminated.finished_at if terminated else None,
        deleting=pod.metadata.deletion_timestamp is not None,
        sidecars_running=_running_beside(status) if finished else (),
    )


def observe_deleted(pod: Pod) -> Diagnosis:
    """Why the attempt ended, when the pod object itself went away in this state."""
    seen = observe(pod)
    return seen.end if seen.end is not None else diagnose_deletion(pod, pod.status())


def _named(statuses: list[ContainerStatus], name: str) -> ContainerStatus | None:
    return next((status for status in statuses if status.name == name), None)


def _since(status: Status, condition: str) -> datetime | None:
    return next(
        (
            found.last_transition_time
            for found in status.conditions
            if found.type == condition and found.status == "True"
        ),
        None,
    )


def _running_beside(status: Status) -> tuple[str, ...]:
    every = [*status.init_container_statuses, *status.container_statuses]
    return tuple(found.name for found in every if found.state.running and found.name != BASE)


def _digest(image_id: str) -> str:
    """ "registry/name@sha256:…" and "docker-pullable://…" both have it behind the @."""
    return image_id.rpartition("@")[2] if "@" in image_id else image_id
