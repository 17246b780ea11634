"""Names, labels and annotations: deterministic, legal, and readable back."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.pods.identity import (
    PodIdentity,
    identity_annotations,
    identity_labels,
    pod_name,
    read_identity,
    safe_label,
)
from tests.unit.pods.samples import workload

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")

KEYS = st.builds(
    AttemptKey,
    task=st.builds(TaskKey, dag_id=st.text(), run_id=st.text(), task_id=st.text(), map_index=st.integers(-1, 9)),
    attempt_no=st.integers(1, 99),
)


@given(KEYS, st.text())
def test_a_name_is_a_dns_label(key: AttemptKey, deployment: str) -> None:
    name = pod_name(key, deployment)
    assert len(name) <= 63
    assert DNS_LABEL.fullmatch(name)


@given(KEYS, KEYS, st.text(max_size=3), st.text(max_size=3))
def test_names_are_equal_exactly_when_attempts_are(left: AttemptKey, right: AttemptKey, one: str, two: str) -> None:
    assert (pod_name(left, one) == pod_name(right, two)) == ((left, one) == (right, two))


def test_a_name_never_changes_between_versions_of_execplane() -> None:
    # An older process may have made the pod that a newer one has to find.
    assert pod_name(workload().key, "dep") == "my-dag-load-pv6b3aadjcchrysn"


def test_long_ids_both_stay_readable_in_the_name() -> None:
    key = AttemptKey(task=TaskKey(dag_id="d" * 250, run_id="r", task_id="t" * 250), attempt_no=1)
    assert re.fullmatch("d{23}-t{22}-[a-z2-7]{16}", pod_name(key, "dep"))


@given(st.text())
def test_a_label_is_always_legal(value: str) -> None:
    label = safe_label(value)
    assert len(label) <= 63
    assert LABEL_VALUE.fullmatch(label)


def test_labels_follow_airflows_rule() -> None:
    assert safe_label("plain.name-1_x") == "plain.name-1_x"
    assert safe_label("manual__2026-01-01T00:00:00+00:00") == "manual__2026-01-01T0000000000-daff4c10d"
    assert safe_label("x" * 64) == "x" * 53 + "-c1bb4f81d"


@given(KEYS, st.integers(1, 9), st.integers(0, 9))
def test_annotations_give_back_the_identity(key: AttemptKey, try_number: int, incarnation: int) -> None:
    given = workload(try_number=try_number, incarnation=incarnation, key=key)
    found = read_identity({"metadata": {"annotations": identity_annotations(given)}})
    assert found == PodIdentity(
        attempt_id=7, key=key, try_number=try_number, deployment_id="dep", incarnation=incarnation
    )


def test_a_strangers_pod_has_no_identity() -> None:
    assert read_identity({}) is None
    assert read_identity({"metadata": {"annotations": None}}) is None
    assert read_identity({"metadata": {"annotations": {"execplane.io/attempt-id": "no number"}}}) is None


def test_map_index_is_a_label_only_for_mapped_tasks() -> None:
    assert "map_index" not in identity_labels(workload(), "0.1")
    assert identity_labels(workload(map_index=0), "0.1")["map_index"] == "0"
