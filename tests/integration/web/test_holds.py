"""The page of launch holds, its form, and the notice on pages where an operator looks."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from execplane.actions import holds
from execplane.actions.actor import Actor
from execplane.store import launch_wave_rows
from execplane.store.models import Attempt, Audit, LaunchHold
from tests.conftest import TestClock

pytestmark = pytest.mark.django_db

ADA = Actor(name="ada", may_act=True)


def text(client: Client, page: str, query: str = "") -> str:
    answer = client.get(reverse(page) + query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_hold_is_made_read_and_released_on_the_page(staff: Client, reader: Client, world: Attempt) -> None:
    assert "Nothing is held" in text(reader, "holds")
    answer = staff.post(
        reverse("hold-new"), {"scope": "namespace", "name": "etl", "reason": "upgrade of etl", "until": "2h"}
    )
    assert answer.status_code == 302
    pk = LaunchHold.objects.get().pk

    page = text(reader, "holds")
    for words in ("the namespace etl", "upgrade of etl", "ada"):
        assert words in page
    assert "Release" not in page, "who may only read is offered nothing"
    assert reverse("hold-release", args=[pk]) in text(staff, "holds")

    assert staff.get(reverse("hold-release", args=[pk])).status_code == 200
    assert staff.post(reverse("hold-release", args=[pk])).status_code == 302
    assert "Nothing is held" in text(reader, "holds")
    assert "by ada" in text(reader, "holds", "?view=all")
    assert list(Audit.objects.order_by("pk").values_list("actor", "action")) == [("ada", "hold"), ("ada", "release")]


def test_a_refused_form_says_why_and_keeps_what_was_typed(staff: Client, world: Attempt) -> None:
    typed = {"scope": "namespace", "name": "Not A Name", "reason": "upgrade of etl", "until": ""}
    answer = staff.post(reverse("hold-new"), typed)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "no name that a namespace can have" in page
    assert 'value="upgrade of etl"' in page
    assert LaunchHold.objects.count() == 0


def test_who_may_only_read_neither_holds_nor_releases(reader: Client, world: Attempt, clock: TestClock) -> None:
    pk = holds.hold(ADA, "all", reason="upgrade", clock=clock).id
    assert reader.post(reverse("hold-new"), {"scope": "all", "reason": "x"}).status_code == 403
    assert reader.post(reverse("hold-release", args=[pk])).status_code == 403


@pytest.mark.parametrize("page", ["dags", "pods", "loops"])
def test_pages_where_an_operator_looks_say_that_something_is_held(
    reader: Client, world: Attempt, clock: TestClock, page: str
) -> None:
    assert "Launch hold on" not in text(reader, page)
    holds.hold(ADA, "all", reason="upgrade of the database", until="1h", clock=clock)
    shown = text(reader, page)
    assert "Launch hold on all launches" in shown
    assert "upgrade of the database" in shown
    clock.advance(3601)
    assert "Launch hold on" not in text(reader, page)


def test_one_that_ended_by_itself_says_so(reader: Client, world: Attempt, clock: TestClock) -> None:
    holds.hold(ADA, "all", reason="upgrade", until="1h", clock=clock)
    clock.advance(3601)
    assert "ended by itself" in text(reader, "holds", "?view=all")


def waving(clock: TestClock) -> None:
    row = launch_wave_rows.WaveRow(
        executor="local",
        cause="the DAG sales was unpaused",
        began_at=clock.now(),
        total=1400,
        size=20,
        number=2,
        before=10,
        launched=20,
        well=4,
        failed=1,
    )
    launch_wave_rows.begin(row)


def test_waves_are_shown_and_an_operator_ends_them(staff: Client, world: Attempt, clock: TestClock) -> None:
    waving(clock)
    for page in ("dags", "pods", "loops", "holds"):
        assert "wave 2 of about 8, 30 of 1,400 launched" in text(staff, page)
    ask = reverse("launch-all", args=["local"])
    assert f'href="{ask}"' in text(staff, "holds")
    assert "?scope=executor&amp;name=local" in text(staff, "holds")
    assert 'value="local"' in staff.get(reverse("hold-new") + "?scope=executor&name=local").content.decode()

    assert staff.get(ask).status_code == 200
    assert staff.post(ask).status_code == 302
    assert launch_wave_rows.waves() == ()
    assert "wave 2" not in text(staff, "holds")
    assert staff.get(ask).status_code == 404


def test_who_may_only_read_does_not_end_waves(reader: Client, world: Attempt, clock: TestClock) -> None:
    waving(clock)
    assert "Launch all" not in text(reader, "holds")
    assert reader.post(reverse("launch-all", args=["local"])).status_code == 403
