"""A page says which live part it has, so that the part is fetched again only for what it does not show yet."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from execplane.store.models import Attempt, Dag
from tests.conftest import TestClock
from tests.integration.web.test_pages import addresses

pytestmark = pytest.mark.django_db


def asked_again(client: Client, path: str, whole: bytes) -> int:
    """The status of the page's own question after it has been loaded."""
    (have,) = re.findall(r'<div id="live" data-have="([0-9a-f]+)"', whole.decode())
    return client.get(path, headers={"HX-Request": "true", "X-Have": have}).status_code


def test_no_page_is_sent_twice_while_nothing_changes(staff: Client, world: Attempt, clock: TestClock) -> None:
    again = {}
    for path in addresses(world):
        whole = staff.get(path).content
        clock.advance(1)
        again[path] = asked_again(staff, path, whole)

    assert {path: status for path, status in again.items() if status != 204} == {}


def test_what_changed_since_the_page_was_rendered_is_sent(staff: Client, world: Attempt) -> None:
    path = reverse("dags")
    whole = staff.get(path).content

    Dag.objects.filter(pk=world.dag_id).update(paused=True)

    assert asked_again(staff, path, whole) == 200
