"""Who did what: one page of everything, and the part of it that belongs to a DAG or a run."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from execplane.actions import dags, tasks
from execplane.actions.actor import Actor
from execplane.store.audit import audit
from execplane.store.models import Attempt, Audit, Pool, User
from tests.conftest import TestClock

pytestmark = pytest.mark.django_db
ADA = Actor(name="ada", may_act=True)


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def test_each_verb_is_listed_with_who_did_it_and_a_link_to_what_it_was_done_to(
    reader: Client, world: Attempt, clock: TestClock
) -> None:
    dags.pause(ADA, "sales", clock=clock)
    dags.trigger(ADA, "sales", run_id="by-hand", clock=clock)
    tasks.mark(ADA, "sales", world.run_id, "t000", -1, "success", clock=clock)
    tasks.mark(ADA, "sales", world.run_id, "mapped", 1, "success", clock=clock)
    audit("eve", "set", "variable:token", now=clock.now())

    page = text(reader, reverse("audit"))

    assert page.index("variable") < page.index("mark success") < page.index("by-hand") < page.index(">pause<")
    assert page.count(">ada<") == 4
    for address in (
        reverse("dag", args=["sales"]),
        reverse("run", args=["sales", "by-hand"]),
        reverse("task", args=["sales", world.run_id, "t000"]),
        reverse("mapped-task", args=["sales", world.run_id, "mapped", 1]),
    ):
        assert f'href="{address}"' in page


def test_a_run_and_a_dag_show_what_was_done_to_them_alone(reader: Client, world: Attempt, clock: TestClock) -> None:
    dags.pause(ADA, "sales", clock=clock)
    dags.trigger(ADA, "sales", run_id="by-hand", clock=clock)
    clock.advance(60)
    dags.trigger(ADA, "sales", run_id="another", clock=clock)
    tasks.mark(ADA, "sales", world.run_id, "t000", -1, "success", clock=clock)
    tasks.mark(ADA, "sales", world.run_id, "mapped", 1, "skipped", clock=clock)

    marked = text(reader, reverse("run-details", args=["sales", world.run_id]))
    triggered = text(reader, reverse("run-details", args=["sales", "by-hand"]))
    dag = text(reader, reverse("dag-details", args=["sales"]))

    assert "mark success" in marked
    assert "mark skipped" in marked
    assert "trigger" not in marked.partition("Audit log</h2>")[2]
    assert "sales/by-hand" in triggered.partition("Audit log</h2>")[2]
    assert "sales/another" not in triggered
    assert ">pause<" in dag
    assert "sales/another" in dag


def test_the_list_narrows_to_one_object_and_continues_where_it_ended(
    reader: Client, world: Attempt, clock: TestClock
) -> None:
    for number in range(60):
        audit("ada", f"verb{number}", "dag:sales", now=clock.now())
    audit("ada", "refresh", "dags", now=clock.now())

    first = text(reader, reverse("audit") + "?object=dag:sales")
    oldest = first.rsplit("before=", 1)[1].split('"')[0]
    second = text(reader, f"{reverse('audit')}?object=dag:sales&before={oldest}")

    assert "refresh" not in first.partition("<tbody>")[2]
    assert ">verb59<" in first
    assert second.count('id="c-') == 10
    assert ">verb0<" in second


def test_odd_names_in_the_audit_break_no_page(reader: Client, world: Attempt, clock: TestClock) -> None:
    for name in ("dag:", "run:x", "task:a/b", "attempt:x", "new-kind:<b>", "variable:<img src=x>", "dag:a/b"):
        audit("ada", "touch", name, now=clock.now())

    page = text(reader, reverse("audit"))

    assert page.count('id="c-') == 7
    assert "<img src=x>" not in page


def test_pools_and_users_changed_in_the_admin_are_listed_too(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="x"))
    pools = reverse("admin:execplane_pool_changelist")

    client.post(reverse("admin:execplane_pool_add"), {"name": "gpu", "slots": "4"})
    client.post(
        reverse("admin:execplane_pool_change", args=[Pool.objects.get(name="gpu").pk]), {"name": "gpu", "slots": "8"}
    )
    client.post(
        pools, {"action": "delete_selected", "_selected_action": Pool.objects.get(name="gpu").pk, "post": "yes"}
    )
    word = "correct-horse-battery"
    client.post(
        reverse("admin:execplane_user_add"),
        {"username": "eve", "usable_password": "true", "password1": word, "password2": word},
    )

    found = list(Audit.objects.order_by("id").values_list("actor", "action", "object"))
    assert found == [
        ("root", "add", "pool:gpu"),
        ("root", "change", "pool:gpu"),
        ("root", "delete", "pool:gpu"),
        ("root", "add", "user:eve"),
    ]


def test_readers_are_not_told_what_was_done_to_accounts(reader: Client, world: Attempt, clock: TestClock) -> None:
    audit("root", "add", "user:eve", now=clock.now())
    audit("root", "refresh", "dags", now=clock.now())
    boss = Client()
    boss.force_login(User.objects.create_user("ada", is_staff=True))

    for path in (reverse("audit"), reverse("audit") + "?object=user:eve"):
        assert 'id="c-' in text(boss, path)
        assert ">add<" in text(boss, path)
        assert ">add<" not in text(reader, path)
    assert ">refresh<" in text(reader, reverse("audit"))
