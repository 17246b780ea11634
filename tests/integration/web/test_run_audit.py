"""A run's page tells who did what to it, also where it was done to one of its attempts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from execplane.actions import attempts, tasks
from execplane.actions.actor import Actor
from execplane.store.audit import audit
from execplane.store.models import Attempt, DagRun, TaskInstance
from execplane.store.queries.attempts import stopped_attempts
from tests.conftest import TestClock
from tests.integration import web_rows

pytestmark = pytest.mark.django_db
ADA = Actor(name="ada", may_act=True)


def audit_of(client: Client, attempt: Attempt) -> str:
    page = client.get(reverse("run-details", args=[attempt.dag_id, attempt.run_id])).content.decode()
    return page.partition("Audit log</h2>")[2]


def alive(attempt: Attempt) -> None:
    Attempt.objects.filter(pk=attempt.pk).update(state="running", ended_at=None)
    TaskInstance.objects.filter(pk=attempt.ti_id).update(state="running", ended_at=None)


def test_the_cancellation_of_an_attempt_is_among_what_was_done_to_its_run(
    staff: Client, world: Attempt, clock: TestClock
) -> None:
    alive(world)
    other = TaskInstance.objects.exclude(dagrun_id=TaskInstance.objects.get(pk=world.ti_id).dagrun_id).first()
    assert other is not None
    stranger = web_rows.make_attempt(other, clock.now())
    alive(stranger)

    attempts.cancel(ADA, world.pk, "wrong table", clock=clock)
    attempts.cancel(ADA, stranger.pk, "not this one", clock=clock)

    found = audit_of(staff, world)
    assert f'href="{reverse("attempt", args=[world.pk])}"' in found
    assert "wrong table" in found
    assert "not this one" not in found


def test_of_many_stopped_attempts_the_newest_are_asked_for(world: Attempt, clock: TestClock) -> None:
    instance = TaskInstance.objects.get(pk=world.ti_id)
    made = [web_rows.make_attempt(instance, clock.now(), number=number).pk for number in range(2, 6)]
    Attempt.objects.filter(pk__in=made[:3]).update(stop_at=clock.now())

    assert stopped_attempts(instance.dagrun_id, limit=2) == (made[2], made[1])


def test_a_task_instance_whose_run_was_marked_says_so_and_one_that_only_reads_so_does_not(
    staff: Client, world: Attempt, clock: TestClock
) -> None:
    page = reverse("attempt", args=[world.pk])
    TaskInstance.objects.filter(pk=world.ti_id).update(reason="marked for death", ended_at=clock.now())
    assert "The task instance was" not in staff.get(page).content.decode()

    audit("ada", "clear", f"run:{world.dag_id}/{world.run_id}", now=clock.now())
    assert "The task instance was" not in staff.get(page).content.decode()

    clock.advance(60)
    staff.post(reverse("run-mark", args=[world.dag_id, world.run_id, "success"]))
    assert "The task instance was marked success by ada." in staff.get(page).content.decode()

    clock.advance(60)
    tasks.mark(ADA, world.dag_id, world.run_id, world.task_id, -1, "skipped", clock=clock)
    assert "The task instance was marked skipped by ada." in staff.get(page).content.decode()

    clock.advance(60)
    tasks.mark(ADA, world.dag_id, world.run_id, "mapped", -1, "failed", clock=clock)
    mapped = TaskInstance.objects.select_related("dagrun").get(task_id="mapped", map_index=3)
    whole = reverse("attempt", args=[web_rows.make_attempt(mapped, clock.now()).pk])
    assert "The task instance was marked failed by ada." in staff.get(whole).content.decode()
    assert "mark failed" in audit_of(staff, world)

    moved_at = clock.now() + timedelta(seconds=60)
    TaskInstance.objects.filter(pk=world.ti_id).update(state="failed", reason="fail_fast", ended_at=moved_at)
    assert "The task instance was" not in staff.get(page).content.decode()
    assert DagRun.objects.get(run_id=world.run_id).state == "success"
