"""Why something does not run yet: the stable codes, what each means, and how several reasons become one answer.

Reasons come from rooms that do not know each other: the scheduler's rules, the driver's gates, the cluster. They meet
in this shape, and the order of `CATALOGUE` decides which one is said first: what a person must change stands before
what passes by itself, and that before what is a start's ordinary course.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec


class Source(StrEnum):
    """Whose rule it is."""

    SCHEDULER = "scheduler"
    DRIVER = "driver"
    CLUSTER = "cluster"


class Code(StrEnum):
    """Names that are shown, filtered and alerted on: a name never changes its meaning."""

    NOT_PENDING = "not_pending"
    RUN_ENDED = "run_ended"
    DAG_PAUSED = "dag_paused"
    SCHEDULER_FAULT = "scheduler_fault"
    SCHEDULER_DOWN = "scheduler_down"
    RUN_NOT_DUE = "run_not_due"
    MAX_ACTIVE_RUNS = "max_active_runs"
    RUN_NOT_STARTED = "run_not_started"
    STOPPING = "stopping"
    DEPENDS_ON_PAST = "depends_on_past"
    UPSTREAM = "upstream"
    EXPANSION = "expansion"
    RETRY_DELAY = "retry_delay"
    INFRA_RETRY = "infra_retry"
    RESCHEDULE = "reschedule"
    MAY_STILL_LIVE = "may_still_live"
    MAX_ACTIVE_TIS_PER_DAGRUN = "max_active_tis_per_dagrun"
    NOT_DECIDED = "not_decided"

    EXECUTOR_NOT_SERVED = "executor_not_served"
    NO_DRIVER = "no_driver"
    DRIVER_FAILING = "driver_failing"
    OPERATOR_HOLD = "operator_hold"
    LAUNCHES_HELD = "launches_held"
    EXECUTOR_CANNOT_LAUNCH = "executor_cannot_launch"
    CREATES_SLOWED = "creates_slowed"
    POOL_MISSING = "pool_missing"
    POOL_TOO_SMALL = "pool_too_small"
    MAX_ACTIVE_TIS_PER_DAG = "max_active_tis_per_dag"
    MAX_ACTIVE_TASKS = "max_active_tasks"
    POOL_FULL = "pool_full"
    PARALLELISM = "parallelism"
    EXECUTOR_SLOTS = "executor_slots"
    LAUNCH_WAVE = "launch_wave"
    PRIORITY = "priority"
    NEXT_CLAIM = "next_claim"
    LAUNCHING = "launching"

    QUOTA = "quota"
    THROTTLED = "throttled"
    CREATE_REFUSED = "create_refused"
    CREATE_UNANSWERED = "create_unanswered"
    POD_GONE = "pod_gone"
    POD_DELETING = "pod_deleting"
    SCHEDULING_GATED = "scheduling_gated"
    PVC_MISSING = "pvc_missing"
    PVC_DELETING = "pvc_deleting"
    PVC_UNBOUND = "pvc_unbound"
    NO_NODES = "no_nodes"
    LARGER_THAN_ANY_NODE = "larger_than_any_node"
    AUTOSCALER_ADDS_NODES = "autoscaler_adds_nodes"
    PREEMPTING = "preempting"
    POD_AFFINITY = "pod_affinity"
    POD_ANTI_AFFINITY = "pod_anti_affinity"
    TOPOLOGY_SPREAD = "topology_spread"
    VOLUME_NODE = "volume_node"
    VOLUME_BINDING = "volume_binding"
    VOLUME_LIMIT = "volume_limit"
    VOLUME_IN_USE = "volume_in_use"
    DEVICES = "devices"
    INSUFFICIENT_RESOURCES = "insufficient_resources"
    TOO_MANY_PODS = "too_many_pods"
    HOST_PORTS = "host_ports"
    NODE_SELECTOR = "node_selector"
    UNTOLERATED_TAINTS = "untolerated_taints"
    NODE_NAME = "node_name"
    NODES_CORDONED = "nodes_cordoned"
    UNSCHEDULABLE = "unschedulable"
    AUTOSCALER_CANNOT_HELP = "autoscaler_cannot_help"
    SCHEDULER_SILENT = "scheduler_silent"
    NODE_NOT_READY = "node_not_ready"
    IMAGE_INVALID = "image_invalid"
    IMAGE_MISSING = "image_missing"
    IMAGE_UNAUTHORISED = "image_unauthorised"
    IMAGE_RATE_LIMITED = "image_rate_limited"
    IMAGE_PULL = "image_pull"
    CONFIG = "config"
    CONTAINER_ERROR = "container_error"
    VOLUME_MOUNT = "volume_mount"
    SANDBOX = "sandbox"
    CRASH_LOOP = "crash_loop"
    INIT_CONTAINER_RUNNING = "init_container_running"
    IMAGE_PULLING = "image_pulling"
    NODE_PREPARING = "node_preparing"
    WORKER_STARTING = "worker_starting"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """`unblocks`: what ends the wait, where the reason itself knows nothing better."""

    source: Source
    means: str
    unblocks: str


def _of(source: Source) -> dict[Code, Meaning]:
    return {code: Meaning(source=source, means=means, unblocks=then) for code, means, then in _ROWS[source]}


_ROWS: dict[Source, tuple[tuple[Code, str, str], ...]] = {
    Source.SCHEDULER: (
        (Code.RUN_ENDED, "The run has ended without launching the task.", "Clear the task to run it again."),
        (Code.DAG_PAUSED, "The DAG is paused.", "Unpause the DAG."),
        (Code.SCHEDULER_FAULT, "The scheduler failed on this run; it tries again every 30 seconds.",
         "Read the scheduler's log; a new version of the DAG file may help."),
        (Code.SCHEDULER_DOWN, "No scheduler has reported lately.", "Start one: `execplane run scheduler`."),
        (Code.RUN_NOT_DUE, "The run's time has not come.", "It starts by itself."),
        (Code.MAX_ACTIVE_RUNS, "As many runs of the DAG are running as max_active_runs allows.",
         "One of them must end, or max_active_runs be raised in the DAG file."),
        (Code.RUN_NOT_STARTED, "The scheduler has not started the run yet.", "It does so within seconds."),
        (Code.STOPPING, "An earlier attempt was told to stop and its death is not confirmed.",
         "It starts once that attempt is dead."),
        (Code.DEPENDS_ON_PAST, "depends_on_past or wait_for_downstream: the run before has not got far enough.",
         "The task must end well in the run before: clear it there, or mark it."),
        (Code.UPSTREAM, "Tasks before it have not ended, and its trigger rule needs them.", "They must end."),
        (Code.EXPANSION, "What it is mapped over is not produced yet.", "The tasks that produce it must end."),
        (Code.RETRY_DELAY, "The task failed and waits for its next try.",
         "It starts by itself; clear it to start now."),
        (Code.INFRA_RETRY, "An infrastructure failure ended the last attempt; the next one must wait.",
         "It starts by itself, and costs the author no retry."),
        (Code.RESCHEDULE, "The sensor asked to be called later.", "It is called by itself; clear it to start now."),
        (Code.MAY_STILL_LIVE, "An attempt vanished unseen and may live on until it must have fenced itself.",
         "It starts by itself; two attempts must not run at once."),
        (Code.MAX_ACTIVE_TIS_PER_DAGRUN, "max_active_tis_per_dagrun instances of the task are in flight in this run.",
         "One of them must end, or the limit be raised in the DAG file."),
        (Code.NOT_DECIDED, "Nothing holds it: the scheduler has not come by yet.", "It does so within seconds."),
    ),
    Source.DRIVER: (
        (Code.EXECUTOR_NOT_SERVED, "The deployment does not run the attempt's executor.",
         "Add it to EXECPLANE_EXECUTORS, or clear the task after naming another executor."),
        (Code.NO_DRIVER, "No process holds the lease of the executor's driver.",
         "Start one: `execplane run driver`; a take-over after a crash comes by itself within seconds."),
        (Code.DRIVER_FAILING, "The executor's driver fails at each turn.", "Read its error on the loops page."),
        (Code.OPERATOR_HOLD, "An operator's launch hold covers it.",
         "Release the hold (page Launch holds, `execplane holds release`), or wait until it ends by itself."),
        (Code.LAUNCHES_HELD, "Launches are held until pods and ledger are compared, or somebody decides.",
         "See what the hold says, and the page Drift."),
        (Code.EXECUTOR_CANNOT_LAUNCH, "The executor says that it cannot launch now.", "See what it says."),
        (Code.CREATES_SLOWED, "The API server gets fewer creates at once, because it is slow or refuses; many wait.",
         "It gets its turn; look at what slows the API server."),
        (Code.POOL_MISSING, "The task's pool does not exist.", "Create the pool, or name another in the DAG file."),
        (Code.POOL_TOO_SMALL, "The task wants more slots than its pool has in all.",
         "Enlarge the pool, or lower pool_slots in the DAG file."),
        (Code.MAX_ACTIVE_TIS_PER_DAG, "max_active_tis_per_dag instances of the task are in flight over all runs.",
         "One of them must end, or the limit be raised in the DAG file."),
        (Code.MAX_ACTIVE_TASKS, "As many tasks of the DAG are in flight as max_active_tasks allows.",
         "One of them must end, or max_active_tasks be raised in the DAG file."),
        (Code.POOL_FULL, "The pool has too few free slots.", "One of its tasks must end, or the pool be enlarged."),
        (Code.PARALLELISM, "As many attempts are in flight as EXECPLANE_PARALLELISM allows.",
         "An attempt must end, or EXECPLANE_PARALLELISM be raised."),
        (Code.EXECUTOR_SLOTS, "All slots of the executor are taken.",
         "An attempt must end, or the executor get more slots."),
        (Code.LAUNCH_WAVE, "Launches go out in waves, and it is a later wave's turn.",
         "The wave before must start well; `execplane holds launch-all` lets all go at once."),
        (Code.PRIORITY, "Attempts of higher priority, or older ones, are claimed first.",
         "It gets its turn; a higher priority_weight makes it earlier."),
        (Code.NEXT_CLAIM, "Nothing holds it: the driver takes it at its next claim.", "It does so within seconds."),
        (Code.LAUNCHING, "A driver has claimed it and is launching it.", "It does so within seconds."),
        (Code.NOT_PENDING, "It waits for nothing: it runs, or has ended.", ""),
    ),
    Source.CLUSTER: (
        (Code.QUOTA, "The namespace's ResourceQuota does not allow another pod like this.",
         "Pods in the namespace must end, or the quota be raised; the create is repeated until then."),
        (Code.THROTTLED, "The API server asked to wait (429).", "The create is repeated after the time it named."),
        (Code.CREATE_REFUSED, "The pod could not be created for now.", "The create is repeated by itself."),
        (Code.CREATE_UNANSWERED, "The create was sent and nobody answered yet.",
         "It is asked again; the same pod is never made twice."),
        (Code.POD_GONE, "The pod is not in the cluster any more.", "The driver notices and ends the attempt."),
        (Code.POD_DELETING, "The pod is being deleted.", "Its end is followed; the attempt then ends."),
        (Code.SCHEDULING_GATED, "The pod carries scheduling gates.", "Whoever set the gates must remove them."),
        (Code.PVC_MISSING, "A PersistentVolumeClaim of the pod does not exist.",
         "Create the claim in the pod's namespace, or mend its name in template or override."),
        (Code.PVC_DELETING, "A PersistentVolumeClaim of the pod is being deleted.", "Create it anew once it is gone."),
        (Code.PVC_UNBOUND, "A PersistentVolumeClaim of the pod is not bound to a volume.",
         "Look at the claim: its StorageClass, size, access mode and events."),
        (Code.NO_NODES, "The cluster has no nodes.", "Add a node."),
        (Code.LARGER_THAN_ANY_NODE, "The pod asks for more than any node has in all.",
         "Lower the requests, or add a larger node: waiting does not help."),
        (Code.AUTOSCALER_ADDS_NODES, "The autoscaler is adding nodes for the pod.", "The new nodes must be ready."),
        (Code.PREEMPTING, "The scheduler evicts pods of lower priority for it.", "They must have ended."),
        (Code.POD_AFFINITY, "No node satisfies the pod's podAffinity.", "A pod that it wants to be near must run."),
        (Code.POD_ANTI_AFFINITY, "Anti-affinity rules, its own or other pods', keep it off the nodes.",
         "Those pods must end, or the rule be softened."),
        (Code.TOPOLOGY_SPREAD, "topologySpreadConstraints leave no node.",
         "Raise maxSkew, use ScheduleAnyway, or label the nodes."),
        (Code.VOLUME_NODE, "The pod's volume can only be reached from other nodes or zones.",
         "Make room on a node near the volume."),
        (Code.VOLUME_BINDING, "No PersistentVolume fits the pod's claim on the nodes that are left.",
         "Provide a volume, or a StorageClass that makes them."),
        (Code.VOLUME_LIMIT, "The nodes have as many volumes attached as they can.", "Pods with volumes must end."),
        (Code.VOLUME_IN_USE, "The volume is used by another pod that excludes others.", "That pod must end."),
        (Code.DEVICES, "The pod's resource claims (devices) cannot be allocated.", "A device must become free."),
        (Code.INSUFFICIENT_RESOURCES, "The nodes that would do have too little left of what the pod asks for.",
         "Other pods must end, the requests be lowered, or a node be added."),
        (Code.TOO_MANY_PODS, "The nodes that would do run as many pods as they may.", "Pods must end."),
        (Code.HOST_PORTS, "The pod's hostPorts are taken on the nodes that would do.", "Avoid hostPort."),
        (Code.NODE_SELECTOR, "No node matches the pod's nodeSelector or node affinity.",
         "Mend it in template or override, or label a node."),
        (Code.UNTOLERATED_TAINTS, "The nodes have taints that the pod does not tolerate.",
         "Add a toleration in template or override, or remove the taint."),
        (Code.NODE_NAME, "No node has the name that the pod demands.", "Remove nodeName from template or override."),
        (Code.NODES_CORDONED, "The nodes that would do are cordoned.", "Uncordon one: `kubectl uncordon NODE`."),
        (Code.UNSCHEDULABLE, "The scheduler finds no node, in words that execplane does not know.",
         "See what the scheduler says."),
        (Code.AUTOSCALER_CANNOT_HELP, "The autoscaler says that more nodes would not help, or are not allowed.",
         "See what it says: limits of node groups, or demands that no group meets."),
        (Code.SCHEDULER_SILENT, "The cluster's scheduler has not looked at the pod.",
         "Check that the scheduler that schedulerName names is running."),
        (Code.NODE_NOT_READY, "The pod's node is not ready.", "The node must recover; else the attempt moves."),
        (Code.IMAGE_INVALID, "The image's name is not one, or the image cannot be used.", "Mend the image's name."),
        (Code.IMAGE_MISSING, "The registry, or the node, has no such image.", "Check the image's name and tag."),
        (Code.IMAGE_UNAUTHORISED, "The registry did not let this pod have the image.", "Check imagePullSecrets."),
        (Code.IMAGE_RATE_LIMITED, "The registry, or the kubelet, limits how often images are pulled.",
         "The kubelet tries again; a mirror or a login raises the limit."),
        (Code.IMAGE_PULL, "The image cannot be pulled for another reason.", "Check the way from node to registry."),
        (Code.CONFIG, "A Secret, ConfigMap or key that the pod refers to is missing.",
         "Create it in the pod's namespace, or mend the reference in template or override."),
        (Code.CONTAINER_ERROR, "A container cannot be started as it is written.", "Mend the container's spec."),
        (Code.VOLUME_MOUNT, "A volume cannot be attached or mounted.", "See what the kubelet says of the volume."),
        (Code.SANDBOX, "The node cannot set up the pod's network or sandbox.", "Look at the node's CNI and runtime."),
        (Code.CRASH_LOOP, "A container beside the task's keeps failing, and the pod waits for it.",
         "Read that container's log."),
        (Code.INIT_CONTAINER_RUNNING, "An init container is running.", "It must end."),
        (Code.IMAGE_PULLING, "The node is pulling an image.", "The pull must end."),
        (Code.NODE_PREPARING, "The node is preparing the pod.", "It does so within seconds."),
        (Code.WORKER_STARTING, "The task's container runs; its worker has not reported yet.",
         "It does so within seconds; else see the container's log."),
        (Code.UNKNOWN, "What is there to see does not say why.", "Look at the pod with kubectl."),
    ),
}  # fmt: skip

CATALOGUE: dict[Code, Meaning] = {code: meaning for source in Source for code, meaning in _of(source).items()}
"""Every code once. Its order, within a source, is the order in which reasons are said."""

_STEP = {source: number for number, source in enumerate(Source)}
_RANK = {code: number for number, code in enumerate(CATALOGUE)}


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """Something that would have told more. `rule`: what would allow to read it; "" where rights are not the matter."""

    what: str
    why: str
    rule: str = ""

    @property
    def sentence(self) -> str:
        allow = f"; allow it by {self.rule}" if self.rule else ""
        return f"{self.what} could not be read ({self.why}{allow})."


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that holds it. `said`: the words of whom it was learnt from, whole, where they are not ours."""

    code: Code
    sentence: str
    unblocks: str = ""
    since: datetime | None = None
    said: str = ""
    unread: tuple[Unread, ...] = ()
    """What this very sentence leaves open because it could not be read."""

    @property
    def source(self) -> Source:
        return CATALOGUE[self.code].source

    @property
    def rank(self) -> int:
        """The smaller, the sooner it is said."""
        return _RANK[self.code]

    @property
    def then(self) -> str:
        """What unblocks it: its own words, else the catalogue's."""
        return self.unblocks or CATALOGUE[self.code].unblocks


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: one reason first, the others below it, and what could not be read."""

    first: Reason
    others: tuple[Reason, ...] = ()
    unread: tuple[Unread, ...] = ()

    @property
    def sentence(self) -> str:
        """The one sentence; what it could not look at is said with it."""
        return " ".join([self.first.sentence, *(one.sentence for one in self.first.unread)])


def ranked(reasons: Iterable[Reason], *, unread: Iterable[Unread] = ()) -> Pending:
    """One answer from all that was found: each code once, the best-ranked first. Nothing found is said, too."""
    best: dict[Code, Reason] = {}
    for one in reasons:
        known = best.get(one.code)
        # The same code from two places: the one that could read more, else the one that says more.
        if known is None or _worth(one) > _worth(known):
            best[one.code] = one
    found = sorted(best.values(), key=lambda one: one.rank)
    if not found:
        found = [Reason(code=Code.UNKNOWN, sentence="What is there to see does not say why it does not run.")]
    everything = [*(missing for one in found for missing in one.unread), *unread]
    return Pending(first=found[0], others=tuple(found[1:]), unread=tuple(dict.fromkeys(everything)))


def _worth(one: Reason) -> tuple[int, bool, int]:
    return -len(one.unread), one.since is not None, len(one.sentence)
