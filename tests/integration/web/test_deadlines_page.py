"""The loops page says where deadlines stand still, and asks the question that an open breaker waits for."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from execplane.store import deadline_rows
from execplane.store.models import Audit
from tests.conftest import TestClock

pytestmark = pytest.mark.django_db
SENTENCE = "300 of 900 active attempts passed a deadline at once (silent)."


def test_deadlines_that_stand_still_are_explained_and_ask_nothing(staff: Client, clock: TestClock) -> None:
    deadline_rows.say("local", "Deadlines of workers stand still: no answer.", now=clock.now())

    page = staff.get(reverse("loops")).content.decode()

    assert "Deadlines of workers stand still: no answer." in page
    assert "End them" not in page
    assert staff.get(reverse("deadlines-confirm", args=["local"])).status_code == 404


def test_an_open_breaker_is_confirmed_by_staff_and_audited(staff: Client, reader: Client, clock: TestClock) -> None:
    deadline_rows.say("kubernetes", SENTENCE, breaker_open=True, overdue=300, now=clock.now())
    path = reverse("deadlines-confirm", args=["kubernetes"])
    assert path in staff.get(reverse("loops")).content.decode()
    assert path not in reader.get(reverse("loops")).content.decode()
    assert reader.post(path).status_code == 403
    assert "End 300 attempts of kubernetes" in staff.get(path).content.decode()

    answer = staff.post(path)

    assert answer["Location"] == reverse("loops")
    (word,) = deadline_rows.words()
    assert (word.confirmed, word.confirmed_by) == (300, "ada")
    assert Audit.objects.get().object == "deadlines:kubernetes"
    page = staff.get(reverse("loops")).content.decode()
    assert "confirmed by ada" in page
    assert path not in page
    deadline_rows.say("kubernetes", SENTENCE, breaker_open=True, overdue=900, now=clock.now())
    assert path in staff.get(reverse("loops")).content.decode(), "far more than were confirmed: it asks again"
    assert 'deadlines <span class="mono">kubernetes</span>' in staff.get(reverse("audit")).content.decode()
