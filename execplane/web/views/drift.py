"""Drift: where clusters and the ledger differ, what was done about it, and what waits for an operator's word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from execplane.actions import drift as verbs
from execplane.contract.errors import NotFound
from execplane.pods.reconcile import MENDS, Kind
from execplane.store import drift_rows
from execplane.store.queries import drift
from execplane.store.queries.drift import DriftRow
from execplane.web import rendering, wiring
from execplane.web.permissions import actor, needs
from execplane.web.views.dag import number

LABELS: dict[str, str] = {
    Kind.ORPHAN: "Orphan",
    Kind.ZOMBIE: "Zombie",
    Kind.UNDEAD: "Undead",
    Kind.MISSING: "Missing",
    Kind.DUPLICATE: "Duplicate",
    Kind.STUCK_TERMINATING: "Stuck terminating",
    Kind.FINISHED_PAST_ITS_TIME: "Finished past its time",
    Kind.FOREIGN_INCARNATION: "Foreign incarnation",
    Kind.UNREADABLE: "Unreadable",
}
_WORDS = {
    verbs.LEAVE: (
        "Leave as it is",
        "Nothing is done about this pod any more, and it no longer holds launches. Its finding stays until it is gone.",
    ),
    verbs.DELETE: (
        "Delete pod",
        "Its containers get SIGTERM and their grace period. The pod is deleted by its uid, so no other one is hit.",
    ),
    verbs.FORCE: (
        "Take away by force",
        "Its object is removed without waiting for the node. If that lives, so may the containers: see that it is off.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Line:
    row: DriftRow
    label: str
    follows: str
    """What will be done; "" when it was done, decided or is over."""
    decisions: tuple[tuple[str, str], ...]
    """(decision, label) that may be taken now."""
    linked: bool
    """The attempt is one of this ledger's."""


def _line(row: DriftRow) -> Line:
    over = row.resolved_at is not None
    return Line(
        row=row,
        label=LABELS.get(row.kind, row.kind),
        follows="" if over or row.action or row.decision else MENDS.get(row.mend, ""),
        decisions=()
        if over and not row.holds
        else tuple((one, _WORDS[one][0]) for one in verbs.decisions(row.kind) if one != row.decision),
        linked=row.attempt_id is not None and row.kind not in (Kind.ORPHAN, Kind.FOREIGN_INCARNATION),
    )


def findings(request: HttpRequest) -> HttpResponse:
    """What differs now, or all that is kept; with what holds launches above it."""
    view = "all" if request.GET.get("view") == "all" else "open"
    before = number(request.GET.get("before"))
    page = drift.findings(resolved=view == "all", before=before)
    held, listed = drift.held(), {row.id for row in page.rows}
    context: dict[str, Any] = {
        "view": view,
        "before": before,
        "page": page,
        "lines": [_line(row) for row in page.rows],
        # The others stand in the list itself.
        "held": [_line(row) for row in held if row.id not in listed],
        "holding": sorted({row.executor for row in held}),
        "looks": drift.looks(),
        "topics": "drift",
    }
    return rendering.show(request, "web/drift.html", context)


@needs("drift.look")
@require_POST
def look(request: HttpRequest) -> HttpResponse:
    verbs.look(actor(request), tuple(one.executor for one in drift.looks()) or wiring.parts().executors)
    return rendering.stay(request, "The pods are looked at now, and again some seconds later.", reverse("drift"))


@needs("drift.decide")
@require_http_methods(["GET", "POST"])
def decide(request: HttpRequest, finding_id: int, decision: str) -> HttpResponse:
    row = drift.finding(finding_id)
    if decision not in verbs.decisions(row.kind):
        raise NotFound(f"The kind {row.kind} has no such decision.")
    label, text = _WORDS[decision]
    if request.method == "POST":
        verbs.decide(actor(request), finding_id, decision, request.POST.get("reason", "").strip()[:500])
        return rendering.done(request, f"{row.pod_name}: {label.lower()}, at the driver's next look.", reverse("drift"))
    title, danger, required = f"{label}: {row.pod_name}", decision != verbs.LEAVE, decision == verbs.FORCE
    return _ask(request, title=title, text=text, label=label, danger=danger, required=required)


@needs("drift.release")
@require_http_methods(["GET", "POST"])
def release(request: HttpRequest, executor: str) -> HttpResponse:
    if request.method == "POST":
        verbs.release(actor(request), executor, request.POST.get("reason", "").strip()[:500])
        return rendering.done(request, f"The {executor} executor launches again.", reverse("drift"))
    if executor not in drift_rows.holding():
        raise NotFound(f"Nothing holds the executor {executor}.")
    text = (
        "The pods that this database does not know are left as they are, and queued attempts are launched. A task "
        "whose end is in none of its rows runs again: mark first what must not."
    )
    return _ask(request, title=f"Release {executor}", text=text, label="Release", danger=True)


def _ask(
    request: HttpRequest, *, title: str, text: str, label: str, danger: bool, required: bool = False
) -> HttpResponse:
    context = {
        "title": title,
        "text": text,
        "keys": [],
        "label": label,
        "back": reverse("drift"),
        "danger": danger,
        "ask_reason": True,
        "reason_required": required,
        "reason_shown": "Shown with the finding and in the audit log",
        "action": request.path,
    }
    return rendering.dialog(request, "web/confirm.html", context)
