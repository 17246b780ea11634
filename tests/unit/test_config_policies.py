"""Policies as the settings take them: from a file or as JSON, strict, and handed to whoever builds pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from execplane.compose import Deployment
from execplane.config import load
from execplane.contract.errors import ConfigError
from execplane.kube.mutation_process import HookOptions
from execplane.pods.policy import PodPolicy

FILE = """
[[kubernetes.policies]]
name = "baseline"
privileged = "forbid"
host_paths = []
image_registries = ["registry.example/team", "docker.io/library"]
max_resources = { cpu = "8", memory = "64Gi" }

[[kubernetes.policies]]
name = "team"
namespace = "team-*"
require_labels = { team = "*" }
"""
POLICIES = (
    PodPolicy(
        name="baseline",
        privileged="forbid",
        host_paths=(),
        image_registries=("registry.example/team", "docker.io/library"),
        max_resources={"cpu": "8", "memory": "64Gi"},
    ),
    PodPolicy(name="team", namespace=("team-*",), require_labels={"team": "*"}),
)


def test_policies_are_read_from_the_file_or_as_one_json_list_and_reach_the_executor(tmp_path: Path) -> None:
    file = tmp_path / "execplane.toml"
    file.write_text(FILE)
    from_file = load({}, file)
    text = json.dumps([policy.model_dump(exclude_defaults=True) for policy in from_file.kubernetes.policies])
    assert load({"EXECPLANE_KUBERNETES__POLICIES": text}).kubernetes.policies == from_file.kubernetes.policies
    deployment = Deployment(from_file)
    deployment.__dict__["identity"] = ("d", 1)
    assert deployment.kubernetes_options("kubernetes").policies == POLICIES


def test_what_is_set_about_mutation_hooks_reaches_their_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_HOME", raising=False)
    environ = {
        "EXECPLANE_HOME": str(tmp_path),
        "EXECPLANE_KUBERNETES__MUTATION_HOOK_TIMEOUT_SECONDS": "2.5",
        "EXECPLANE_KUBERNETES__MUTATION_HOOK_MEMORY_BYTES": "0",
    }
    deployment = Deployment(load(environ))
    deployment.__dict__["identity"] = ("d", 1)
    wanted = HookOptions(limit_seconds=2.5, memory_bytes=0, folders=(str(tmp_path / "config"),))
    assert deployment.kubernetes_options("kubernetes").hook == wanted


def test_a_limit_of_memory_under_which_no_hook_could_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="268435456"):
        load({"EXECPLANE_KUBERNETES__MUTATION_HOOK_MEMORY_BYTES": "1000"})


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"privileged": "forbid"}, "entry 2, name: Field required."),
        ({"name": "a"}, "entry 2: it forbids and requires nothing."),
        ({"name": "a", "privileged": "allow"}, "entry 2: it forbids and requires nothing."),
        ({"name": "A b", "privileged": "forbid"}, "entry 2, name: 'A b' is not made of"),
        ({"name": "a", "host_network": "no"}, "entry 2, host_network: Input should be 'allow', 'forbid' or 'require'."),
        ({"name": "a", "init_containers": "require"}, "entry 2, init_containers: Input should be 'allow' or 'forbid'."),
        ({"name": "a", "host_paths": ["data"]}, "'data' does not begin with /"),
        ({"name": "a", "image_registries": ["library"]}, "for Docker Hub write 'docker.io/library'"),
        ({"name": "a", "max_resources": {"cpu": "lots"}}, "'lots' of cpu is not a quantity"),
        ({"name": "a", "privileged": "forbid", "namespace": []}, "so it would hold nowhere"),
        ({"name": "a", "hostNetwork": "forbid"}, "entry 2, hostNetwork: Extra inputs are not permitted."),
    ],
)
def test_a_policy_that_is_not_valid_stops_the_start_and_is_named(policy: dict[str, Any], said: str) -> None:
    good = {"name": "good", "privileged": "forbid"}
    with pytest.raises(ConfigError) as refused:
        load({"EXECPLANE_KUBERNETES__POLICIES": json.dumps([good, policy])})
    assert "The setting kubernetes.policies (EXECPLANE_KUBERNETES__POLICIES) is not valid: " in refused.value.message
    assert said in refused.value.message
