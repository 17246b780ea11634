"""The scheduler's message: every rule that kube-scheduler knows has a code, and no word of it is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.pending import Code
from execplane.pods.predicates import parse, sentence

PREEMPTION = "preemption: 0/9 nodes are available: 9 Preemption is not helpful for scheduling."
TAILS = [f" {PREEMPTION}", f" no new claims to deallocate, {PREEMPTION}", " not found", ""]
"""What kube-scheduler 1.34 says behind its reasons: of preemption, of devices, or that there was none of it."""

# The texts of kube-scheduler 1.34 (its plugins' ErrReason…), and older forms of them.
BY_NODE: list[tuple[str, Code, str]] = [
    ("node(s) were unschedulable", Code.NODES_CORDONED, "are cordoned"),
    ("node(s) had unknown conditions", Code.NODES_CORDONED, "unknown conditions"),
    ("node(s) didn't match the requested node name", Code.NODE_NAME, "nodeName"),
    ("node(s) had untolerated taint(s)", Code.UNTOLERATED_TAINTS, "have taints"),
    ("node(s) had untolerated taint {gpu: yes}", Code.UNTOLERATED_TAINTS, "the taint {gpu: yes}"),
    ("node(s) had taint {gpu: yes}, that the pod didn't tolerate", Code.UNTOLERATED_TAINTS, "the taint {gpu: yes}"),
    ("node(s) didn't match Pod's node affinity/selector", Code.NODE_SELECTOR, "node affinity/selector"),
    ("node(s) didn't match node selector", Code.NODE_SELECTOR, "node affinity/selector"),
    ("node(s) didn't match scheduler-enforced node affinity", Code.NODE_SELECTOR, "node affinity/selector"),
    ("node(s) didn't have free ports for the requested pod ports", Code.HOST_PORTS, "hostPorts"),
    ("Too many pods", Code.TOO_MANY_PODS, "no room for another pod"),
    ("Insufficient cpu", Code.INSUFFICIENT_RESOURCES, "too little free cpu"),
    ("Insufficient ephemeral-storage", Code.INSUFFICIENT_RESOURCES, "too little free ephemeral-storage"),
    ("Insufficient nvidia.com/gpu", Code.INSUFFICIENT_RESOURCES, "too little free nvidia.com/gpu"),
    ("node(s) had no available disk", Code.VOLUME_IN_USE, "in use by another pod"),
    ("node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod",
     Code.VOLUME_IN_USE, "in use by another pod"),
    ("node(s) exceed max volume count", Code.VOLUME_LIMIT, "volumes attached"),
    ("node(s) didn't find available persistent volumes to bind", Code.VOLUME_BINDING, "no PersistentVolume"),
    ("node(s) did not have enough free storage", Code.VOLUME_BINDING, "no PersistentVolume"),
    ("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)", Code.VOLUME_BINDING, "not exist"),
    ("node(s) had volume node affinity conflict", Code.VOLUME_NODE, "cannot reach"),
    ("node(s) didn't match PersistentVolume's node affinity", Code.VOLUME_NODE, "cannot reach"),
    ("node(s) had no available volume zone", Code.VOLUME_NODE, "cannot reach"),
    ("cannot allocate all claims", Code.DEVICES, "resource claims"),
    ("resourceclaim not available on the node", Code.DEVICES, "resource claims"),
    ("node(s) didn't match pod topology spread constraints", Code.TOPOLOGY_SPREAD, "topologySpreadConstraints"),
    ("node(s) didn't match pod topology spread constraints (missing required label)", Code.TOPOLOGY_SPREAD,
     "missing required label"),
    ("node(s) didn't match pod affinity rules", Code.POD_AFFINITY, "podAffinity"),
    ("node(s) didn't match pod anti-affinity rules", Code.POD_ANTI_AFFINITY, "podAntiAffinity"),
    ("node(s) didn't match pod affinity/anti-affinity rules", Code.POD_ANTI_AFFINITY, "podAntiAffinity"),
    ("node(s) didn't satisfy existing pods anti-affinity rules", Code.POD_ANTI_AFFINITY, "avoids this one"),
]  # fmt: skip
OF_THE_POD: list[tuple[str, Code, str]] = [
    ('persistentvolumeclaim "data" not found', Code.PVC_MISSING, "data does not exist"),
    ('persistentvolumeclaim "data" is being deleted', Code.PVC_DELETING, "data is being deleted"),
    ('persistentvolumeclaim "data" bound to non-existent persistentvolume "pv1"', Code.PVC_UNBOUND, "data is bound"),
    ('waiting for ephemeral volume controller to create the persistentvolumeclaim "data"', Code.PVC_MISSING, "data"),
    ("pod has unbound immediate PersistentVolumeClaims", Code.PVC_UNBOUND, "not bound"),
    ("waiting for the preemption for this pod to be finished", Code.PREEMPTING, "evicted"),
    ("waiting for scheduling gates: [a b]", Code.SCHEDULING_GATED, "gates"),
    ("resource claim default/c is in the process of being allocated", Code.DEVICES, "resource claims"),
]  # fmt: skip


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(("text", "code", "said"), BY_NODE, ids=[row[0] for row in BY_NODE])
def test_a_rule_of_the_scheduler_has_its_code_and_its_words(text: str, code: Code, said: str, tail: str) -> None:
    found = parse(f"0/9 nodes are available: 9 {text}.{tail}")

    assert (found.nodes, found.first.code, found.first.nodes, found.first.text) == (9, code, 9, text)
    assert found.afterwards == tail.strip()
    assert said in sentence(found)
    assert "9 of 9" in sentence(found)


@pytest.mark.parametrize(("text", "code", "said"), OF_THE_POD, ids=[row[0] for row in OF_THE_POD])
def test_what_is_said_of_the_whole_pod_has_its_code_and_its_words(text: str, code: Code, said: str) -> None:
    found = parse(f"0/3 nodes are available: {text}.{TAILS[1]}")

    assert (found.nodes, [(one.code, one.nodes) for one in found.counts]) == (3, [(code, None)])
    assert said in sentence(found)


def test_the_rule_nearest_to_a_fit_is_named_first_however_few_nodes_it_left_out() -> None:
    found = parse(
        "0/9 nodes are available: 1 Insufficient cpu, 3 node(s) were unschedulable, "
        "5 node(s) had untolerated taint {dedicated: gpu}. preemption: 0/9 nodes are available."
    )

    assert [one.code for one in found.by_nearness()] == [
        Code.INSUFFICIENT_RESOURCES,
        Code.UNTOLERATED_TAINTS,
        Code.NODES_CORDONED,
    ]
    assert sentence(found) == (
        "No node fits: 1 of 9 has too little free cpu, 5 of 9 have the taint {dedicated: gpu} that the pod does not "
        "tolerate, 3 of 9 are cordoned."
    )


def test_a_volume_in_use_is_nearer_to_a_fit_than_a_taint() -> None:
    """Both words of ReadWriteOncePod, of a node and of the whole pod, have the same code."""
    found = parse(
        "0/4 nodes are available: 1 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode "
        "already in-use by another pod, 3 node(s) had untolerated taint(s)."
    )

    assert found.first.code is Code.VOLUME_IN_USE


def test_names_of_taints_that_the_scheduler_leaves_away_come_from_the_nodes() -> None:
    found = parse("0/2 nodes are available: 2 node(s) had untolerated taint(s).")

    assert "have the taint gpu=yes:NoSchedule that" in sentence(found, taints="gpu=yes:NoSchedule")


@pytest.mark.parametrize("text", ["0/0 nodes are available", "no nodes available to schedule pods"])
def test_a_cluster_without_nodes_says_so(text: str) -> None:
    assert parse(text).first.code is Code.NO_NODES
    assert sentence(parse(text)) == "The cluster has no nodes."


def test_an_unknown_rule_is_kept_whole_among_known_ones() -> None:
    found = parse("0/7 nodes are available: 3 node(s) are painted blue, 4 Insufficient memory.")

    assert [(one.code, one.nodes, one.text) for one in found.counts] == [
        (Code.UNSCHEDULABLE, 3, "node(s) are painted blue"),
        (Code.INSUFFICIENT_RESOURCES, 4, "Insufficient memory"),
    ]
    assert "3 of 7: node(s) are painted blue" in sentence(found)


@given(st.text(max_size=200))
def test_whatever_it_says_no_word_is_lost_and_there_is_a_sentence(text: str) -> None:
    found = parse(text)
    kept = " ".join([*(one.text for one in found.counts), found.afterwards])

    for word in text.split():
        assert word.strip(".,:") in kept or word.isdecimal()
    assert sentence(found)
    assert found.first in found.counts


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.sampled_from(BY_NODE)), min_size=1, max_size=8), st.sampled_from(TAILS)
)
def test_every_count_comes_back_as_it_was_said(said: list[tuple[int, tuple[str, Code, str]]], tail: str) -> None:
    body = ", ".join(sorted(f"{nodes} {text}" for nodes, (text, _, _) in said))

    found = parse(f"0/5000 nodes are available: {body}.{tail}")

    assert sorted((one.nodes, one.text, one.code) for one in found.counts if one.nodes) == sorted(
        (nodes, text, code) for nodes, (text, code, _) in said
    )
