"""Why a pod waits, from one look: what the cluster's test table cannot hold still, and what is said of missing rights.

The situations themselves are made on a real cluster (tests/cluster/test_why_pending.py).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from execplane.contract.pending import Code, Reason, ranked
from execplane.pods.pending import CLAIMS, EVENTS, NODES, reasons, unread
from execplane.pods.status import decode_pod
from execplane.pods.surroundings import Around, Claim, Event, Node, pod_spec

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def around(status: dict[str, Any], *, node: str = "", spec: dict[str, Any] | None = None, **more: Any) -> Around:
    pod = {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"nodeName": node, "containers": [{"name": "base", "image": "i"}], **(spec or {})},
        "status": {"phase": "Pending", **status},
    }
    body = msgspec.json.encode(pod)
    return Around(pod=decode_pod(body), spec=pod_spec(body), live=True, **more)


def unscheduled(message: str, **more: Any) -> Around:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return around({"conditions": [condition]}, **more)


def event(reason: str, message: str = "", *, after: int = 0) -> Event:
    return Event(reason=reason, message=message, last_timestamp=NOW + timedelta(seconds=after))


def first(look: Around) -> Reason:
    return ranked(reasons(look)).first


NODE_MESSAGE = "0/2 nodes are available: 2 Insufficient cpu."
DENIED = unread(NODES, "403 Forbidden", denied=True)


def test_without_the_right_to_read_nodes_the_sentence_says_so_and_which_right_it_takes() -> None:
    answer = ranked(reasons(unscheduled(NODE_MESSAGE, unread=(DENIED,))))

    assert answer.first.code is Code.INSUFFICIENT_RESOURCES
    assert answer.sentence == (
        "No node fits: 2 of 2 have too little free cpu. Nodes could not be read (403 Forbidden; allow it by a "
        "ClusterRole with get and list on nodes)."
    )


def test_a_right_that_would_tell_nothing_more_is_not_complained_about_in_the_sentence() -> None:
    message = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    assert first(unscheduled(message, unread=(DENIED,))).unread == ()


def test_without_the_right_to_read_claims_the_claim_is_named_and_its_state_is_not() -> None:
    volumes = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}
    message = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    answer = ranked(reasons(unscheduled(message, spec=volumes, unread=(unread(CLAIMS, "403 Forbidden", denied=True),))))

    assert answer.first.code is Code.PVC_UNBOUND
    assert "(it uses data)" in answer.sentence
    assert "get on persistentvolumeclaims" in answer.sentence


def test_an_unbound_claim_says_what_its_own_events_say() -> None:
    volumes = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}
    message = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    claim = msgspec.convert({"metadata": {"name": "data"}, "status": {"phase": "Pending"}}, Claim)
    why = msgspec.convert(
        {
            "reason": "ProvisioningFailed",
            "message": 'storageclass "fast" not found',
            "involvedObject": {"name": "data"},
        },
        Event,
    )
    look = unscheduled(message, spec=volumes, claims={"data": claim}, claim_events=(why,))

    assert first(look).sentence == 'The PersistentVolumeClaim data is Pending: storageclass "fast" not found.'


def test_waiting_does_not_help_a_pod_that_is_larger_than_any_node() -> None:
    small = msgspec.convert({"metadata": {"name": "small"}, "status": {"allocatable": {"cpu": "2"}}}, Node)
    wants = {"containers": [{"name": "base", "resources": {"requests": {"cpu": "8"}}}]}

    assert first(unscheduled(NODE_MESSAGE, spec=wants, nodes=(small,))).code is Code.LARGER_THAN_ANY_NODE
    assert first(unscheduled(NODE_MESSAGE, spec=wants)).code is Code.INSUFFICIENT_RESOURCES


def test_the_autoscalers_last_word_counts() -> None:
    up, no = (
        event("TriggeredScaleUp", "pod triggered scale-up: 1->2", after=1),
        event("NotTriggerScaleUp", "max", after=2),
    )

    assert first(unscheduled(NODE_MESSAGE, events=(no, event("TriggeredScaleUp", "again", after=3)))).code is (
        Code.AUTOSCALER_ADDS_NODES
    )
    answer = ranked(reasons(unscheduled(NODE_MESSAGE, events=(up, no))))
    assert [answer.first.code, *(one.code for one in answer.others)] == [
        Code.INSUFFICIENT_RESOURCES,
        Code.AUTOSCALER_CANNOT_HELP,
    ]


def test_room_is_being_made_where_the_scheduler_nominated_a_node() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NODE_MESSAGE}
    assert first(around({"conditions": [condition], "nominatedNodeName": "n1"})).code is Code.PREEMPTING


def test_a_mount_that_failed_and_then_went_well_is_history() -> None:
    failed, started = event("FailedMount", "no such disk"), event("Created", after=5)

    assert first(around({}, node="n1", events=(failed,))).code is Code.VOLUME_MOUNT
    assert first(around({}, node="n1", events=(failed, started))).code is Code.NODE_PREPARING


def test_a_pull_counts_until_it_is_done() -> None:
    pulling = event("Pulling", 'Pulling image "app:1"')

    assert "app:1" in first(around({}, node="n1", events=(pulling,))).sentence
    assert first(around({}, node="n1", events=(pulling, event("Pulled", after=1)))).code is Code.NODE_PREPARING


def test_without_the_right_to_read_events_a_silent_wait_says_what_it_could_not_look_at() -> None:
    denied = unread(EVENTS, "403 Forbidden", denied=True)
    answer = ranked(reasons(around({}, node="n1", unread=(denied,))))

    assert answer.first.code is Code.NODE_PREPARING
    assert "list on events" in answer.sentence


def test_a_sidecar_that_runs_holds_nothing_up() -> None:
    running = {"name": "proxy", "state": {"running": {}}}
    sidecar = {"initContainers": [{"name": "proxy", "restartPolicy": "Always"}]}

    assert first(around({"initContainerStatuses": [running]}, node="n1")).code is Code.INIT_CONTAINER_RUNNING
    assert first(around({"initContainerStatuses": [running]}, node="n1", spec=sidecar)).code is Code.NODE_PREPARING


@given(
    st.dictionaries(
        st.sampled_from(["phase", "reason", "message", "nominatedNodeName"]), st.text(max_size=10), max_size=4
    ),
    st.sampled_from(["", "Unschedulable", "SchedulingGated", "Odd"]),
    st.text(max_size=40),
    st.sampled_from(["", "n1"]),
    st.lists(
        st.builds(event, st.sampled_from(["FailedMount", "Pulling", "TriggeredScaleUp", "x"]), st.text(max_size=9))
    ),
)
def test_whatever_the_pod_shows_there_is_a_sentence(
    status: dict[str, Any], reason: str, message: str, node: str, events: list[Event]
) -> None:
    assume("None" not in f"{status}{message}{events}".replace("=None", ""))
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    found = reasons(around({**status, "conditions": [condition]}, node=node, events=tuple(events)))

    assert found
    assert all(one.sentence and "None" not in one.sentence for one in found)


def test_nodes_that_the_pod_does_not_want_are_not_the_matter_where_it_wants_one() -> None:
    """The scheduler stops at a node's first failing rule: the tainted node never came to the selector."""
    message = (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't match Pod's node "
        "affinity/selector."
    )
    taint = {"key": "gpu", "effect": "NoSchedule"}
    wanted = msgspec.convert({"metadata": {"name": "g", "labels": {"kind": "gpu"}}, "spec": {"taints": [taint]}}, Node)
    other = msgspec.convert({"metadata": {"name": "o"}}, Node)
    spec = {"nodeSelector": {"kind": "gpu"}}

    answer = first(unscheduled(message, spec=spec, nodes=(wanted, other)))
    assert answer.code is Code.UNTOLERATED_TAINTS
    assert answer.sentence.startswith(
        "No node fits: 1 of 3 has the taint gpu:NoSchedule that the pod does not tolerate"
    )
    assert first(unscheduled(message, spec=spec, nodes=(other,))).code is Code.NODE_SELECTOR


