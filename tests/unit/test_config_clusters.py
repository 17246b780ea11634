"""Rules for pods and further clusters: as they are written, and what each executor is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from execplane import compose_executors
from execplane.cli.settings import _shown, _type
from execplane.compose import Deployment
from execplane.config import Config, keys, load
from execplane.config_kubernetes import Cluster, Kubernetes
from execplane.contract.errors import ConfigError, Unavailable
from execplane.executors.kubernetes import KubernetesExecutor
from execplane.pods.rules import PodRule
from execplane.pods.surroundings import Wanted
from tests.conftest import TestClock

FILE = """
executor = "kubernetes"
queue_executors = { gpu = "gpu" }

[kubernetes]
kubeconfig = "/main"
context = "main"
namespace = "tasks"
namespaces = ["shared"]
api_url = "http://inside:8080"
slots = 100

[[kubernetes.rules]]
name = "team-a"
tag = "team-a"
namespace = "team-a"
service_account = "robot"
binding = true

[[kubernetes.rules]]
dag_id = ["ml_*", "vision_*"]
pod_template_file = "/ml.yaml"
final = false

[clusters.gpu]
kubeconfig = "/gpu"
namespace = "jobs"
slots = 8
api_url = "https://outside"
worker_source = "image"
worker_dags_folder = "/dags"
rules = []

