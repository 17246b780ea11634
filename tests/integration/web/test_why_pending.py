"""The card "Why pending": on the pages of what waits, and only there; the page itself never waits for the cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse

from execplane.actions import pending
from execplane.actions.pending import PendingOptions, WhyPending
from execplane.contract.pending import Unread
from execplane.pods.surroundings import Around, PodSpec, Wanted
from execplane.store.models import Attempt, TaskInstance, WaitingReason
from tests.conftest import TestClock
from tests.integration import web_rows

pytestmark = pytest.mark.django_db


class Cluster:
    """Stands where the API server would be asked, and counts who asks."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def look(self, wanted: Wanted) -> Around:
        self.asked.append(wanted.name)
        missing = Unread(what="Nodes", why="403 Forbidden", rule="a ClusterRole")
        return Around(pod=None, spec=PodSpec(), live=True, unread=(missing,))


@pytest.fixture
def cluster(clock: TestClock) -> Iterator[Cluster]:
    found = Cluster()
    why = WhyPending(PendingOptions(executors=("kubernetes",)), clock, {"kubernetes": found.look})
    before = pending.serve(why)
    yield found
    pending.serve(before)


@pytest.fixture
def waiting(world: Attempt, clock: TestClock) -> Attempt:
    """Launched, acknowledged, and not running."""
    instance = TaskInstance.objects.select_related("dagrun").get(dagrun__run_id=world.run_id, task_id="t001")
    TaskInstance.objects.filter(pk=instance.pk).update(state="queued")
    row = web_rows.make_attempt(instance, clock.now(), state="launched", number=2)
    row.acknowledged_at, row.running_at = clock.now(), None
    row.save()
    return row


def body(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def test_the_page_of_a_waiting_attempt_has_the_card_and_asks_no_cluster(
    reader: Client, waiting: Attempt, cluster: Cluster, clock: TestClock
) -> None:
    WaitingReason.objects.create(
        attempt_id=waiting.pk, code="unschedulable", sentence="No node fits yet.", since=clock.now()
    )

    page = body(reader, reverse("attempt", args=[waiting.pk]))

    assert f'hx-get="/attempts/{waiting.pk}/why?card"' in page
    assert "No node fits yet." in page, "what is known already stands there without scripts, too"
    assert cluster.asked == []


def test_the_card_says_the_sentence_what_unblocks_it_and_what_could_not_be_read(
    reader: Client, waiting: Attempt, cluster: Cluster
) -> None:
    page = body(reader, reverse("attempt-why", args=[waiting.pk]) + "?card")

    assert cluster.asked == [waiting.pod_name]
    assert "the pod does not exist" in page
    assert "Nodes could not be read (403 Forbidden; allow it by a ClusterRole)." in page
    # Nobody drives the executor here, and that is said first.
    assert page.index("No process drives the kubernetes executor") < page.index("the pod does not exist")


def test_the_answer_has_an_address_of_its_own(reader: Client, waiting: Attempt, cluster: Cluster) -> None:
    page = body(reader, reverse("attempt-why", args=[waiting.pk]))

    assert "<h1>Why t001 waits</h1>" in page
    by_task = body(reader, reverse("task-why", args=[waiting.dag_id, waiting.run_id, "t001"]))
    assert "the pod does not exist" in by_task


def test_a_task_without_an_attempt_has_the_card_and_one_that_never_runs_has_none(
    reader: Client, world: Attempt, cluster: Cluster
) -> None:
    never = reverse("task", args=[world.dag_id, world.run_id, "check.sums"])
    assert "/why?card" not in body(reader, never)

    TaskInstance.objects.filter(dagrun__run_id=world.run_id, task_id="check.sums").update(state="none")

    assert "/tasks/check.sums/why?card" in body(reader, never)


def test_an_attempt_that_runs_or_ended_has_no_card(reader: Client, world: Attempt, cluster: Cluster) -> None:
    assert "/why?card" not in body(reader, reverse("attempt", args=[world.pk]))
    Attempt.objects.filter(pk=world.pk).update(state="running", ended_at=None)
    assert "/why?card" not in body(reader, reverse("attempt", args=[world.pk]))
