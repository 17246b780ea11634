"""Misfortunes that cost nothing, or one attempt; and builds without a promise each, in which they do the harm that the
promise is there against. So the promises are kept by what keeps them, and not by luck."""

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
from tests.parts.kubernetes.cluster import Cluster, KubectlError
from tests.parts.postgres import Postgres

RUNNERS = ("runner-0", "runner-1")
POSTS = r"^POST /api/v1/namespaces/[^/]+/pods"
GETS = r"^GET /api/v1/namespaces/[^/]+/pods"
DELETES = r"^DELETE /api/v1/namespaces/[^/]+/pods"


@contextmanager
def afloat(
    folder: Path, cluster: Cluster, image: str, namespace: str, postgres: Postgres, build: str
) -> Iterator[Fleet]:
    url = postgres.create_database(f"chaos_{secrets.token_hex(4)}")
    # What is held up below must not be given up meanwhile.
    patience = {"kubernetes__request_timeout_seconds": "60", "worker__self_fence_seconds": "5"}
    with (
        Recorder() as recorder,
        kube_proxy(cluster) as proxy,
        fleet(folder, cluster, namespace, image, proxy, recorder, url, broken_build=build, **patience) as one,
    ):
        yield one


@pytest.mark.timeout(300)
@pytest.mark.parametrize("build", ["whole", "without_the_fence", "without_uid_preconditions", "intent_after_create"])
def test_each_promise_is_kept_by_what_keeps_it(
    tmp_path: Path, own_cluster: Cluster, worker_image: str, namespace: str, postgres: Postgres, build: str
) -> None:
    misfortunes = {
        "without_the_fence": a_pod_made_twice_starts_its_attempt_once,
        "without_uid_preconditions": a_late_delete_spares_another_pod_of_that_name,
        "intent_after_create": a_pod_is_in_the_ledger_before_it_is_made,
    }
    with afloat(tmp_path, own_cluster, worker_image, namespace, postgres, "" if build == "whole" else build) as one:
        for broken, misfortune in misfortunes.items():
            if build in ("whole", broken):
                assert misfortune(one) is (build == "whole")


def a_pod_made_twice_starts_its_attempt_once(one: Fleet) -> bool:
    """The answer to its create is lost; its worker begins; somebody deletes it by force; and the executor, which finds
    nothing, posts the very same pod again."""
    one.proxy.next(POSTS, "lose_answer")
    one.proxy.next(GETS, "hold", times=1000)
    one.proxy.cut()
    one.trigger("lone", "twice")
    first = visited(one, "twice")
    pod = first.who.split()[0]
    one.cluster.kubectl("delete", "pod", pod, f"--namespace={one.namespace}", "--grace-period=0", "--force")
    one.proxy.heal()
    succeeded(one, "twice", but=first)
    starts = [start_of(visit) for visit in one.recorder.visits_of_run("twice")]
    created = created_pods(audit(one.cluster), one.namespace)
    assert created.count(pod) == 2, "the misfortune did not happen"
    return judge(starts, [], created) == []


def a_late_delete_spares_another_pod_of_that_name(one: Fleet) -> bool:
    """The delete of a finished pod is under way for long; meanwhile somebody deletes the pod and makes another one."""
    one.proxy.next(DELETES, "hold", times=1000)
    one.trigger("lone", "late")
    pod = visited(one, "late").who.split()[0]
    succeeded(one, "late")
    eventually(lambda: one.proxy.held > 0, 60, on_failure=one.evidence)
    one.cluster.kubectl("delete", "pod", pod, f"--namespace={one.namespace}", "--grace-period=0", "--force")
    container = {"name": "sleeps", "image": Cluster.base_image, "command": ["sleep", "600"]}
    metadata = {"name": pod, "namespace": one.namespace}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    one.cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    one.proxy.heal()
    cleaned = "SELECT 1 FROM execplane_attempt WHERE pod_name = %s AND cleaned_at IS NOT NULL"
    eventually(lambda: one.query(cleaned, pod), 60, on_failure=one.evidence, interval_seconds=0.2)
    try:
        return "deletionTimestamp" not in one.cluster.get("pod", pod, f"--namespace={one.namespace}")["metadata"]
    except KubectlError:
        return False


def a_pod_is_in_the_ledger_before_it_is_made(one: Fleet) -> bool:
    """Both processes that drive are killed between a create and its answer: whose pod is it?"""
    one.proxy.next(POSTS, "lose_answer")
    one.proxy.next(GETS, "hold", times=1000)
    one.proxy.cut()
    before = {pod["metadata"]["name"] for pod in one.pods()}
    one.trigger("lone", "between")
    made = eventually(
        lambda: {pod["metadata"]["name"] for pod in one.pods()} - before,
        60,
        on_failure=one.evidence,
        interval_seconds=0.1,
    )
    for name in RUNNERS:
        one.processes[name].kill()
        one.processes[name].wait()
    intended = {name for (name,) in one.query("SELECT pod_name FROM execplane_attempt WHERE run_id = 'between'")}
    one.proxy.heal()
    if not made <= intended:
        # Whoever drives next takes the pod for another ledger's, and launches nothing.
        return False
    for name in RUNNERS:
        one.start(name)
    succeeded(one, "between")
    return True


def visited(one: Fleet, run_id: str) -> Visit:
    """The first start in the run."""
    visits = eventually(lambda: one.recorder.visits_of_run(run_id), 60, on_failure=one.evidence)
    return visits[0]


def succeeded(one: Fleet, run_id: str, *, but: Visit | None = None) -> None:
    """Let everybody of the run go on (`but` one) until it has ended well."""

    def done() -> bool:
        for visit in one.recorder.visits_of_run(run_id):
            if visit is not but:
                with suppress(OSError):
                    visit.release()
        return one.runs()[run_id] in ("success", "failed")

    eventually(done, 120, on_failure=one.evidence, interval_seconds=0.2)
    assert one.runs()[run_id] == "success", one.evidence()
