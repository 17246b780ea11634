"""Policies: each kind of rule, what is told of what breaks it, and that no layer gets around one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from execplane.contract.errors import InvalidInput, PolicyViolation
from execplane.pods.build import BuildOptions, build_pod
from execplane.pods.builder import PodBuilder
from execplane.pods.default_template import default_template
from execplane.pods.hook import Mutation
from execplane.pods.layers import layers_of
from execplane.pods.merge import Layer
from execplane.pods.policy import PodPolicy, violations
from execplane.pods.policy_values import has_prefix, image_allowed
from execplane.pods.tree import plant, provenance
from tests.unit.pods.samples import workload


def no_files(path: str) -> Layer:
    raise AssertionError(path)


def broken(pod: dict[str, Any], placed: str = "tasks", **rules: Any) -> list[str]:
    """Paths of what the policy does not allow of this pod."""
    found = violations(pod, placed, provenance(plant(pod, "template")), [PodPolicy(name="p", **rules)])
    return [one.path for one in found]


def with_base(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "base", "image": "r.example/a:1", **fields}]}}


def with_spec(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "base", "image": "r.example/a:1"}], **fields}}


def context(**fields: Any) -> dict[str, Any]:
    return with_base(securityContext=fields)


BASE = "spec.containers[0]"
AFFINITY = "spec.affinity.nodeAffinity"
GPU = {"key": "gpu", "operator": "In", "values": ["big"]}
NAMED = {"key": "metadata.name", "operator": "In", "values": ["gpu-1"]}


def affinity(expression: dict[str, Any], *, hard: bool = True, by: str = "matchExpressions") -> dict[str, Any]:
    term = {by: [expression]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term}]}
    return with_spec(affinity={"nodeAffinity": required if hard else preferred})


@pytest.mark.parametrize(
    ("rules", "pod", "paths"),
    [
        ({"privileged": "forbid"}, context(privileged=True), [f"{BASE}.securityContext.privileged"]),
        ({"privileged": "forbid"}, context(privileged=False), []),
        (
            {"privileged": "forbid"},
            with_spec(initContainers=[{"name": "i", "securityContext": {"privileged": True}}]),
            ["spec.initContainers[0].securityContext.privileged"],
        ),
        (
            {"privileged": "forbid"},
            with_spec(securityContext={"windowsOptions": {"hostProcess": True}}),
            ["spec.securityContext.windowsOptions.hostProcess"],
        ),
        (
            {"privileged": "forbid"},
            context(windowsOptions={"hostProcess": True}),
            [f"{BASE}.securityContext.windowsOptions.hostProcess"],
        ),
        ({"privileged": "require"}, with_base(), [f"{BASE}.securityContext.privileged"]),
        ({"privileged": "require"}, context(privileged=True), []),
        # Kubernetes allows it where nothing is said.
        ({"privilege_escalation": "forbid"}, with_base(), [f"{BASE}.securityContext.allowPrivilegeEscalation"]),
        ({"privilege_escalation": "forbid"}, context(allowPrivilegeEscalation=False), []),
        ({"host_network": "forbid"}, with_spec(hostNetwork=True), ["spec.hostNetwork"]),
        ({"host_network": "forbid"}, with_spec(hostNetwork=False), []),
        ({"host_network": "require"}, with_spec(), ["spec.hostNetwork"]),
        ({"host_pid": "forbid"}, with_spec(hostPID=True), ["spec.hostPID"]),
        ({"host_ipc": "forbid"}, with_spec(hostIPC=True), ["spec.hostIPC"]),
        ({"init_containers": "forbid"}, with_spec(initContainers=[{"name": "i"}]), ["spec.initContainers[0].name"]),
        (
            {"host_paths": ()},
            with_spec(volumes=[{"name": "v", "hostPath": {"path": "/data"}}]),
            ["spec.volumes[0].hostPath.path"],
        ),
        (
            {"host_paths": ("/data",)},
            with_spec(
                volumes=[
                    {"name": "a", "hostPath": {"path": "/data/x"}},
                    {"name": "b", "hostPath": {"path": "/data/../etc"}},
                    {"name": "c", "emptyDir": {}},
                ]
            ),
            ["spec.volumes[1].hostPath.path"],
        ),
        ({"image_registries": ("r.example",)}, with_base(), []),
        ({"image_registries": ("r.example/team",)}, with_base(), [f"{BASE}.image"]),
        (
            {"image_registries": ("r.example",)},
            with_spec(volumes=[{"name": "v", "image": {"reference": "python:3"}}]),
            ["spec.volumes[0].image.reference"],
        ),
        ({"service_accounts": ("task-*",)}, with_spec(serviceAccountName="task-a"), []),
        ({"service_accounts": ("task-*",)}, with_spec(), ["spec.serviceAccountName"]),
        ({"service_accounts": ("default",)}, with_spec(), []),
        (
            {"service_accounts": ("default",)},
            with_spec(serviceAccountName="default", serviceAccount="root"),
            ["spec.serviceAccount"],
        ),
        (
            {"capabilities": ("NET_BIND_SERVICE",)},
            context(capabilities={"add": ["NET_BIND_SERVICE", "CAP_SYS_ADMIN"]}),
            [f"{BASE}.securityContext.capabilities.add[1]"],
        ),
        ({"drop_capabilities": ("NET_RAW",)}, context(capabilities={"drop": ["ALL"]}), []),
        ({"drop_capabilities": ("ALL",)}, context(capabilities={"drop": ["NET_RAW"]}), [
            f"{BASE}.securityContext.capabilities.drop"
        ]),
        ({"require_limits": ("memory",)}, with_base(), [f"{BASE}.resources.limits.memory"]),
        ({"require_limits": ("memory",)}, with_base(resources={"requests": {"memory": "1Gi"}}), [
            f"{BASE}.resources.limits.memory"
        ]),
        ({"require_limits": ("memory",)}, with_spec(resources={"limits": {"memory": "1Gi"}}), []),
        ({"require_limits": ("memory", "cpu")}, with_base(resources={"limits": {"memory": "0", "cpu": 0}}), [
            f"{BASE}.resources.limits.memory", f"{BASE}.resources.limits.cpu"
        ]),
        ({"require_limits": ("memory",)}, with_base(resources={"limits": {"memory": None}}), [
            f"{BASE}.resources.limits.memory"
        ]),
        # To Kubernetes, a limit of 0 is none, and a request of 0 is what was asked for whatever the limit is.
        ({"require_requests": ("cpu",)}, with_base(resources={"limits": {"cpu": 1}, "requests": {"cpu": "0m"}}), [
            f"{BASE}.resources.requests.cpu"
        ]),
        ({"max_resources": {"memory": "2Gi"}}, with_base(resources={"limits": {"memory": "0Mi"}}), [
            f"{BASE}.resources.limits.memory"
        ]),
        ({"max_resources": {"cpu": "2"}}, with_base(resources={"limits": {"cpu": None}, "requests": {"cpu": 0}}), []),
        ({"max_resources": {"nvidia.com/gpu": "1"}}, with_base(resources={"limits": {"nvidia.com/gpu": 0}}), []),
        # A limit is a request, too.
        ({"require_requests": ("cpu",)}, with_base(resources={"limits": {"cpu": 1}}), []),
        ({"require_requests": ("cpu",)}, with_base(), [f"{BASE}.resources.requests.cpu"]),
        (
            {"max_resources": {"memory": "2Gi", "nvidia.com/gpu": "1"}},
            with_base(resources={"limits": {"memory": "2049Mi", "nvidia.com/gpu": 2}, "requests": {"memory": "2Gi"}}),
            [f"{BASE}.resources.limits.memory", f"{BASE}.resources.limits[nvidia.com/gpu]"],
        ),
        ({"max_resources": {"cpu": "2"}}, with_base(resources={"requests": {"cpu": "lots"}}), [
            f"{BASE}.resources.requests.cpu"
        ]),
        ({"max_resources": {"cpu": "2"}}, with_spec(resources={"limits": {"cpu": 3}}), ["spec.resources.limits.cpu"]),
        ({"require_labels": {"team": "*"}}, with_base(), ["metadata.labels.team"]),
        ({"require_labels": {"team": "data-*"}}, {**with_base(), "metadata": {"labels": {"team": "x"}}}, [
            "metadata.labels.team"
        ]),
        ({"require_labels": {"team": "data-*"}}, {**with_base(), "metadata": {"labels": {"team": "data-1"}}}, []),
        ({"forbid_labels": {"bypass/*": "*"}}, {**with_base(), "metadata": {"labels": {"bypass/all": "1"}}}, [
            "metadata.labels[bypass/all]"
        ]),
        ({"require_node_selector": {"pool": "batch"}}, with_spec(), ["spec.nodeSelector.pool"]),
        ({"require_node_selector": {"pool": "batch"}}, with_spec(nodeSelector={"pool": "batch"}), []),
        ({"forbid_node_selector": {"gpu": "*"}}, with_spec(nodeSelector={"gpu": "small"}), ["spec.nodeSelector.gpu"]),
        ({"forbid_node_selector": {"gpu": "*"}}, with_spec(nodeName="gpu-1"), ["spec.nodeName"]),
        ({"forbid_node_selector": {"gpu": "big"}}, affinity(GPU), [
            f"{AFFINITY}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key"
        ]),
        ({"forbid_node_selector": {"gpu": "big"}}, affinity(GPU, hard=False), [
            f"{AFFINITY}.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key"
        ]),
        ({"forbid_node_selector": {"gpu": "big"}}, affinity({"key": "gpu", "operator": "Exists"}), [
            f"{AFFINITY}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key"
        ]),
        ({"forbid_node_selector": {"gpu": "big"}}, affinity({**GPU, "operator": "NotIn"}), []),
        ({"forbid_node_selector": {"gpu": "small"}}, affinity(GPU), []),
        ({"forbid_node_selector": {"gpu": "*"}}, affinity(NAMED, by="matchFields"), [
            f"{AFFINITY}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].key"
        ]),
        ({"forbid_node_selector": {"gpu": "*"}}, affinity(NAMED, by="matchFields", hard=False), [
            f"{AFFINITY}.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchFields[0].key"
        ]),
        ({"require_node_selector": {}}, affinity(NAMED, by="matchFields"), []),
    ],
)  # fmt: skip
def test_each_kind_of_rule_finds_what_breaks_it_and_nothing_else(
    rules: dict[str, Any], pod: dict[str, Any], paths: list[str]
) -> None:
    assert broken(pod, **rules) == paths


def test_a_policy_holds_for_its_own_namespaces_only() -> None:
    pod = with_spec(hostNetwork=True)
    for namespace, paths in (("team-a", ["spec.hostNetwork"]), ("tasks", [])):
        assert broken(pod, namespace, namespace=("team-*", "other"), host_network="forbid") == paths


@pytest.mark.parametrize(
    ("image", "registry", "allowed"),
    [
        ("r.example/team/a:1", "r.example/team", True),
        ("r.example/team:1", "r.example/team", True),
        ("r.example/team@sha256:0", "r.example/team/", True),
        ("r.example/team-evil/a", "r.example/team", False),
        ("r.example.evil/a", "r.example", False),
        ("r.example:5000/a", "r.example", False),
        ("r.example:5000/a", "r.example:5000", True),
        ("python:3", "docker.io", True),
        ("python", "docker.io/library", True),
        ("team/a", "docker.io/team", True),
        ("team/a", "docker.io/library", False),
        ("r.example", "r.example", False),
        ("localhost/a", "docker.io", False),
        ("EVIL/x", "docker.io", False),
        ("EVIL/x", "EVIL", True),
    ],
)
def test_a_registry_is_compared_by_whole_parts_of_the_name_that_is_pulled(
    image: str, registry: str, allowed: bool
) -> None:
    assert image_allowed(image, [registry]) is allowed


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("/data", True),
        ("/data/", True),
        ("//data/x", True),
        ("/data/x/../y", True),
        ("/database", False),
        ("/data/..", False),
        ("/", False),
        ("/data/../../etc", False),
    ],
)
def test_a_path_is_below_another_by_what_it_leads_to(path: str, below: bool) -> None:
    assert has_prefix(path, "/data") is below
    assert has_prefix(path, "/")


def built(override: dict[str, Any], *policies: PodPolicy, mutate: Any = None) -> dict[str, Any]:
    options = BuildOptions(image="r.example/a:1", namespace="tasks", policies=policies)
    given = workload(executor_config={"pod_override": override})
    return build_pod(given, layers_of(given, default_template(), no_files), options, mutate).pod


def test_all_that_is_wrong_is_told_at_once_with_field_layer_policy_and_what_to_do() -> None:
    def mount(pod: dict[str, Any]) -> Mutation:
        after = copy.deepcopy(pod)
        after["spec"]["volumes"].append({"name": "v", "hostPath": {"path": "/etc"}})
        return Mutation(before=pod, after=after)

    strict = PodPolicy(name="baseline", host_network="forbid", host_paths=())
    sized = PodPolicy(name="sized", require_limits=("memory",))
    elsewhere = PodPolicy(name="elsewhere", namespace=("team-*",), require_labels={"team": "*"})
    with pytest.raises(PolicyViolation) as refused:
        built({"spec": {"hostNetwork": True}}, strict, sized, elsewhere, mutate=mount)
    assert refused.value.message == (
        "The pod is not allowed in namespace tasks: "
        "spec.hostNetwork is true (set by task), and it may only be false (policy baseline); "
        "spec.volumes[1].hostPath.path is /etc (set by mutation hook), and no hostPath is allowed (policy baseline); "
        "spec.containers[0].resources.limits.memory is not set, and every container must set its limits (policy sized)."
    )
    assert refused.value.hint == (
        "Remove hostNetwork. Use another kind of volume. Set resources.limits.memory. "
        "Or ask who runs execplane to change the policy baseline, sized (kubernetes.policies)."
    )


def test_a_message_stays_readable_however_much_is_wrong() -> None:
    labels = {f"label-{number}": "x" * 63 for number in range(500)}
    with pytest.raises(PolicyViolation) as refused:
        built({"metadata": {"labels": labels}}, PodPolicy(name="p", forbid_labels={"label-*": "*"}))
    assert "; and 480 more" in refused.value.message
    assert len(refused.value.message) < 5000


def test_a_pod_built_from_memory_is_checked_by_its_own_labels() -> None:
    policy = PodPolicy(name="p", require_labels={"dag_id": "sales_*"})
    builder = PodBuilder(BuildOptions(image="r.example/a:1", policies=(policy,)))
    for dag_id, allowed in (("sales_a", True), ("sales_b", True), ("hr", False)):
        one = workload(dag_id=dag_id)
        if allowed:
            builder.build(one, layers_of(one, default_template(), no_files))
        else:
            with pytest.raises(PolicyViolation, match="dag_id is hr"):
                builder.build(one, layers_of(one, default_template(), no_files))


STRICT = PodPolicy(
    name="strict",
    privileged="forbid",
    privilege_escalation="forbid",
    host_network="forbid",
    host_pid="forbid",
    host_ipc="forbid",
    init_containers="forbid",
    host_paths=("/data",),
    image_registries=("r.example",),
    service_accounts=("default",),
    capabilities=(),
    require_requests=("cpu",),
    max_resources={"cpu": "1"},
    require_labels={"team": "data"},
    forbid_node_selector={"gpu": "*"},
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


WISHES = st.booleans() | st.none()
CONTAINER = some(
    image=st.sampled_from(["r.example/b:1", "evil.example/b", "python:3"]),
    securityContext=some(
        privileged=WISHES,
        allowPrivilegeEscalation=WISHES,
        capabilities=some(add=st.lists(st.sampled_from(["SYS_ADMIN", "NET_RAW"]), max_size=1)),
    ),
    resources=some(
        limits=some(cpu=st.sampled_from(["500m", "2", 1])), requests=some(cpu=st.sampled_from(["100m", "1001m"]))
    ),
)
PODS = some(
    metadata=some(labels=some(team=st.sampled_from(["data", "other"]))),
    spec=some(
        hostNetwork=WISHES,
        hostPID=WISHES,
        hostIPC=WISHES,
        nodeName=st.sampled_from(["n"]) | st.none(),
        nodeSelector=some(gpu=st.just("x"), disk=st.just("ssd")),
        serviceAccountName=st.sampled_from(["default", "root"]),
        volumes=st.lists(
            st.sampled_from(["/data/a", "/etc"]).map(lambda path: {"name": path[1:2], "hostPath": {"path": path}}),
            max_size=1,
        ),
        initContainers=st.lists(CONTAINER.map(lambda one: {"name": "i", **one}), max_size=1),
        containers=st.lists(
            st.tuples(st.sampled_from(["base", "side"]), CONTAINER).map(lambda one: {"name": one[0], **one[1]}),
            max_size=2,
            unique_by=lambda one: str(one["name"]),
        ),
    ),
)
GOOD: dict[str, Any] = {
    "metadata": {"labels": {"team": "data"}},
    "spec": {"containers": [{"name": "base", "image": "r.example/b:1"}]},
}


@settings(deadline=None)
@given(dag=st.just(GOOD) | PODS, task=st.just({}) | PODS, hooked=st.just({}) | PODS)
def test_a_pod_that_passes_has_nothing_that_is_forbidden_whichever_layer_made_it(
    dag: dict[str, Any], task: dict[str, Any], hooked: dict[str, Any]
) -> None:
    def mutate(pod: dict[str, Any]) -> Mutation:
        after = copy.deepcopy(pod)
        for part in ("metadata", "spec"):
            after[part].update(copy.deepcopy(hooked.get(part) or {}))
        return Mutation(before=pod, after=after)

    options = BuildOptions(image="r.example/a:1", policies=(STRICT,))
    given = workload(dag_executor_config={"pod_override": dag}, executor_config={"pod_override": task})
    try:
        pod = build_pod(given, layers_of(given, default_template(), no_files), options, mutate).pod
    except InvalidInput:
        return
    event("passed")
    spec = pod["spec"]
    for name in ("hostNetwork", "hostPID", "hostIPC", "nodeName", "initContainers"):
        assert not spec.get(name)
    assert "gpu" not in (spec.get("nodeSelector") or {})
    assert spec.get("serviceAccountName") in (None, "default")
    assert pod["metadata"]["labels"]["team"] == "data"
    assert all(one["hostPath"]["path"].startswith("/data/") for one in spec["volumes"] if "hostPath" in one)
    for container in spec["containers"]:
        security, resources = container.get("securityContext") or {}, container.get("resources") or {}
        assert not security.get("privileged")
        assert security["allowPrivilegeEscalation"] is False
        assert not (security.get("capabilities") or {}).get("add")
        assert container["image"].startswith("r.example/")
        cpus = [(resources.get(kind) or {}).get("cpu") for kind in ("limits", "requests")]
        assert any(cpu is not None for cpu in cpus)
        assert {cpu for cpu in cpus if cpu is not None} <= {"500m", "100m", 1}


def test_the_property_above_sees_pods_that_pass() -> None:
    team = {"metadata": {"labels": {"team": "data"}}}
    assert built(team, STRICT)["metadata"]["labels"]["team"] == "data"
