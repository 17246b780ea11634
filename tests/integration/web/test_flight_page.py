"""What is left of a pod on its attempt's pages: the flight record, the waterfall, a held container."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from execplane.contract.clock import SystemClock
from execplane.contract.flight import Flight, LastLines, NodeCondition, NodeSeen, PodEvent, pack
from execplane.contract.observations import Recorded
from execplane.store.models import Attempt
from execplane.store.transitions import recording
from tests.conftest import TestClock

pytestmark = pytest.mark.django_db


@pytest.fixture
def recorded(world: Attempt, clock: TestClock) -> Attempt:
    flight = Flight(
        attempt_id=world.pk,
        captured_at=clock.now(),
        namespace="jobs",
        pod_name="p",
        uid="u",
        pod={
            "spec": {"nodeName": "node-1"},
            "status": {
                "containerStatuses": [
                    {
                        "name": "base",
                        "imageID": "reg/worker@sha256:abcd",
                        "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                    }
                ]
            },
        },
        lines=(
            LastLines(container="base", text="<b>the last</b> line\n"),
            LastLines(container="proxy", unread="it is gone"),
        ),
        events=(PodEvent(at=clock.now(), type="Warning", reason="BackOff", message="again", count=3),),
        node=NodeSeen(name="node-1", conditions=(NodeCondition(type="Ready", status="Unknown"),), unschedulable=True),
        unread=("Could not read the thing: because.",),
    )
    fact = Recorded(attempt_id=world.pk, at=clock.now(), body=pack(flight))
    recording.keep([fact], now=clock.now())
    return world


def pod_page(client: Client, attempt: Attempt) -> str:
    return client.get(reverse("attempt-pod", args=[attempt.pk])).content.decode()


def test_a_record_shows_containers_lines_events_node_and_what_could_not_be_read(
    reader: Client, recorded: Attempt
) -> None:
    page = pod_page(reader, recorded)

    for words in (
        "OOMKilled",
        "reg/worker@sha256:abcd",
        "&lt;b&gt;the last&lt;/b&gt; line",
        "They could not be read: it is gone.",
        'BackOff</span> <span class="muted">×3',
        "cordoned",
        "Could not read the thing: because.",
    ):
        assert words in page, words


def test_a_record_is_a_file_for_a_ticket(reader: Client, recorded: Attempt) -> None:
    answer = reader.get(reverse("attempt-flight-json", args=[recorded.pk]))

    assert answer.json()["lines"][1] == {"container": "proxy", "text": "", "cut": False, "unread": "it is gone"}
    assert "attachment" in answer["Content-Disposition"]


def test_without_a_record_the_page_says_why(reader: Client, world: Attempt) -> None:
    assert "No pod was made, so there is nothing to record." in pod_page(reader, world)

    Attempt.objects.filter(pk=world.pk).update(acknowledged_at=world.queued_at)
    assert "There is none. One is made in the seconds after" in pod_page(reader, world)

    Attempt.objects.filter(pk=world.pk).update(state="running", ended_at=None)
    assert "It is made once the pod has ended" in pod_page(reader, world)

    Attempt.objects.filter(pk=world.pk).update(namespace="", executor="local", state="failed")
    assert "A local process leaves none: its exit code is 137" in pod_page(reader, world)
    assert reader.get(reverse("attempt-flight-json", args=[world.pk])).status_code == 404


def test_the_waterfall_is_in_order_although_the_node_s_clock_is_an_hour_behind(reader: Client, world: Attempt) -> None:
    assert world.launched_at is not None
    Attempt.objects.filter(pk=world.pk).update(started_at=world.launched_at - timedelta(hours=1))

    page = reader.get(reverse("attempt-timeline", args=[world.pk])).content.decode()

    assert re.findall(r'<td><span class="strong">([^<]+)</span>', page) == [
        "Queued",
        "Claimed",
        "Created",
        "Started",
        "Running",
        "Ended",
    ]
    assert "The clock of the node is about 60 min behind ours" in page
    assert "-" not in "".join(re.findall(r'data-label="Until next"[^>]*>([^<]*)<', page))


def test_latency_is_compared_by_node_and_narrowed_to_one(reader: Client, world: Attempt) -> None:
    page = reader.get(reverse("latency"), {"by": "node"}).content.decode()
    assert ">node-1</a>" in page
    assert "10.0 s" not in page
    assert re.search(r"queued to running</a></td><td[^>]*>1</td><td[^>]*>10 s", page)

    narrowed = reader.get(reverse("latency"), {"by": "node", "value": "node-2"}).content.decode()
    assert "Nothing with node node-2 is among the newest that ended" in narrowed


def test_latency_of_nothing_says_so_and_odd_words_are_the_default_ones(reader: Client) -> None:
    for query in ({}, {"by": "odd", "phase": "odd"}, {"value": ""}):
        assert "Nothing has ended yet" in reader.get(reverse("latency"), query).content.decode()


def test_a_held_container_shows_how_to_get_into_it_and_staff_may_let_it_go(
    staff: Client, reader: Client, world: Attempt
) -> None:
    address = reverse("attempt-release", args=[world.pk])
    assert "Held for debugging" not in reader.get(reverse("attempt", args=[world.pk])).content.decode()
    # The verb asks the real clock.
    Attempt.objects.filter(pk=world.pk).update(held_until=SystemClock().now() + timedelta(hours=1))

    shown = reader.get(reverse("attempt", args=[world.pk])).content.decode()
    assert f"kubectl -n jobs exec -it {world.pod_name} -c base -- sh" in shown
    assert address not in shown
    assert reader.post(address).status_code == 403
    assert address in staff.get(reverse("attempt", args=[world.pk])).content.decode()

    staff.post(address)

    world.refresh_from_db()
    assert world.held_until is not None
    assert world.held_until <= SystemClock().now()
