"""`python -m tests.parts.kubernetes.record_statuses`: what pods look like when things go wrong, from a real cluster.

Makes every situation of `situations` on a cluster of its own (root; two minutes) and writes the pod at the telling
moment with its events, or the API server's refusal, to tests/unit/pods/captured/SERVER-VERSION/SITUATION.json. The unit
tests read them, so what is said of a pod is tested against what Kubernetes writes, not against what we believe.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.parts.eventually import eventually
from tests.parts.kubernetes import situations
from tests.parts.kubernetes.cluster import Cluster
from tests.parts.kubernetes.recording import Recording, admission_webhook
from tests.parts.kubernetes.situations import ENDS, REFUSED, UNDER_PRESSURE, WAITS, Situation

CAPTURED = Path(__file__).parents[2] / "unit" / "pods" / "captured"
NAMESPACE = "recorded"
PRESSURE = {"memory.available": "99%"}
_EVENT = ("type", "reason", "message", "count", "firstTimestamp", "lastTimestamp", "source")
_UNSAID = ("managedFields", "resourceVersion", "generation", "selfLink")
_FOLDER = re.compile(r"/tmp/execplane-[a-z]+-[a-z0-9_]+")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--to", type=Path, default=CAPTURED, help="folder; the server's version is added")
    with Cluster() as cluster:
        version = json.loads(cluster.kubectl("version", "--output=json"))["serverVersion"]["gitVersion"]
        folder = parser.parse_args().to / version
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        missing = 0
        for name, found in record(cluster):
            missing += found is None
            print(f"{name}: {'not seen' if found is None else 'recorded'}", flush=True)
            if found is not None:
                document = {"situation": name, "server_version": version, **found}
                (folder / f"{name}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    sys.exit(f"{missing} situations did not come about" if missing else 0)


def record(cluster: Cluster) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each situation's name and document; None: it did not come about."""
    prepare(cluster)
    with registry(cluster), Recording(cluster, NAMESPACE) as recording:
        yield from _observe(cluster, recording, {**WAITS, **ENDS})
        yield from _observe(
            cluster,
            recording,
            UNDER_PRESSURE,
            when_all_run=lambda: cluster.restart_kubelet(evictionHard=PRESSURE, evictionPressureTransitionPeriod="10s"),
        )
    with admission_webhook(cluster, deny="forbidden:1", namespace="watched", unreachable="unwatched"):
        for name, (namespace, refused) in REFUSED.items():
            status, body = cluster.post(f"/api/v1/namespaces/{namespace}/pods", _named(refused, name))
            yield name, None if status < 400 else {"status": status, "body": body}


def prepare(cluster: Cluster) -> None:
    """The namespaces, classes and fake nodes that the situations name."""
    for name in (NAMESPACE, "full", "watched", "unwatched", "restricted", "limited", "ordinary"):
        cluster.create_namespace(name)
    cluster.add_kwok_nodes(2)
    cluster.kubectl("label", "namespace", "restricted", "pod-security.kubernetes.io/enforce=restricted")
    cluster.kubectl("create", "configmap", "settings", "--from-literal=a=1", f"--namespace={NAMESPACE}")
    cluster.kubectl("create", "quota", "pods", "--hard=pods=0", "--namespace=full")
    cluster.create(
        *(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": name},
                "value": value,
            }
            for name, value in (("low", 1), ("high", 1000))
        ),
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "small", "namespace": "limited"},
            "spec": {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]},
        },
    )


@contextmanager
def registry(cluster: Cluster) -> Iterator[None]:
    """A registry on the node that has nothing, knows nobody, or has had enough, by the repository's first name."""
    program = Path(__file__).with_name("refusing_registry.py")
    cluster.supervisor.start("registry", [sys.executable, program, situations.REGISTRY.rpartition(":")[2]])
    try:
        yield
    finally:
        cluster.supervisor.stop("registry")


def _observe(
    cluster: Cluster,
    recording: Recording,
    wanted: Mapping[str, Situation],
    *,
    when_all_run: Callable[[], None] = lambda: None,
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """All of them at once: most of the time is waiting."""
    places = {name: name.replace("_", "-") for name in wanted}
    for name, situation in wanted.items():
        recording.look(places[name], situation.done)
    cluster.create(*(_named(situation.pod, places[name], NAMESPACE) for name, situation in wanted.items()))
    ready: set[str] = set()

    def all_seen() -> bool:
        for name, situation in wanted.items():
            if name not in ready and recording.ready(places[name]):
                ready.add(name)
                for number, other in enumerate(situation.others):
                    cluster.create(_named(other, f"{places[name]}-{number}", NAMESPACE))
                if situation.then is not None:
                    situation.then(cluster, f"{NAMESPACE}/{places[name]}")
                if len(ready) == len(wanted):
                    when_all_run()
        return all(recording.seen(place) is not None for place in places.values())

    try:
        eventually(all_seen, max(each.seconds for each in wanted.values()), interval_seconds=0.2)
    except AssertionError:
        print(cluster.dump(NAMESPACE), file=sys.stderr)
    for name, place in places.items():
        yield name, _document(cluster, recording.seen(place))


def _document(cluster: Cluster, seen: tuple[str, dict[str, Any]] | None) -> dict[str, Any] | None:
    if seen is None:
        return None
    kind, pod = seen
    selector = f"--field-selector=involvedObject.uid={pod['metadata']['uid']}"
    events = cluster.get("events", f"--namespace={NAMESPACE}", selector)["items"]
    metadata = {name: value for name, value in pod["metadata"].items() if name not in _UNSAID}
    told = [{name: event[name] for name in _EVENT if event.get(name)} for event in events]
    document = {"event": kind, "pod": {**pod, "metadata": metadata}, "events": told}
    text = _FOLDER.sub("/run/cluster", json.dumps(document))
    cleaned: dict[str, Any] = json.loads(text)
    return cleaned


def _named(pod: dict[str, Any], name: str, namespace: str = "") -> dict[str, Any]:
    metadata = {**pod["metadata"], "name": name.replace("_", "-"), **({"namespace": namespace} if namespace else {})}
    return {**pod, "metadata": metadata}


if __name__ == "__main__":
    main()
