"""An attempt's page: what was done by hand afterwards, how many tries there are, what may still be done."""

from __future__ import annotations

import re

import pytest
from django.test import Client, RequestFactory
from django.urls import reverse

from execplane.contract.errors import NotFound
from execplane.store.models import Attempt, TaskInstance
from execplane.web import errors, siblings
from execplane.web.templatetags.ui import code_words
from tests.integration import web_rows

pytestmark = pytest.mark.django_db


def body(client: Client, attempt: Attempt) -> str:
    return client.get(reverse("attempt", args=[attempt.pk])).content.decode()


def test_a_marked_task_instance_says_who_marked_it_and_its_attempt_s_failure_is_history(
    staff: Client, world: Attempt
) -> None:
    assert 'class="note bad"' in body(staff, world)

    staff.post(reverse("task-mark", args=[world.dag_id, world.run_id, world.task_id, "success"]))

    after = body(staff, world)
    assert "The task instance was marked success by ada." in after
    assert 'class="note bad"' not in after
    assert world.reason in after


def test_tries_beyond_the_retries_have_no_total(staff: Client, world: Attempt) -> None:
    assert '<dt>Try</dt><dd>1 <span class="muted">of 2</span>' in body(staff, world)

    instance = TaskInstance.objects.select_related("dagrun").get(pk=world.ti_id)
    third = web_rows.make_attempt(instance, world.queued_at, number=3)

    assert "<dt>Try</dt><dd>3</dd>" in body(staff, third)


def test_an_attempt_that_is_stopping_cannot_be_cancelled_again(staff: Client, world: Attempt) -> None:
    link = reverse("attempt-cancel", args=[world.pk])
    Attempt.objects.filter(pk=world.pk).update(state="running", ended_at=None)
    assert link in body(staff, world)

    Attempt.objects.filter(pk=world.pk).update(state="stopping")

    assert link not in body(staff, world)


def test_backticks_in_a_message_are_code_and_nothing_else_is_html() -> None:
    assert code_words("See `dags show <ID>` & ``.") == "See <code>dags show &lt;ID&gt;</code> &amp; ``."


def test_an_error_s_page_shows_commands_as_code() -> None:
    answer = errors.page(RequestFactory().get("/"), NotFound("Nothing here.", hint="Try `execplane dags list`."))

    assert "Try <code>execplane dags list</code>." in answer.content.decode()


def looked_again(world: Attempt, count: int) -> list[Attempt]:
    """The first try's attempts of a sensor that looked `count` times more; the task's newest ones."""
    rows = [
        Attempt(
            ti_id=world.ti_id,
            attempt_no=number,
            try_number=1,
            cause="reschedule",
            state="rescheduled",
            dag_id=world.dag_id,
            run_id=world.run_id,
            task_id=world.task_id,
            executor="local",
            queued_at=world.queued_at,
        )
        for number in range(2, count + 2)
    ]
    return Attempt.objects.bulk_create(rows)


def test_of_many_attempts_a_page_links_to_the_last_few_the_shown_one_and_the_list(
    staff: Client, world: Attempt
) -> None:
    listed = reverse("task-attempts", args=[world.dag_id, world.run_id, world.task_id])
    assert listed not in body(staff, world)

    made = looked_again(world, 210)

    first, last = body(staff, world), body(staff, made[-1])
    for page in (first, last):
        assert page.count('class="chip"') == siblings.MOST_CHIPS + 1
        assert f'href="{listed}"' in page
    assert re.findall(r"</span>#(\d+)", first) == ["1", *map(str, range(205, 212))]
    assert re.findall(r"</span>#(\d+)", last) == list(map(str, range(204, 212)))


def test_every_attempt_is_reached_from_the_list_page_by_page(staff: Client, world: Attempt) -> None:
    made = looked_again(world, 210)
    path = reverse("task-attempts", args=[world.dag_id, world.run_id, world.task_id])

    pages = [staff.get(path).content.decode()]
    for _ in range(4):
        older = re.search(r'href="(\?before=\d+)" rel="next"', pages[-1])
        assert older
        pages.append(staff.get(path + older[1]).content.decode())

    reached = [int(pk) for page in pages for pk in re.findall(r'data-open href="/attempts/(\d+)"', page)]
    assert reached == [*(one.pk for one in reversed(made)), world.pk]
    assert 'rel="next"' not in pages[-1]
    assert "Try 1</strong>" in pages[-1]
    assert "attempts 1 to 11<" in pages[-1]
    assert "Newest</a>" in pages[-1]
