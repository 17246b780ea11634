"""A whole pod: layers, hook, identity, checks, bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.errors import InvalidInput
from execplane.contract.workload import WorkerStart, Workload
from execplane.pods.build import BuildOptions, Built, build_intent, build_pod, canonical_json
from execplane.pods.default_template import DEFAULT_POD, default_template
from execplane.pods.hook import Mutation
from execplane.pods.identity import read_identity
from execplane.pods.layers import layers_of
from execplane.pods.merge import Layer
from execplane.pods.tree import plant, walk
from tests.unit.pods.samples import workload

GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = Path(__file__).parents[3] / "examples" / "pod_templates"

OPTIONS = BuildOptions(
    image="registry.example/team/worker:1",
    version="0.1.0",
    namespace="tasks",
    namespaces=("team-a",),
    attempt_url="https://execplane.example/attempts/{attempt_id}",
)


def no_files(path: str) -> Layer:
    raise AssertionError(path)


def built(
    given: Workload, *, options: BuildOptions = OPTIONS, template: Layer | None = None, mutate: Any = None
) -> Built:
    return build_pod(given, layers_of(given, template or default_template(), no_files), options, mutate)


def override(pod: dict[str, Any], **more: Any) -> Workload:
    return workload(executor_config={"pod_override": pod}, **more)


def base(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in pod["spec"]["containers"] if each["name"] == "base")
    return found


STATE_OVERRIDE = {
    "metadata": {"labels": {"purpose": "pod-override-example"}},
    "spec": {"containers": [{"name": "base", "env": [{"name": "STATE", "value": "wa"}]}]},
}

CASES = {
    "plain": workload(),
    "pod_override": override(STATE_OVERRIDE, dag_id="k8s_executor_example", task_id="get_testing_increase"),
    "mapped_with_everything": override(
        {
            "metadata": {"namespace": "team-a", "annotations": {"team": "a"}},
            "spec": {
                "automountServiceAccountToken": True,
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
                "containers": [
                    {"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}], "command": ["/entry"]},
                ],
                "initContainers": [{"name": "git-sync", "image": "git-sync:4"}],
            },
        },
        map_index=4,
        dag_executor_config={"pod_override": {"spec": {"priorityClassName": "batch"}}},
        resources={"cpus": 2, "ram": 512, "gpus": 1},
    ),
    "legacy": workload(
        executor_config={
            "KubernetesExecutor": {
                "request_memory": "1Gi",
                "limit_gpu": 1,
                "image": "legacy:1",
                "image_pull_secrets": "one, two",
                "envs": {"A": 1},
                "configmaps": ["settings"],
                "gcp_service_account_key": "robot",
                "node_selectors": {"disk": "ssd"},
                "hostnetwork": False,
            }
        }
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_pods_are_exactly_what_they_were(name: str) -> None:
    """After a wanted change: delete a golden file to have it written anew, and read the diff."""
    result = built(CASES[name])
    told = {"pod": result.pod, "provenance": result.provenance, "overruled": msgspec.to_builtins(result.overruled)}
    text = json.dumps(told, indent=1, sort_keys=True) + "\n"
    file = GOLDEN / f"{name}.json"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        pytest.fail(f"{file} is new: read it and run again")
    assert text == file.read_text()


def test_the_example_template_is_the_built_in_one() -> None:
    assert yaml.safe_load((EXAMPLES / "default.yaml").read_text()) == DEFAULT_POD


def test_equal_attempts_give_equal_bytes_whatever_the_order_of_keys() -> None:
    pod = {"spec": {"hostNetwork": False, "dnsPolicy": "None"}}
    turned = {"spec": {"dnsPolicy": "None", "hostNetwork": False}}
    assert built(override(pod)).body == built(override(turned)).body


def test_an_intent_has_its_attempts_priority() -> None:
    given = workload(priority=7)
    assert build_intent(built(given), given).priority == 7


def test_the_body_is_the_pod() -> None:
    result = built(workload())
    assert json.loads(result.body) == result.pod
    assert canonical_json(result.pod) == result.body


@given(st.text(), st.text())
def test_the_worker_is_told_its_start_in_the_last_argument(dag_id: str, run_id: str) -> None:
    given = workload(dag_id=dag_id, run_id=run_id)
    *program, start = base(built(given).pod)["args"]
    assert program == ["python", "-m", "execplane.worker"]
    assert msgspec.json.decode(start, type=WorkerStart).key == given.key
    # The kubelet would expand or halve it.
    assert "$" not in start


def test_every_field_knows_its_layer() -> None:
    result = built(CASES["mapped_with_everything"])
    assert set(result.provenance) == {path for path, _ in walk(plant(result.pod, ""))}
    assert result.provenance["spec.priorityClassName"] == "dag"
    assert result.provenance["spec.tolerations[0].key"] == "task"
    assert result.provenance["spec.containers[0].resources.limits[nvidia.com/gpu]"] == "task resources"
    assert result.provenance["spec.securityContext.runAsNonRoot"] == "template"
    assert result.provenance["spec.containers[0].image"] == "options"
    assert result.provenance["metadata.name"] == "identity"


def of_base(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [fields]}}


RULES = [{"action": "Restart"}]
TOKEN_ENV = {"name": "EXECPLANE_TOKEN_FILE", "value": "/x"}
TOKEN_VOLUME = {"name": "execplane-token", "emptyDir": {}}


@pytest.mark.parametrize(
    ("pod", "path", "wanted"),
    [
        ({"metadata": {"name": "mine"}}, "metadata.name", "mine"),
        ({"metadata": {"generateName": "mine-"}}, "metadata.generateName", "mine-"),
        ({"metadata": {"labels": {"dag_id": "other"}}}, "metadata.labels.dag_id", "other"),
        (
            {"metadata": {"annotations": {"execplane.io/attempt-id": "1"}}},
            "metadata.annotations[execplane.io/attempt-id]",
            "1",
        ),
        ({"spec": {"restartPolicy": "OnFailure"}}, "spec.restartPolicy", "OnFailure"),
        (of_base(args=["sleep"]), "spec.containers[0].args", ["sleep"]),
        (of_base(restartPolicyRules=RULES), "spec.containers[0].restartPolicyRules", RULES),
        (of_base(env=[TOKEN_ENV]), "spec.containers[0].env[0]", TOKEN_ENV),
        ({"spec": {"volumes": [TOKEN_VOLUME]}}, "spec.volumes[0]", TOKEN_VOLUME),
    ],
)
def test_identity_is_stamped_last_and_names_the_layer_that_tried(pod: dict[str, Any], path: str, wanted: Any) -> None:
    result = built(override(pod))
    assert [(each.path, each.layer, each.wanted) for each in result.overruled] == [(path, "task", wanted)]
    reference = built(workload()).pod
    assert result.pod["metadata"]["name"] == reference["metadata"]["name"]
    assert read_identity(result.pod) == read_identity(reference)
    assert base(result.pod)["args"] == base(reference)["args"]
    assert result.pod["spec"]["restartPolicy"] == "Never"


def test_what_agrees_with_the_identity_is_not_reported() -> None:
    assert built(override({"spec": {"restartPolicy": "Never"}})).overruled == ()


def test_what_kubectl_get_shows_of_a_live_pod_is_left_out() -> None:
    live = {"metadata": {"uid": "x", "resourceVersion": "1", "creationTimestamp": None}, "status": {"phase": "Running"}}
    result = built(workload(), template=Layer(name="template", pod={**DEFAULT_POD, **live}))
    assert "status" not in result.pod
    assert not {"uid", "resourceVersion", "creationTimestamp"} & set(result.pod["metadata"])
    assert {each.path for each in result.overruled} == {"status", "metadata.uid", "metadata.resourceVersion"}


def test_a_command_wrapper_is_kept() -> None:
    assert base(built(override({"spec": {"containers": [{"command": ["/wrap"]}]}})).pod)["command"] == ["/wrap"]


def test_a_forbidden_command_names_its_layer() -> None:
    options = BuildOptions(image="x", allow_command=False)
    with pytest.raises(InvalidInput, match=r"command \(set by task\)"):
        built(override({"spec": {"containers": [{"command": ["/wrap"]}]}}), options=options)


def test_a_layers_namespace_is_granted_when_it_is_watched() -> None:
    result = built(override({"metadata": {"namespace": "team-a"}}))
    assert (result.namespace, result.pod["metadata"]["namespace"]) == ("team-a", "team-a")
    assert result.provenance["metadata.namespace"] == "task"
    assert built(workload()).namespace == "tasks"


def test_a_namespace_that_nobody_watches_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"'elsewhere' \(set by task\)") as caught:
        built(override({"metadata": {"namespace": "elsewhere"}}))
    assert "tasks, team-a" in caught.value.hint


def test_a_pod_without_an_image_says_where_to_name_one() -> None:
    with pytest.raises(InvalidInput, match=r"Container 'base'.* has no image") as caught:
        built(workload(), options=BuildOptions())
    assert "EXECPLANE_KUBERNETES__IMAGE" in caught.value.hint


def test_a_misspelt_base_is_noticed() -> None:
    with pytest.raises(InvalidInput, match=r"Container 'bsae' \(set by task\) has no image") as caught:
        built(override({"spec": {"containers": [{"name": "bsae", "env": []}]}}))
    assert "Was 'base' meant?" in caught.value.hint


def test_a_missing_required_field_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"spec.volumes\[0\].name is missing"):
        built(override({"spec": {"volumes": [{"emptyDir": {}}]}}))


# The mutation hook


def test_the_hook_sees_the_identity_and_its_namespace_is_taken() -> None:
    def by_team(pod: dict[str, Any]) -> Mutation:
        assert pod["metadata"]["labels"]["dag_id"] == "my_dag"
        after = json.loads(json.dumps(pod))
        after["metadata"]["namespace"] = "team-a"
        after["spec"]["containers"][0]["command"] = ["/wrap"]
        return Mutation(before=pod, after=after)

    result = built(workload(), mutate=by_team)
    assert (result.namespace, base(result.pod)["command"]) == ("team-a", ["/wrap"])
    assert result.provenance["metadata.namespace"] == "mutation hook"
    assert result.overruled == ()


def test_a_hook_that_touches_the_identity_is_overruled_and_named() -> None:
    def renaming(pod: dict[str, Any]) -> Mutation:
        after = json.loads(json.dumps(pod))
        after["metadata"]["name"] = "mine"
        after["spec"]["containers"][0]["args"].insert(0, "strace")
        del after["metadata"]["labels"]["dag_id"]
        return Mutation(before=pod, after=after)

    result = built(workload(), mutate=renaming)
    assert {(each.path, each.layer) for each in result.overruled} == {
        ("metadata.name", "mutation hook"),
        ("spec.containers[0].args", "mutation hook"),
    }
    assert result.body == built(workload()).body


def test_a_hook_that_writes_an_unknown_field_is_named() -> None:
    def wrong(pod: dict[str, Any]) -> Mutation:
        return Mutation(before=pod, after={**pod, "spec": {**pod["spec"], "nodeSelektor": {"a": "b"}}})

    with pytest.raises(InvalidInput, match=r"spec.nodeSelektor is not a field of PodSpec \(set by mutation hook\)"):
        built(workload(), mutate=wrong)
