"""Single attempts over the public API: what their pods left, and held containers let go."""

from __future__ import annotations

from datetime import timedelta

import pytest

from execplane.contract.clock import SystemClock
from execplane.contract.flight import Flight, pack
from execplane.contract.observations import Recorded
from execplane.store.models import Attempt
from execplane.store.transitions import recording
from tests.integration.cli_runner import save_attempt, save_dag, save_run
from tests.integration.public_api.conftest import basic, get, post

pytestmark = pytest.mark.django_db


@pytest.fixture
def attempt() -> Attempt:
    return save_attempt(save_run(save_dag()), "extract", state="failed", namespace="jobs", pod_name="p")


def test_a_flight_record_is_given_whole_and_its_absence_is_told(attempt: Attempt) -> None:
    path = f"/attempts/{attempt.pk}/flightRecord"
    assert get(path).status_code == 404
    now = SystemClock().now()
    flight = Flight(attempt_id=attempt.pk, captured_at=now, namespace="jobs", pod_name="p", uid="u")

    recording.keep([Recorded(attempt_id=attempt.pk, at=now, body=pack(flight))], now=now)

    assert (get(path).json()["pod_name"], get(path).json()["events"]) == ("p", [])
    assert get("/attempts/999999/flightRecord").status_code == 404


def test_a_held_container_is_let_go_once_and_only_by_staff(attempt: Attempt) -> None:
    path = f"/attempts/{attempt.pk}/release"
    assert post(path).status_code == 409
    Attempt.objects.filter(pk=attempt.pk).update(held_until=SystemClock().now() + timedelta(hours=1))

    assert post(path, headers=basic("bob", "b-pass")).status_code == 403
    assert post(path).status_code == 202
    assert post(path).status_code == 409
