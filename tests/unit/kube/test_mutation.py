"""The operators' hooks: found by name, called with a V1Pod, their difference exact."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client as library

from execplane.contract.errors import ConfigError, InvalidInput
from execplane.kube.mutation import FoundHook, Hook, find_hooks, run_hooks
from execplane.kube.mutation_places import any_place, config_folders

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
HOOK = "def pod_mutation_hook(pod):\n    pod.metadata.labels['by'] = pod.metadata.labels.get('by', '') + '{by}'\n"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("execplane_local", "airflow", "plugin_of_")):
            sys.modules.pop(name)


def package(folder: Path, name: str, *entry_points: tuple[str, str, str]) -> None:
    """An installed package with entry points (group, name, value)."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{key} = {to}\n" for group, key, to in entry_points))


def run(hook: Hook, pod: dict[str, Any] = POD) -> tuple[dict[str, Any], dict[str, Any]]:
    return run_hooks([FoundHook(name="hook", call=hook)], pod)


def test_without_a_settings_module_there_is_no_hook(settings: Path) -> None:
    assert (find_hooks(), any_place([])) == ([], False)


@pytest.mark.parametrize("module", ["airflow_local_settings", "execplane_local_settings"])
def test_the_hook_is_found_in_airflows_place_and_in_ours(settings: Path, module: str) -> None:
    (settings / f"{module}.py").write_text(HOOK.format(by="me"))
    assert any_place([])
    (hook,) = find_hooks()
    before, after = run_hooks([hook], POD)
    assert before["metadata"]["labels"] == {"dag_id": "d"}
    assert after["metadata"]["labels"] == {"dag_id": "d", "by": "me"}


def test_the_config_folder_of_either_home_is_looked_in_after_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    folders = config_folders(str(tmp_path / "ours"))
    assert folders == (str(tmp_path / "ours" / "config"), str(tmp_path / "airflow" / "config"))
    assert not any_place(folders)
    (tmp_path / "airflow" / "config").mkdir(parents=True)
    (tmp_path / "airflow" / "config" / "airflow_local_settings.py").touch()
    assert any_place(folders)


def test_a_settings_module_without_a_hook_is_passed_over(settings: Path) -> None:
    (settings / "execplane_local_settings.py").write_text("x = 1\n")
    (settings / "airflow_local_settings.py").write_text("def pod_mutation_hook(pod): ...\n")
    assert [hook.name for hook in find_hooks()] == ["airflow_local_settings.pod_mutation_hook"]


def test_a_settings_module_that_cannot_be_imported_is_named_with_its_line(settings: Path) -> None:
    (settings / "airflow_local_settings.py").write_text("\nimport no_such_module\n")
    with pytest.raises(ConfigError, match=r"no_such_module.*airflow_local_settings.py:2"):
        find_hooks()


def test_a_settings_module_that_ends_python_is_an_error_like_another(settings: Path) -> None:
    (settings / "airflow_local_settings.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(ConfigError, match=r"SystemExit: 3.*airflow_local_settings.py:1"):
        find_hooks()


def test_what_needs_airflow_itself_is_told_that_it_is_not_installed(settings: Path) -> None:
    (settings / "airflow_local_settings.py").write_text("from airflow.models import BaseOperator\n")
    with pytest.raises(ConfigError) as error:
        find_hooks()
    assert "TYPE_CHECKING" in error.value.hint


def test_hooks_of_entry_points_run_after_the_local_settings_ours_before_airflows(settings: Path) -> None:
    (settings / "airflow_local_settings.py").write_text(HOOK.format(by="1"))
    (settings / "plugin_of_ours.py").write_text(
        f"{HOOK.format(by='2')}def last(pod):\n    pod.metadata.labels['by'] += '3'\n"
    )
    (settings / "plugin_of_airflow.py").write_text(
        f"from airflow.policies import hookimpl\n\n@hookimpl(trylast=True)\n{HOOK.format(by='4')}\n"
        "@hookimpl\ndef task_policy(task): ...\n"
    )
    package(
        settings,
        "one",
        ("airflow.policy", "a", "plugin_of_airflow"),
        ("execplane.pod_mutation_hook", "z", "plugin_of_ours:last"),
    )
    package(settings, "two", ("execplane.pod_mutation_hook", "b", "plugin_of_ours:pod_mutation_hook"))
    hooks = find_hooks()
    assert run_hooks(hooks, POD)[1]["metadata"]["labels"]["by"] == "1234"
    assert hooks[1].name == "entry point b (execplane.pod_mutation_hook): plugin_of_ours:pod_mutation_hook"


def test_a_function_that_is_found_twice_runs_once(settings: Path) -> None:
    (settings / "plugin_of_ours.py").write_text(HOOK.format(by="x"))
    (settings / "airflow_local_settings.py").write_text("from plugin_of_ours import pod_mutation_hook\n")
    package(
        settings,
        "one",
        ("execplane.pod_mutation_hook", "a", "plugin_of_ours:pod_mutation_hook"),
        ("airflow.policy", "a", "plugin_of_ours"),
    )
    assert run_hooks(find_hooks(), POD)[1]["metadata"]["labels"]["by"] == "x"


def test_a_hook_that_does_nothing_makes_no_difference_although_the_model_drops_fields() -> None:
    before, after = run(lambda pod: None)
    assert before == after
    assert "futureField" not in before["spec"]
    assert before["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}
    assert before["spec"]["terminationGracePeriodSeconds"] == 30


def test_a_hook_may_return_another_pod() -> None:
    def other(pod: library.V1Pod) -> library.V1Pod:
        return library.V1Pod(metadata=library.V1ObjectMeta(name="other"))

    assert run(other)[1] == {"metadata": {"name": "other"}}


@pytest.mark.parametrize(
    ("line", "said"), [("return pod.nothing", "AttributeError"), ("raise SystemExit(1)", "SystemExit: 1")]
)
def test_a_hook_that_raises_is_named_with_its_line(settings: Path, line: str, said: str) -> None:
    (settings / "airflow_local_settings.py").write_text(f"def pod_mutation_hook(pod):\n    {line}\n")
    with pytest.raises(InvalidInput, match=rf"pod_mutation_hook raised {said}.*airflow_local_settings.py:2"):
        run_hooks(find_hooks(), POD)
