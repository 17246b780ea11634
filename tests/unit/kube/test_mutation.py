"""The operator's hook: found by name, called with a V1Pod, its difference exact."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client as library

from execplane.contract.errors import ConfigError, InvalidInput
from execplane.kube.mutation import find_hook, run_hook

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "a", "labels": {"dag_id": "d"}},
    "spec": {
        "futureField": 1,
        "overhead": {"cpu": 1},
        "containers": [{"name": "base", "image": "i", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": 1}}],
        "terminationGracePeriodSeconds": 30,
    },
}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("execplane_local_settings", "airflow_local_settings"):
        sys.modules.pop(name, None)


def test_without_a_settings_module_there_is_no_hook(settings: Path) -> None:
    assert find_hook() is None


@pytest.mark.parametrize("module", ["airflow_local_settings", "execplane_local_settings"])
def test_the_hook_is_found_in_airflows_place_and_in_ours(settings: Path, module: str) -> None:
    (settings / f"{module}.py").write_text("def pod_mutation_hook(pod):\n    pod.metadata.labels['a'] = 'b'\n")
    hook = find_hook()
    assert hook is not None
    before, after = run_hook(hook, POD)
    assert before["metadata"]["labels"] == {"dag_id": "d"}
    assert after["metadata"]["labels"] == {"dag_id": "d", "a": "b"}


def test_a_settings_module_without_a_hook_is_passed_over(settings: Path) -> None:
    (settings / "execplane_local_settings.py").write_text("x = 1\n")
    (settings / "airflow_local_settings.py").write_text("def pod_mutation_hook(pod): ...\n")
    assert find_hook() is not None


def test_a_settings_module_that_cannot_be_imported_stops_the_start(settings: Path) -> None:
    (settings / "airflow_local_settings.py").write_text("\nimport no_such_module\n")
    with pytest.raises(ConfigError, match=r"no_such_module.*airflow_local_settings.py:2"):
        find_hook()


def test_a_hook_that_does_nothing_makes_no_difference_although_the_model_drops_fields() -> None:
    before, after = run_hook(lambda pod: None, POD)
    assert before == after
    assert "futureField" not in before["spec"]
    assert before["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}
    assert before["spec"]["terminationGracePeriodSeconds"] == 30


def test_a_hook_may_return_another_pod() -> None:
    def other(pod: library.V1Pod) -> library.V1Pod:
        return library.V1Pod(metadata=library.V1ObjectMeta(name="other"))

    assert run_hook(other, POD)[1] == {"metadata": {"name": "other"}}


def test_a_hook_that_raises_is_named_with_its_line(settings: Path) -> None:
    (settings / "airflow_local_settings.py").write_text("def pod_mutation_hook(pod):\n    return pod.nothing\n")
    hook = find_hook()
    assert hook is not None
    with pytest.raises(InvalidInput, match=r"AttributeError.*airflow_local_settings.py:2"):
        run_hook(hook, POD)