[clusters.near]
namespace = "near"
"""


def deployment(tmp_path: Path, text: str = FILE) -> Deployment:
    file = tmp_path / "execplane.toml"
    file.write_text(text)
    made = Deployment(load({"EXECPLANE_HOME": str(tmp_path)}, file), TestClock())
    made.__dict__["identity"] = ("dep", 1)
    return made


def test_rules_reach_their_executor_and_their_namespaces_are_watched(tmp_path: Path) -> None:
    options = deployment(tmp_path).kubernetes_options()
    assert options.rules == (
        PodRule(
            number=1,
            name="team-a",
            tag=("team-a",),
            namespace="team-a",
            service_account="robot",
            binding=True,
        ),
        PodRule(number=2, dag_id=("ml_*", "vision_*"), pod_template_file="/ml.yaml", final=False),
    )
    assert options.all_namespaces == ("tasks", "shared", "team-a")


def test_rules_and_clusters_are_one_json_value_each_in_the_environment() -> None:
    rules: list[dict[str, Any]] = [
        {
            "owner": "a",
            "namespace": "x",
            "service_account": "robot.v2",
            "labels": {"cost": "a", "example.com/Team_1": ""},
            "annotations": {"example.com/note": "any text at all"},
        }
    ]
    config = load(
        {
            "EXECPLANE_KUBERNETES__RULES": json.dumps(rules),
            "EXECPLANE_KUBERNETES__NAMESPACES": "x, y",
            "EXECPLANE_CLUSTERS": json.dumps({"gpu": {"slots": 0}}),
            "EXECPLANE_EXECUTORS": "gpu",
        }
    )
    assert config.kubernetes.rules[0].owner == ("a",)
    assert config.kubernetes.namespaces == ["x", "y"]
    assert _shown(config.kubernetes.rules, False) == [{**rules[0], "owner": ["a"]}]
    # What is set to its default is set: here it lifts a limit of `kubernetes`.
    assert _shown(config.clusters, False) == {"gpu": {"slots": 0}}
    fields = dict(keys())
    assert _type(fields["kubernetes.rules"].annotation) == "list[PodRule]"
    assert _type(fields["clusters"].annotation) == "dict[str, Cluster]"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"namespace": "x"}, "it names none of dag_id, task_id, tag, owner, queue, pool"),
        ({"tag": "x"}, "it sets none of namespace, service_account"),
        ({"tag": "x", "namespace": "Team_A"}, "namespace: 'Team_A' is not a namespace's name"),
        ({"tag": "x", "service_account": "Robot_1"}, "service_account: 'Robot_1' is not a service account's name"),
        ({"tag": "x", "labels": {"team/": "a"}}, "labels: 'team/' is not a key: at most 63 of"),
        ({"tag": "x", "labels": {"Team_A/x": "a"}}, "labels: 'Team_A/x' is not a key"),
        ({"tag": "x", "labels": {"team": "data science"}}, "'data science' of team is not a label's value"),
        ({"tag": "x", "labels": {"team": "x" * 64}}, "of team is not a label's value: at most 63"),
        ({"tag": "x", "annotations": {"a b": "x"}}, "annotations: 'a b' is not a key"),
        ({"tag": "x", "namespce": "y"}, "namespce: Extra inputs are not permitted"),
    ],
)
def test_a_rule_that_is_not_valid_stops_the_start_and_is_named(rule: dict[str, object], said: str) -> None:
    good = {"tag": "x", "namespace": "x"}
    with pytest.raises(ConfigError) as refused:
        load({"EXECPLANE_KUBERNETES__RULES": json.dumps([good, rule])})
    assert "The setting kubernetes.rules (EXECPLANE_KUBERNETES__RULES) is not valid: entry 2" in refused.value.message
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("clusters", "said"),
    [
        ({"gpu": {"slots": -1}}, "gpu, slots: Input should be greater than or equal to 0"),
        ({"gpu": {"rules": [{"tag": "x"}]}}, "gpu, rules, entry 1: it sets none of"),
        ({"gpu": {"flight_record_days": 3}}, "set kubernetes.flight_record_days"),
        ({"local": {}}, "'local' is an executor of its own"),
        ({"GPU": {}}, "'GPU' is not made of a-z"),
    ],
)
def test_a_cluster_that_is_not_valid_stops_the_start_and_is_named(clusters: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load({"EXECPLANE_CLUSTERS": json.dumps(clusters)})
    assert "The setting clusters (EXECPLANE_CLUSTERS) is not valid: " in refused.value.message
    assert said in refused.value.message
    assert "config explain clusters" in refused.value.hint


def test_an_executor_that_neither_is_built_in_nor_a_cluster_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"there is no executor 'gpv'\. Did you mean gpu\?"):
        load({"EXECPLANE_CLUSTERS": '{"gpu": {}}', "EXECPLANE_EXECUTOR": "gpv"})


def test_every_cluster_is_an_executor_with_a_driver_of_its_own(tmp_path: Path) -> None:
    made = deployment(tmp_path, FILE.replace("/gpu", str(leading_nowhere(tmp_path))))
    assert made.config.all_executors == ("kubernetes", "gpu", "near")
    executor = made.executor("gpu")
    assert isinstance(executor, KubernetesExecutor)
    try:
        assert (executor.name, executor.cluster, executor.slots()) == ("gpu", "gpu", 8)
        # Two executors may share a namespace: each watches its own pods.
        assert executor._selector == "execplane.io/deployment=dep,execplane.io/cluster=gpu"
    finally:
        executor.close()
    with pytest.raises(ConfigError, match="There is no executor 'far'") as refused:
        made.executor("far")
    assert refused.value.hint == "Use one of local, sequential, kubernetes, gpu, near."


def test_each_executors_cluster_is_asked_about_its_own_workers_and_pods(tmp_path: Path) -> None:
    made = deployment(tmp_path, FILE.replace("/gpu", str(leading_nowhere(tmp_path))))
    token = jwt.encode({}, "x" * 32, algorithm="HS256", headers={"kid": "one"})
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        compose_executors._token_verifier(made, "gpu")(token)
    # A worker asks again: the file may be there by then.
    with pytest.raises(Unavailable, match="/main"):
        compose_executors._token_verifier(made, "kubernetes")(token)
    around = compose_executors.looks(made)["gpu"](Wanted(namespace="jobs", name="x", uid="u", known=b"{}"))
    assert "127.0.0.1:9" in around.unread[0].why


def test_a_cluster_that_cannot_be_asked_at_all_is_tried_again_after_a_while_and_not_for_each_worker(
    tmp_path: Path,
) -> None:
    made = deployment(tmp_path, FILE.replace("/gpu", str(tmp_path / "kubeconfig")))
    token = jwt.encode({}, "x" * 32, algorithm="HS256", headers={"kid": "one"})
    identify = compose_executors._token_verifier(made, "gpu")
    with pytest.raises(Unavailable, match="No usable Kubernetes configuration"):
        identify(token)
    leading_nowhere(tmp_path)
    with pytest.raises(Unavailable, match="No usable Kubernetes configuration"):
        identify(token)
    assert isinstance(made.clock, TestClock)
    made.clock.advance(5)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        identify(token)


def leading_nowhere(folder: Path) -> Path:
    """A kubeconfig that can be read, with no API server behind it."""
    file = folder / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "gone", "cluster": {"server": "http://127.0.0.1:9"}}],
                "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "me"}}],
                "users": [{"name": "me", "user": {"token": "t"}}],
                "current-context": "gone",
            }
        )
    )
    return file


def test_a_cluster_is_as_kubernetes_but_for_what_it_says(tmp_path: Path) -> None:
    made = deployment(tmp_path)
    main, gpu, near = (made.kubernetes_options(name) for name in ("kubernetes", "gpu", "near"))
    assert [(one.name, one.cluster, one.namespace, one.slots) for one in (main, gpu, near)] == [
        ("kubernetes", "", "tasks", 100),
        ("gpu", "gpu", "jobs", 8),
        ("near", "near", "near", 100),
    ]
    assert [one.rules for one in (gpu, near)] == [(), main.rules]
    assert [(one.kube.kubeconfig, one.kube.context) for one in (main, gpu, near)] == [
        ("/main", "main"),
        ("/gpu", ""),
        ("/main", "main"),
    ]
    assert [made.deployed(name).api_url for name in ("kubernetes", "gpu")] == ["http://inside:8080", "https://outside"]
    assert [made.deployed(name).source for name in ("kubernetes", "gpu")] == ["bundle", "image"]
    assert made.worker_policy.sources == {
        "kubernetes": ("bundle", ""),
        "gpu": ("image", "/dags"),
        "near": ("bundle", ""),
    }
    assert made.why_pending._options.slots == {"kubernetes": 100, "gpu": 8, "near": 100}
    assert set(made.why_pending._looks) == {"kubernetes", "gpu", "near"}


MAIN: dict[str, Any] = {
    "kubeconfig": "/main",
    "in_cluster": None,
    "ssl_ca_cert": "/ca",
    "verify_ssl": False,
    "proxy": "http://proxy:3128",
}


@pytest.mark.parametrize(
    ("own", "reached"),
    [
        ({"namespace": "x"}, ("/main", "", None, "/ca", False, "http://proxy:3128")),
        ({"context": "gpu"}, ("/main", "gpu", False, "", None, "")),
        ({"kubeconfig": "/gpu"}, ("/gpu", "", False, "", None, "")),
        ({"kubeconfig": "/gpu", "ssl_ca_cert": "/other"}, ("/gpu", "", False, "/other", None, "")),
        ({"in_cluster": True, "kubeconfig": None}, (None, "", True, "/ca", False, "http://proxy:3128")),
    ],
)
def test_another_api_server_takes_over_nothing_of_how_the_first_one_is_reached(
    own: dict[str, Any], reached: tuple[Any, ...]
) -> None:
    config = load({"EXECPLANE_CLUSTERS": json.dumps({"gpu": own})}).model_copy(
        update={"kubernetes": Kubernetes.model_validate(MAIN)}
    )
    found = config.kubernetes_of("gpu")
    assert reached == (
        str(found.kubeconfig) if found.kubeconfig else None,
        found.context,
        found.in_cluster,
        str(found.ssl_ca_cert or ""),
        found.verify_ssl,
        found.proxy.get_secret_value(),
    )


def test_every_setting_of_kubernetes_is_a_clusters_too_or_refused_there() -> None:
    config = Config(clusters={"gpu": Cluster()})
    refused = set()
    for name in Kubernetes.model_fields:
        try:
            Cluster.model_validate({name: getattr(config.kubernetes, name)})
        except ValueError:
            refused.add(name)
    assert refused == {"flight_record_days", "hold_most_seconds", "hold_most_containers"}