def test_a_tainted_node_that_the_pod_does_not_want_is_not_the_matter_where_the_one_it_wants_is_cordoned() -> None:
    message = "0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable."
    taint = {"key": "gpu", "effect": "NoSchedule"}
    wanted = msgspec.convert(
        {"metadata": {"name": "w", "labels": {"kind": "w"}}, "spec": {"unschedulable": True}}, Node
    )
    other = msgspec.convert({"metadata": {"name": "o"}, "spec": {"taints": [taint]}}, Node)

    answer = first(unscheduled(message, spec={"nodeSelector": {"kind": "w"}}, nodes=(wanted, other)))

    assert answer.code is Code.NODES_CORDONED
    assert answer.then == "Uncordon one: `kubectl uncordon w`."


def test_a_container_that_is_refused_as_it_is_written_is_not_called_missing_something() -> None:
    def base(message: str) -> Around:
        waiting = {"reason": "CreateContainerConfigError", "message": message}
        return around({"containerStatuses": [{"name": "base", "state": {"waiting": waiting}}]}, node="n1")

    assert first(base("container has runAsNonRoot and image will run as root")).code is Code.CONTAINER_ERROR
    assert first(base('secret "x" not found')).code is Code.CONFIG
    assert first(base("couldn't find key colour in ConfigMap n/c")).code is Code.CONFIG
