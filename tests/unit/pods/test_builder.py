"""The builder with a memory says what building from the start says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.errors import InvalidInput
from execplane.contract.workload import Workload
from execplane.pods.build import BuildOptions, Built, build_pod
from execplane.pods.builder import PodBuilder
from execplane.pods.default_template import default_template
from execplane.pods.hook import Mutation
from execplane.pods.layers import layers_of
from execplane.pods.merge import Layer
from tests.unit.pods.samples import PODS, workload

OPTIONS = BuildOptions(
    image="registry.example/team/worker:1",
    version="0.1.0",
    namespace="tasks",
    namespaces=("", "x", "y"),
    attempt_url="https://execplane.example/attempts/{attempt_id}",
)
RIGHT_ONCE = {
    "metadata": {"labels": {"try_number": "1", "task_id": "load"}, "annotations": {"execplane.io/attempt-id": "7"}}
}


def no_files(path: str) -> Layer:
    raise AssertionError(path)


def layers(given: Workload) -> list[Layer]:
    return layers_of(given, default_template(), no_files)


def outcome(build: Any, given: Workload) -> Built | str:
    try:
        built = build(given, layers(given))
    except InvalidInput as error:
        return f"{error.message} {error.hint}"
    assert isinstance(built, Built)
    return built


@given(
    pods=st.lists(st.one_of(PODS, st.just(RIGHT_ONCE)), min_size=1, max_size=2),
    attempts=st.lists(
        st.fixed_dictionaries(
            {
                "attempt_id": st.integers(1, 9),
                "attempt_no": st.integers(1, 3),
                "try_number": st.integers(1, 2),
                "map_index": st.integers(-1, 1),
                "task_id": st.sampled_from(["load", "Store it$(HOME)"]),
                "run_id": st.sampled_from(["scheduled__1", "manual 2/3"]),
                "pod": st.integers(0, 1),
            }
        ),
        min_size=2,
        max_size=6,
    ),
)
def test_a_pod_built_from_memory_is_the_pod_built_from_the_start(
    pods: list[dict[str, Any]], attempts: list[dict[str, Any]]
) -> None:
    builder = PodBuilder(OPTIONS)
    for attempt in attempts:
        pod = pods[attempt["pod"] % len(pods)]
        fields = {name: value for name, value in attempt.items() if name != "pod"}
        one = workload(executor_config={"pod_override": pod}, **fields)
        afresh = outcome(lambda given, found: build_pod(given, found, OPTIONS), one)
        assert outcome(builder.build, one) == afresh


def test_another_template_is_another_pod() -> None:
    builder = PodBuilder(OPTIONS)
    one = workload()
    first = builder.build(one, layers(one))
    changed = default_template()
    pod = msgspec.json.decode(msgspec.json.encode(changed.pod))
    pod["spec"]["priorityClassName"] = "batch"
    second = builder.build(one, [Layer(name=changed.name, pod=pod)])
    assert (first.pod["spec"].get("priorityClassName"), second.pod["spec"]["priorityClassName"]) == (None, "batch")
    assert first.template_rev != second.template_rev


def test_a_hook_is_asked_for_every_attempt() -> None:
    def label(pod: dict[str, Any]) -> Mutation:
        metadata = pod["metadata"]
        labels = {**metadata["labels"], "run": metadata["name"][-4:]}
        return Mutation(before=pod, after={**pod, "metadata": {**metadata, "labels": labels}})

    builder = PodBuilder(OPTIONS)
    found = [builder.build(one, layers(one), label) for one in (workload(attempt_no=1), workload(attempt_no=2))]
    assert [each.pod["metadata"]["labels"]["run"] for each in found] == [each.name[-4:] for each in found]


def test_what_could_not_be_built_is_not_remembered() -> None:
    builder = PodBuilder(OPTIONS)
    bad: dict[str, Any] = {"spec": {"nodeSelectorr": {}}}
    for task_id in ("first", "second"):
        one = workload(task_id=task_id, executor_config={"pod_override": bad})
        with pytest.raises(InvalidInput, match=f"executor_config of task {task_id}.*nodeSelectorr"):
            builder.build(one, layers(one))


def test_the_memory_is_bounded() -> None:
    builder = PodBuilder(OPTIONS)
    for number in range(600):
        one = workload(executor_config={"pod_override": {"metadata": {"labels": {"n": str(number)}}}})
        builder.build(one, layers(one))
    assert len(builder._known) == 512


def test_large_pods_are_built_anew_so_that_the_memory_is_bounded_in_bytes_too() -> None:
    builder = PodBuilder(OPTIONS)
    for bytes_said, known in ((1 << 15, 1), (1 << 16, 1)):
        note = {"metadata": {"annotations": {"note": "x" * bytes_said}}}
        one = workload(executor_config={"pod_override": note})
        assert builder.build(one, layers(one)) == build_pod(one, layers(one), OPTIONS)
        assert len(builder._known) == known
