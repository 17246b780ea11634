"""Characters that no form asks for: refused in words or carried whole, never a failure of ours."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from django.test import Client
from django.urls import reverse

from execplane.store.models import Attempt, XCom
from tests.conftest import TestClock

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path",
    [
        "/dags/a%00",
        "/dags/sales/code?run=%00",
        "/dags?q=%00",
        "/dags?%00=1",
        "/runs?state=%00",
        "/pods?view=ended&category=a%00",
        "/variables?after=%00",
        "/connections/set?name=%00",
        "/audit?object=a%00",
    ],
)
def test_a_nul_in_an_address_is_refused_on_every_page(staff: Client, world: Attempt, path: str) -> None:
    answer = staff.get(path)

    assert answer.status_code == 400
    assert "a NUL character" in answer.content.decode()


def test_a_nul_in_a_form_is_refused_and_in_a_dialog_said_there(staff: Client, world: Attempt) -> None:
    trigger = reverse("dag-trigger", args=["sales"])

    assert staff.post(trigger, {"run_id": "a\0"}).status_code == 400
    assert "a NUL character" in staff.post(trigger, {"run_id": "a\0"}, headers={"HX-Request": "true"})["HX-Trigger"]


def test_what_is_no_number_in_an_address_counts_as_none(staff: Client, world: Attempt) -> None:
    for text in ("²", "-1", "9" * 30, "x"):
        assert staff.get(reverse("audit"), {"before": text}).status_code == 200


def test_a_download_keeps_a_name_beyond_ascii(staff: Client, world: Attempt, clock: TestClock) -> None:
    XCom.objects.create(ti=world.ti, key="größe\r\nX: 1", attempt_no=1, value=b"1", at=clock.now())

    answer = staff.get(reverse("attempt-xcom-value", args=[world.pk]), {"key": "größe\r\nX: 1"})

    name = f"{world.dag_id}.{world.task_id}.größe_X_1.json"
    assert answer["Content-Disposition"] == f"attachment; filename*=utf-8''{quote(name)}"
