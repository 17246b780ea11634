"""The drift page: what differs, what was done, what waits for a person, and the presses that decide it."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from execplane.pods.reconcile import Finding, Kind, Mend
from execplane.store import drift_rows
from execplane.store.models import Attempt, DriftFinding, DriftLook
from execplane.store.queries import drift
from tests.conftest import TestClock

pytestmark = pytest.mark.django_db


def found(clock: TestClock, kind: Kind, mend: Mend = Mend.OPERATOR, *, attempt_id: int = 1, number: int = 1) -> int:
    one = Finding(
        kind=kind,
        mend=mend,
        namespace="tasks",
        name=f"pod-{number}",
        uid=f"u{number}",
        attempt_id=attempt_id,
        task="sales/r1/load#1",
        incarnation=1,
        sentence="It differs.",
    )
    noted = drift_rows.record(
        "kubernetes", [one], confirmed={one.identity}, cluster="", namespaces=["none"], now=clock.now()
    )
    return noted.found[-1].id


def text(client: Client, query: str = "") -> str:
    answer = client.get(reverse("drift") + query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_where_nothing_differs_the_page_says_when_it_was_looked(
    reader: Client, world: Attempt, clock: TestClock
) -> None:
    assert "Nothing has been compared yet" in text(reader)
    drift_rows.looked("kubernetes", at=clock.now(), pods=12, attempts=12, unseen="", left_off=0)
    page = text(reader)
    assert "No drift" in page
    assert "last looked" in page


def test_a_finding_says_what_where_and_what_follows(reader: Client, world: Attempt, clock: TestClock) -> None:
    found(clock, Kind.UNDEAD, Mend.DELETE, attempt_id=world.pk)
    page = text(reader)
    for words in ("Undead", "pod-1", "tasks", "It differs.", "The pod is deleted."):
        assert words in page
    assert f'href="{reverse("attempt", args=[world.pk])}"' in page
    assert "Leave as it is" not in page, "who may only read is offered nothing"


def test_what_was_done_stays_readable_when_it_is_over(reader: Client, world: Attempt, clock: TestClock) -> None:
    pk = found(clock, Kind.ORPHAN, Mend.DELETE)
    drift_rows.mended(pk, "It was deleted.", actor="driver-1")
    DriftFinding.objects.filter(pk=pk).update(resolved_at=clock.now())
    assert "pod-1" not in text(reader)
    page = text(reader, "?view=all")
    assert "It was deleted." in page
    assert "driver-1" in page


def test_a_namespace_that_was_not_seen_is_said(reader: Client, world: Attempt, clock: TestClock) -> None:
    drift_rows.looked("kubernetes", at=clock.now(), pods=0, attempts=0, unseen="team-b: 403", left_off=0)
    assert "team-b: 403" in text(reader)


def test_an_operator_releases_an_executor(staff: Client, world: Attempt, clock: TestClock) -> None:
    found(clock, Kind.FOREIGN_INCARNATION)
    page = text(staff)
    assert "The kubernetes executor launches nothing." in page
    address = reverse("drift-release", args=["kubernetes"])
    assert f'href="{address}"' in page
    assert "mark first what must not" in staff.get(address).content.decode()

    answer = staff.post(address, {"reason": "restored"})

    assert answer.status_code == 302
    assert drift_rows.holding() == []
    assert "launches nothing" not in text(staff)
    assert staff.get(address).status_code == 404


def test_what_holds_launches_is_shown_when_its_pod_is_gone_too(
    reader: Client, world: Attempt, clock: TestClock
) -> None:
    found(clock, Kind.FOREIGN_INCARNATION)
    assert text(reader).count("pod-1") == 1
    drift_rows.record("kubernetes", [], confirmed=set(), cluster="", namespaces=["tasks"], now=clock.now())
    page = text(reader)
    assert "still holding launches" in page
    assert page.count("pod-1") == 1


def test_an_operator_takes_a_stuck_pod_away_only_with_a_reason(staff: Client, world: Attempt, clock: TestClock) -> None:
    pk = found(clock, Kind.STUCK_TERMINATING)
    address = reverse("drift-decide", args=[pk, "force"])
    assert f'href="{address}"' in text(staff)
    assert b" required" in staff.get(address).content
    assert b"needs a reason" in staff.post(address).content
    assert drift.finding(pk).decision == ""

    staff.post(address, {"reason": "the node is off"})

    row = drift.finding(pk)
    assert (row.decision, row.decided_by, row.decision_reason) == ("force", "ada", "the node is off")
    assert "the node is off" in text(staff)


def test_a_reader_decides_nothing(reader: Client, world: Attempt, clock: TestClock) -> None:
    pk = found(clock, Kind.FOREIGN_INCARNATION)
    for address in (
        reverse("drift-release", args=["kubernetes"]),
        reverse("drift-decide", args=[pk, "leave"]),
        reverse("drift-look"),
    ):
        assert reader.post(address).status_code == 403
    assert drift_rows.holding() == ["kubernetes"]


def test_a_decision_that_the_kind_does_not_have_is_not_found(staff: Client, world: Attempt, clock: TestClock) -> None:
    pk = found(clock, Kind.MISSING, Mend.TELL)
    assert staff.get(reverse("drift-decide", args=[pk, "delete"])).status_code == 404


def test_somebody_asks_for_a_look(staff: Client, world: Attempt) -> None:
    staff.post(reverse("drift-look"))
    assert DriftLook.objects.exclude(wanted_at=None).exists()


def test_what_holds_launches_is_on_the_first_page_however_much_else_was_found_since(
    reader: Client, world: Attempt, clock: TestClock
) -> None:
    found(clock, Kind.FOREIGN_INCARNATION, number=99)
    for number in range(50):
        found(clock, Kind.ORPHAN, number=number)
    assert text(reader).count("pod-99") == 1


def test_findings_are_paged(reader: Client, world: Attempt, clock: TestClock) -> None:
    for number in range(60):
        found(clock, Kind.ORPHAN, number=number)
    first = text(reader)
    assert first.count('id="d-') == 50
    last = min(int(part.split('"')[0]) for part in first.split('id="d-')[1:])
    assert f"before={last}" in first
    assert text(reader, f"?before={last}").count('id="d-') == 10
