"""Workloads and strategies for tests of pods."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.workload import Workload


def workload(**more: Any) -> Workload:
    task: dict[str, Any] = {
        "dag_id": "my_dag",
        "run_id": "manual__2026-01-01T00:00:00+00:00",
        "task_id": "load",
        "map_index": -1,
    }
    for name in list(task):
        if name in more:
            task[name] = more.pop(name)
    fields: dict[str, Any] = {
        "attempt_id": 7,
        "key": AttemptKey(task=TaskKey(**task), attempt_no=more.pop("attempt_no", 2)),
        "try_number": 1,
        "deployment_id": "dep",
        "incarnation": 3,
        "api_url": "http://execplane.example:8080",
        "dag_file": "dags/a.py",
        "bundle": "ab" * 32,
    }
    return Workload(**{**fields, **more})


NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from(["", "x", "y"]))
TEXT = st.sampled_from(["", "x", "y"])
MAPS = st.dictionaries(NAMES, st.one_of(st.none(), TEXT), max_size=3)


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


ENV = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"value": TEXT}), max_size=3, unique_by=lambda item: item["name"]
)
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["base", "side"])},
        optional={
            "image": TEXT,
            "env": ENV,
            "envFrom": st.lists(st.fixed_dictionaries({"prefix": NAMES}), max_size=2),
            "args": st.lists(NAMES, max_size=2),
            "resources": st.one_of(st.none(), _some(limits=MAPS, requests=MAPS)),
            "stdin": st.one_of(st.none(), st.booleans()),
            "volumeMounts": st.lists(
                st.fixed_dictionaries({"mountPath": NAMES, "name": NAMES}),
                max_size=2,
                unique_by=lambda item: item["mountPath"],
            ),
        },
    ),
    max_size=2,
    unique_by=lambda item: item["name"],
)
VOLUMES: st.SearchStrategy[list[Any]] = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"emptyDir": st.just({}), "hostPath": _some(path=NAMES)}),
    max_size=3,
    unique_by=lambda item: str(item["name"]),
)
PODS = _some(
    metadata=_some(labels=MAPS, annotations=MAPS, namespace=st.one_of(st.none(), TEXT)),
    spec=_some(
        containers=CONTAINERS,
        initContainers=CONTAINERS,
        volumes=VOLUMES,
        nodeSelector=st.one_of(st.none(), MAPS),
        tolerations=st.lists(_some(key=NAMES), max_size=2),
        hostNetwork=st.one_of(st.none(), st.booleans()),
        terminationGracePeriodSeconds=st.one_of(st.none(), st.integers(0, 2)),
    ),
)
