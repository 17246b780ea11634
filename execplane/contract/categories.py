"""Why an attempt failed or waits: the one list of names, each with what it means, what helps, and who pays.

All witnesses use it: the pod, the local process, the worker's own word. The names are stored, counted and alerted on,
so a name never changes its meaning; `docs/failures.md` is generated from here. To add one: a member and its row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Budget(StrEnum):
    """What a failure is paid from."""

    AUTHOR = "author"
    """The task's `retries`."""
    INFRA = "infra"
    """The deployment's `scheduler.infra_retries`: the author is not to blame."""
    NONE = "none"
    """Nothing is counted, and nothing follows."""


class Category(StrEnum):
    """The stable names of ends and of waits."""

    # What a pod shows
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

    # What a worker's exit code says, in a pod or as a local process
    REFUSED = "refused"
    UNREPORTED = "unreported"
    NO_CLAIM = "no_claim"

    # What a local process shows besides
    COMPLETED = "completed"
    EXIT = "exit"
    VANISHED = "vanished"
    ENDED_UNSEEN = "ended_unseen"
    LAUNCH_FAILED = "launch_failed"
    LAUNCH_UNKNOWN = "launch_unknown"
    STOPPED = "stopped"

    # What the worker says, or is missed
    TASK_FAILED = "task_failed"
    FAILED_WITHOUT_RETRY = "failed_without_retry"
    EXECUTION_TIMEOUT = "execution_timeout"
    SENSOR_TIMEOUT = "sensor_timeout"
    TERMINATED = "terminated"
    HEARTBEAT_LOST = "heartbeat_lost"
    NO_FILES = "no_files"
    RESULT_LOST = "result_lost"
    UNKNOWN_OUTCOME = "unknown_outcome"
    CANCELLED = "cancelled"

    # What the driver's deadlines say
    QUEUED_TIMEOUT = "queued_timeout"
    LAUNCH_TIMEOUT = "launch_timeout"
    START_TIMEOUT = "start_timeout"
    CLAIM_TIMEOUT = "claim_timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """One row of the list."""

    sentence: str
    hint: str
    """What helps, where nobody knows anything better."""
    budget: Budget
    unless: str = ""
    """When another budget pays: what was seen may know better than the category."""
    tied_to_node: bool = False
    """The place may be to blame: where infrastructure pays, the next attempt would rather run on another node."""


def _author(sentence: str, hint: str, unless: str = "") -> Meaning:
    return Meaning(sentence=sentence, hint=hint, budget=Budget.AUTHOR, unless=unless)


def _infra(sentence: str, hint: str, unless: str = "") -> Meaning:
    return Meaning(sentence=sentence, hint=hint, budget=Budget.INFRA, unless=unless)


def _node(sentence: str, hint: str, unless: str = "") -> Meaning:
    return Meaning(sentence=sentence, hint=hint, budget=Budget.INFRA, unless=unless, tied_to_node=True)


def _none(sentence: str, hint: str) -> Meaning:
    return Meaning(sentence=sentence, hint=hint, budget=Budget.NONE)


MEANING: dict[Category, Meaning] = {
    Category.SUCCEEDED: _none(
        "The task's container ended with exit code 0.", "Nothing to mend; without the worker's report it is `unknown`."
    ),
    Category.USER_CODE: _author(
        "The task's container ended with an exit code of its own, without the worker's report.",
        "Read the end of its log; an image whose entrypoint fails looks like this, too.",
    ),
    Category.SIGNAL: Meaning(
        sentence="The task's container or process was ended by a signal that nobody we know of sent.",
        hint="SIGSEGV and SIGABRT come from native code, in the image or below Python.",
        budget=Budget.AUTHOR,
        unless="infra for SIGKILL and SIGTERM, which come from outside a container, and for a local worker process",
        tied_to_node=True,
    ),
    Category.OOM_KILLED: _author(
        "A container or process needed more memory than it may have.",
        "Raise its memory limit, or let the task need less (`kubernetes.oom_memory_factor` raises it by itself).",
        "infra where a local machine as a whole ran out of memory",
    ),
    Category.EVICTED: _node(
        "The kubelet removed the pod because its node ran short of a resource, or the pod used more than it may.",
        "Request as much of the resource as the task uses: then others are evicted first.",
        "author where a container used more than it had requested, or than its own limit",
    ),
    Category.PREEMPTED: _infra(
        "The scheduler removed the pod for one of higher priority.",
        "Give the task a priorityClassName that is not preempted, or the cluster more room.",
    ),
    Category.NODE_LOST: _node(
        "The node went away, or stopped answering, under the pod.", "Look at the node and its events."
    ),
    Category.DRAINED: _node(
        "The pod was removed because its node was drained or shut down.",
        "Nothing to mend; a PodDisruptionBudget makes drains wait for running tasks.",
    ),
    Category.IMAGE_MISSING: _author(
        "The registry has no such image.", "Check the image's name and tag; a private one may be hidden from this pod."
    ),
    Category.IMAGE_UNAUTHORISED: _author(
        "The registry did not let this pod have the image.", "Check imagePullSecrets of the pod or its service account."
    ),
    Category.IMAGE_INVALID: _author(
        "The image's name is not one, or the image cannot be used.",
        "Mend the image's name in template or override; the image must be made for the node's architecture.",
    ),
    Category.IMAGE_RATE_LIMITED: _infra(
        "The registry, or the kubelet, limits how often images are pulled.",
        "Log in at the registry, use a mirror, or keep the image on the nodes (imagePullPolicy: IfNotPresent).",
    ),
    Category.IMAGE_PULL: _node(
        "The image could not be pulled for another reason: network, registry, node.",
        "Look at the registry, and at the node's way to it.",
    ),
    Category.CONFIG: _author(
        "Something that the pod refers to is missing: a Secret, a ConfigMap, a key, a volume, a service account.",
        "Create it in the pod's namespace, or mend the reference in template or override.",
    ),
    Category.QUOTA: _infra(
        "The namespace's quota does not allow another pod like this.",
        "It is tried again as room appears; else raise the quota, or let the pod request less.",
    ),
    Category.ADMISSION_DENIED: _author(
        "A policy of the operators (`kubernetes.policies`), or a policy or webhook of the cluster, refused the pod.",
        "Change the pod so that the policy allows it, or ask its owner.",
    ),
    Category.UNSCHEDULABLE: _infra(
        "No node fits the pod now.", "Free or add nodes, or let the pod demand less of them."
    ),
    Category.DEADLINE: _author(
        "The pod ran longer than its activeDeadlineSeconds.",
        "Raise activeDeadlineSeconds in the pod template or override.",
    ),
    Category.KILLED_BY_OPERATOR: _none(
        "execplane was told to stop the attempt.", "Nothing to mend: the attempt's events say who asked for it."
    ),
    Category.DELETED: _infra(
        "Somebody else deleted the pod.", "Look in the API server's audit log for who deleted it."
    ),
    Category.INIT_CONTAINER: _author(
        "An init container failed, so the task never started.", "Read the init container's log."
    ),
    Category.SIDECAR: _author(
        "A container beside the task's decided the pod's end.", "Read that container's log; it may be an injected one."
    ),
    Category.LAUNCH_ERROR: Meaning(
        sentence="The pod or its container could not be started as it is written.",
        hint="Mend what the sentence names, in template or override.",
        budget=Budget.AUTHOR,
        unless="infra where a node refused it, or execplane itself failed",
        tied_to_node=True,
    ),
    Category.NAME_TAKEN: _infra(
        "A pod of this name exists and is going away, or is not ours.", "A new attempt with another name follows."
    ),
    Category.API_UNAVAILABLE: _infra(
        "The API server did not answer, or asked us to wait.", "The same pod is posted again; look at the API server."
    ),
    Category.SCHEDULING: _infra(
        "The scheduler has not decided yet, or is told to wait.",
        "Look at the scheduler and the pod's scheduling gates.",
    ),
    Category.STARTING: _infra("The node is preparing the pod.", "Look at the pod's events."),
    Category.UNKNOWN: _node(
        "What is there to see does not say why, or whether the task is done.",
        "Look at the pod's or process's own log and events.",
    ),
    Category.REFUSED: _infra(
        "The worker was refused by the worker API, or its attempt was taken away; it ran nothing more.",
        "Another process holds the attempt, or it had ended already.",
    ),
    Category.UNREPORTED: _infra(
        "The worker ran its task but could not deliver the result: the API did not answer.",
        "Check that the web server runs; the worker's own output has the result.",
    ),
    Category.NO_CLAIM: _node(
        "The worker gave up before it ran anything: the API did not answer its claim.",
        "Check the API's address as seen from the worker, and network policies.",
    ),
    Category.COMPLETED: _author(
        "The local worker process ended by itself after its report.",
        "Its own output (where execplane was started) may say more.",
    ),
    Category.EXIT: _infra(
        "The local worker process ended with an exit code that is not its own, and without a report.",
        "Its own output (where execplane was started) may say why.",
    ),
    Category.VANISHED: _infra(
        "The local worker process is gone, and nobody saw how it ended.",
        "The machine or execplane itself was restarted meanwhile.",
    ),
    Category.ENDED_UNSEEN: _infra(
        "The local worker process ended, and its exit status is unknown.",
        "It was started by an earlier execplane, which alone could have seen it.",
    ),
    Category.LAUNCH_FAILED: _infra(
        "The local worker process could not be started.", "Check this machine's memory and limits on processes."
    ),
    Category.LAUNCH_UNKNOWN: _infra(
        "No local worker process of this launch is known.", "execplane was restarted between deciding and starting."
    ),
    Category.STOPPED: _none(
        "It was told to stop, before or after it started.",
        "Nothing to mend: the attempt's events say who asked for it.",
    ),
    Category.TASK_FAILED: _author("The task raised an exception.", "Read the traceback in its log."),
    Category.FAILED_WITHOUT_RETRY: _author(
        "The task asked to fail and not to be tried again.", "Read its log; `retries` does not apply."
    ),
    Category.EXECUTION_TIMEOUT: _author(
        "The task ran longer than its execution_timeout.",
        "Raise execution_timeout, or see in its log what took so long.",
    ),
    Category.SENSOR_TIMEOUT: _author(
        "The sensor waited longer than its timeout.", "See why its condition never came true; `retries` does not apply."
    ),
    Category.TERMINATED: _node(
        "The task was terminated from outside, by whom is not known.",
        "A drained or reclaimed node, or somebody deleted the pod or killed the process.",
    ),
    Category.HEARTBEAT_LOST: _node(
        "Worker and server had no contact for too long.", "Look at the node and at the worker's way to the API."
    ),
    Category.NO_FILES: _node(
        "The worker could not get the DAG's files, so the task never began.",
        "Look at the worker's way to the API, or at the image or volume that holds the files.",
    ),
    Category.RESULT_LOST: _infra(
        "The task succeeded, but its report never came, and other tasks need what it returned.",
        "The worker could not reach the API before it ended; look at the API server's availability.",
    ),
    Category.UNKNOWN_OUTCOME: _author(
        "The worker reported an outcome that this version does not know.",
        "The worker is newer than the server: upgrade the server first.",
    ),
    Category.CANCELLED: _none(
        "The attempt was stopped: by somebody, or because its task was cleared or marked.",
        "Nothing to mend: the attempt's events say who asked for it.",
    ),
    Category.QUEUED_TIMEOUT: _none(
        "It waited for capacity for longer than the operators allow (docs/deadlines.md).",
        "Look at what it waited for: a pool, a quota, nodes; clear the task to have it wait anew.",
    ),
    Category.LAUNCH_TIMEOUT: _infra(
        "Nobody said for too long whether the launch came to be.", "Look at the API server, and at the driver's log."
    ),
    Category.START_TIMEOUT: _node(
        "Its node did not start the pod's containers in time.",
        "Look at the pod's events: volumes, the image's size, init containers.",
    ),
    Category.CLAIM_TIMEOUT: _node(
        "Its container or process started, and the worker claimed nothing.",
        "Read the container's log; check the worker API's address as seen from there.",
    ),
}

FATAL_STATE_REASONS = (
    "CreateContainerConfigError",
    "ErrImagePull",
    "CreateContainerError",
    "ImageInspectError",
    "InvalidImageName",
    "ImagePullBackOff",
    "ErrImageNeverPull",
)
"""Kubernetes' reasons for which a container waits and that do not pass by themselves: Airflow's list, and what the
kubelet says of the same images a moment later."""

FINAL = frozenset({Category.FAILED_WITHOUT_RETRY, Category.SENSOR_TIMEOUT})
"""Never tried again, whatever is left of `retries`."""


def infrastructure(category: Category) -> bool:
    """Whether the author is not to blame, as a rule; a diagnosis may know better (an eviction above its request)."""
    return MEANING[category].budget is Budget.INFRA


def tied_to_node(name: str) -> bool:
    """Whether a failure that infrastructure paid for speaks against its node; an operator's own category does."""
    return MEANING[Category(name)].tied_to_node if name in set(Category) else True
