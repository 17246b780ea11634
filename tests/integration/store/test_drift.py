"""Drift findings in the ledger: bounded, found by their indexes, and the same however often they are told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from execplane.actions import drift as verbs
from execplane.actions.actor import Actor
from execplane.contract.errors import Forbidden, NotFound
from execplane.pods.reconcile import Finding, Kind, Mend
from execplane.store import drift_rows
from execplane.store.gauge_rows import ledger_gauges
from execplane.store.models import Audit, Deployment, DriftFinding
from execplane.store.queries import drift
from tests.integration import plans
from tests.integration.store.conftest import Ledger
from tests.integration.store.play import ADA


def finding(number: int = 1, kind: Kind = Kind.ORPHAN, **more: Any) -> Finding:
    given: dict[str, Any] = {
        "mend": Mend.OPERATOR,
        "namespace": "ns",
        "name": f"pod-{number}",
        "uid": f"u{number}",
        "attempt_id": number,
        "task": "orders/r/extract#1",
        "incarnation": 1,
        "sentence": "It is there.",
    }
    return Finding(kind=kind, **{**given, **more})


def record(ledger: Ledger, *findings: Finding, namespaces: tuple[str, ...] = ("ns",)) -> drift_rows.Noted:
    return drift_rows.record(
        "kubernetes",
        findings,
        confirmed={one.identity for one in findings},
        cluster="",
        namespaces=namespaces,
        now=ledger.now,
    )


def test_a_finding_that_is_told_again_is_the_same_and_seen_again(ledger: Ledger) -> None:
    first = record(ledger, finding())
    ledger.clock.advance(60)
    second = record(ledger, finding())
    assert [one.id for one in second.found] == [one.id for one in first.found]
    assert (first.new, second.new) == ((Kind.ORPHAN,), ())
    row = drift.finding(first.found[0].id)
    assert row.last_seen - row.first_seen == timedelta(seconds=60)


def test_what_comes_back_later_is_another_finding(ledger: Ledger) -> None:
    record(ledger, finding())
    record(ledger)
    record(ledger, finding())
    assert [row.resolved_at is None for row in drift.findings(resolved=True).rows] == [True, False]
    assert len(drift.findings().rows) == 1


def test_another_executors_findings_are_its_own(ledger: Ledger) -> None:
    record(ledger, finding())
    drift_rows.record("other", [], confirmed=set(), cluster="", namespaces=["ns"], now=ledger.now)
    assert len(drift.findings().rows) == 1


def test_only_so_many_findings_are_open_at_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_rows, "MOST_OPEN", 3)
    noted = record(ledger, *[finding(number) for number in range(5)])
    assert (len(noted.new), noted.left_off, drift.count_open().n) == (3, 2, 3)


def test_old_findings_go_except_what_still_holds_launches(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_rows, "KEPT", 2)
    record(ledger, finding(1, Kind.FOREIGN_INCARNATION), finding(2))
    record(ledger)  # both are over
    record(ledger, finding(3))
    record(ledger)
    record(ledger, finding(4))
    kept = [row.pod_name for row in drift.findings(resolved=True).rows]
    assert kept == ["pod-4", "pod-3", "pod-1"]
    assert drift_rows.holding() == ["kubernetes"]


def test_a_new_life_of_the_ledger_begins_once_and_above_all_that_were_seen(ledger: Ledger) -> None:
    record(ledger, finding(1, Kind.FOREIGN_INCARNATION), finding(2, Kind.FOREIGN_INCARNATION, incarnation=4))
    assert Deployment.objects.get().incarnation == 5
    record(ledger, finding(1, Kind.FOREIGN_INCARNATION), finding(3, Kind.FOREIGN_INCARNATION, incarnation=2))
    assert Deployment.objects.get().incarnation == 5


def test_a_hold_names_a_pod_and_what_to_press(ledger: Ledger) -> None:
    assert drift_rows.hold_reason("kubernetes") == ""
    record(ledger, finding(1, Kind.FOREIGN_INCARNATION))
    reason = drift_rows.hold_reason("kubernetes")
    assert "ns/pod-1" in reason
    assert "execplane pods release kubernetes" in reason
    assert len(reason) <= 300, "the column where the reasons of attempts stand"
    assert drift_rows.hold_reason("other") == ""


def test_each_decision_stands_in_the_audit_with_its_reason(ledger: Ledger) -> None:
    (one,) = record(ledger, finding(1, Kind.FOREIGN_INCARNATION)).found
    verbs.decide(ADA, one.id, "leave", "it is the other cell's", clock=ledger.clock)
    row = Audit.objects.get()
    assert (row.actor, row.action, row.object) == ("ada", "decide drift", f"drift:{one.id}")
    assert row.after is not None
    assert row.after["reason"] == "it is the other cell's"
    assert drift_rows.holding() == []


def test_who_may_only_read_decides_nothing(ledger: Ledger) -> None:
    (one,) = record(ledger, finding(1, Kind.FOREIGN_INCARNATION)).found
    bob = Actor(name="bob")
    for verb in (
        lambda: verbs.decide(bob, one.id, "leave"),
        lambda: verbs.release(bob, "kubernetes"),
        lambda: verbs.look(bob, ("kubernetes",)),
    ):
        with pytest.raises(Forbidden):
            verb()
    assert drift_rows.holding() == ["kubernetes"]


def test_a_finding_that_is_not_there_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        verbs.decide(ADA, 404, "leave", clock=ledger.clock)


def test_a_gauge_counts_open_findings_and_the_kinds_that_have_none(ledger: Ledger) -> None:
    record(ledger, finding(1), finding(2))
    drift_rows.looked("kubernetes", at=ledger.now, pods=2, attempts=0, unseen="", left_off=0)
    counted = ledger_gauges().drift
    assert counted["kubernetes", "orphan"] == 2
    assert counted["kubernetes", "foreign_incarnation"] == 0


READS: dict[str, tuple[Callable[[], Any], str]] = {
    "the open findings": (lambda: drift.findings(), "drift_open"),
    "how many are open": (lambda: drift.count_open(), "drift_open"),
    "whether launches are held": (lambda: drift_rows.hold_reason("kubernetes"), "drift_holds"),
    "what holds them": (lambda: drift.held(), "drift_holds"),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_uses_its_index(ledger: Ledger, name: str) -> None:
    read, index = READS[name]
    record(ledger, *[finding(number, Kind.FOREIGN_INCARNATION) for number in range(50)])
    DriftFinding.objects.filter(attempt_id__gt=5).update(resolved_at=ledger.now, decided_at=ledger.now)
    assert index in plans.plans(read)
