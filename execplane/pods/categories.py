"""Why an attempt stands where it stands: the stable names, each with what it means and who is to blame.

They are stored, counted and alerted on, so a name never changes its meaning. A diagnosis always has one of them.
"""

from __future__ import annotations

from enum import StrEnum


class Category(StrEnum):
    """The categories of a pod's end, and of its waiting."""

    SUCCEEDED = "succeeded"
    USER_CODE = "user_code"
    SIGNAL = "signal"
    OOM_KILLED = "oom_killed"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    NODE_LOST = "node_lost"
    DRAINED = "drained"
    IMAGE_MISSING = "image_missing"
    IMAGE_UNAUTHORISED = "image_unauthorised"
    IMAGE_INVALID = "image_invalid"
    IMAGE_RATE_LIMITED = "image_rate_limited"
    IMAGE_PULL = "image_pull"
    CONFIG = "config"
    QUOTA = "quota"
    ADMISSION_DENIED = "admission_denied"
    UNSCHEDULABLE = "unschedulable"
    DEADLINE = "deadline"
    KILLED_BY_OPERATOR = "killed_by_operator"
    DELETED = "deleted"
    INIT_CONTAINER = "init_container"
    SIDECAR = "sidecar"
    LAUNCH_ERROR = "launch_error"
    NAME_TAKEN = "name_taken"
    API_UNAVAILABLE = "api_unavailable"
    SCHEDULING = "scheduling"
    STARTING = "starting"
    UNKNOWN = "unknown"


MEANING: dict[Category, str] = {
    Category.SUCCEEDED: "The task's container ended with exit code 0.",
    Category.USER_CODE: "The task's container ended with an exit code of its own: the task failed.",
    Category.SIGNAL: "The task's container was ended by a signal that nobody we know of sent.",
    Category.OOM_KILLED: "A container needed more memory than its limit.",
    Category.EVICTED: "The kubelet removed the pod because its node ran short of a resource.",
    Category.PREEMPTED: "The scheduler removed the pod for one of higher priority.",
    Category.NODE_LOST: "The node went away, or stopped answering, under the pod.",
    Category.DRAINED: "The pod was removed because its node was drained or shut down.",
    Category.IMAGE_MISSING: "The registry has no such image.",
    Category.IMAGE_UNAUTHORISED: "The registry did not let this pod have the image.",
    Category.IMAGE_INVALID: "The image's name is not one, or the image cannot be used.",
    Category.IMAGE_RATE_LIMITED: "The registry, or the kubelet, limits how often images are pulled.",
    Category.IMAGE_PULL: "The image could not be pulled for another reason: network, registry, node.",
    Category.CONFIG: "Something that the container refers to is missing: a Secret, a ConfigMap, a key.",
    Category.QUOTA: "The namespace's quota does not allow another pod like this.",
    Category.ADMISSION_DENIED: "A policy or webhook of the cluster refused the pod.",
    Category.UNSCHEDULABLE: "No node fits the pod now.",
    Category.DEADLINE: "The pod ran longer than its activeDeadlineSeconds.",
    Category.KILLED_BY_OPERATOR: "execplane was told to stop the attempt.",
    Category.DELETED: "Somebody else deleted the pod.",
    Category.INIT_CONTAINER: "An init container failed, so the task never started.",
    Category.SIDECAR: "A container beside the task's decided the pod's end.",
    Category.LAUNCH_ERROR: "The pod or its container could not be started as it is written.",
    Category.NAME_TAKEN: "A pod of this name exists and is going away, or is not ours.",
    Category.API_UNAVAILABLE: "The API server did not answer, or asked us to wait.",
    Category.SCHEDULING: "The scheduler has not decided yet, or is told to wait.",
    Category.STARTING: "The node is preparing the pod.",
    Category.UNKNOWN: "What is there to see does not say why.",
}

INFRASTRUCTURE = frozenset(
    {
        Category.PREEMPTED,
        Category.EVICTED,
        Category.NODE_LOST,
        Category.DRAINED,
        Category.DELETED,
        Category.IMAGE_RATE_LIMITED,
        Category.IMAGE_PULL,
        Category.QUOTA,
        Category.UNSCHEDULABLE,
        Category.SCHEDULING,
        Category.STARTING,
        Category.NAME_TAKEN,
        Category.API_UNAVAILABLE,
    }
)
"""Where the author is not to blame, as a rule; a diagnosis may know better (an eviction above its own request)."""
