"""A build without the fence does what the judge is there to find; with it, the same misfortune costs one attempt."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.chaos.fleet import Fleet, fleet
from tests.chaos.judge import created_pods, judge
from tests.chaos.test_storm import audit, start_of
from tests.cluster.kube_proxy import kube_proxy
from tests.conformance.recorder import Recorder, Visit
from tests.parts.eventually import eventually
from tests.parts.kubernetes.cluster import Cluster
from tests.parts.postgres import Postgres


@contextmanager
def afloat(
    folder: Path, cluster: Cluster, image: str, namespace: str, postgres: Postgres, broken_build: str
) -> Iterator[Fleet]:
    url = postgres.create_database(f"chaos_{secrets.token_hex(4)}")
    with (
        Recorder() as recorder,
        kube_proxy(cluster) as proxy,
        fleet(
            folder,
            cluster,
            namespace,
            image,
            proxy,
            recorder,
            url,
            broken_build=broken_build,
            # What is held up below must not be given up meanwhile.
            kubernetes__request_timeout_seconds="60",
            worker__self_fence_seconds="5",
        ) as one,
    ):
        yield one


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broken_build", ["", "without_the_fence"])
def test_a_pod_made_twice_for_one_attempt_starts_it_once(
    tmp_path: Path, own_cluster: Cluster, worker_image: str, namespace: str, postgres: Postgres, broken_build: str
) -> None:
    """The answer to its create is lost; its worker begins; somebody deletes it by force; and the executor, which finds
    nothing, posts the very same pod again."""
    with afloat(tmp_path, own_cluster, worker_image, namespace, postgres, broken_build) as one:
        one.proxy.next(r"^POST /api/v1/namespaces/[^/]+/pods", "lose_answer")
        one.proxy.next(r"^GET /api/v1/namespaces/[^/]+/pods", "hold", times=1000)
        one.proxy.cut()
        one.trigger("lone", "lone")
        first = visited(one, 1)
        own_cluster.kubectl(
            "delete", "pod", first.who.split()[0], f"--namespace={namespace}", "--grace-period=0", "--force"
        )
        one.proxy.heal()
        eventually(lambda: ended(one), 120, on_failure=one.evidence, interval_seconds=0.2)
        starts = [start_of(visit) for visit in one.recorder.visits_of_run("lone")]
        created = created_pods(audit(own_cluster), namespace)
        assert created.count(starts[0].pod) == 2, "the misfortune did not happen"
        found = judge(starts, [], created)
        assert any("was started 2 times" in sentence for sentence in found) == bool(broken_build), found


def ended(one: Fleet) -> bool:
    """Whether the run has; whoever lives by now, but for the first, may go on."""
    for visit in one.recorder.visits_of_run("lone")[1:]:
        with suppress(OSError):
            visit.release()
    return one.runs()["lone"] in ("success", "failed")


def visited(one: Fleet, number: int) -> Visit:
    def found() -> Visit | None:
        visits = one.recorder.visits_of_run("lone")
        return visits[number - 1] if len(visits) >= number else None

    return eventually(found, 120, on_failure=one.evidence)
