"""Launch holds: what is not launched for now, by whom and why; a form for one more, and the press that releases it."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from execplane.actions import holds as verbs
from execplane.contract.errors import ExecplaneError, NotFound
from execplane.contract.launch_holds import LaunchHold, Scope
from execplane.executors.driver.launch_waves import wave_of
from execplane.store import launch_hold_rows, launch_wave_rows
from execplane.web import rendering, wiring
from execplane.web.forms import FormField
from execplane.web.permissions import actor, needs
from execplane.web.views.dag import number

_SCOPES = {
    Scope.ALL: "All launches",
    Scope.EXECUTOR: "An executor",
    Scope.CLUSTER: "A cluster",
    Scope.NAMESPACE: "A namespace",
    Scope.DAG_TAG: "DAGs with a tag",
    Scope.DAG: "A DAG",
}


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What is held back now: pages where an operator looks say so."""

    holds: tuple[LaunchHold, ...]
    waves: tuple[tuple[launch_wave_rows.WaveRow, str], ...]
    """Each with where it stands."""


def notice() -> Notice:
    waves = tuple((row, wave_of(row).sentence) for row in launch_wave_rows.waves())
    return Notice(holds=launch_hold_rows.active(wiring.clock().now()), waves=waves)


def holds(request: HttpRequest) -> HttpResponse:
    """Those that count, or all that are kept."""
    view = "all" if request.GET.get("view") == "all" else "now"
    before = number(request.GET.get("before"))
    now = wiring.clock().now()
    page = launch_hold_rows.page(now=now, ended=view == "all", before=before)
    lines = [(row, row.counts(now)) for row in page.rows]
    context = {
        "view": view,
        "before": before,
        "page": page,
        "lines": lines,
        "held": Notice(holds=(), waves=notice().waves),
        "topics": launch_hold_rows.TOPIC,
    }
    return rendering.show(request, "web/holds.html", context)


@needs("holds.hold")
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """?scope= and ?name= say what the form starts from."""
    given = {name: request.GET.get(name, "").strip()[: verbs.MOST_NAME] for name in ("scope", "name")}
    refusal: ExecplaneError | None = None
    if request.method == "POST":
        given = {name: request.POST.get(name, "").strip() for name in ("scope", "name", "reason", "until")}
        try:
            made = verbs.hold(
                actor(request), given["scope"], given["name"], given["reason"], given["until"], clock=wiring.clock()
            )
            return rendering.done(request, f"Held: {made.what}. What runs goes on.", reverse("holds"))
        except ExecplaneError as error:
            refusal = error
    context = {
        "title": "Hold launches",
        "label": "Hold launches",
        "fields": _fields(given),
        "refusal": refusal,
        "action": request.get_full_path(),
        "back": reverse("holds"),
    }
    refused = refusal is not None and not rendering.is_htmx(request)
    return rendering.dialog(request, "web/secret.html", context, status=422 if refused else 200)


def _fields(given: dict[str, str]) -> tuple[FormField, ...]:
    choices = tuple((str(scope), label) for scope, label in _SCOPES.items())
    which = "Of the executor, cluster, namespace, tag or DAG; leave it empty for all launches."
    until = "30m, 2h, 1d12h, or a date and time in UTC; empty: until somebody releases it."
    return (
        FormField(
            name="scope", kind="select", title="Hold", choices=choices, value=given.get("scope", ""), required=True
        ),
        FormField(name="name", kind="text", title="Name", description=which, value=given.get("name", "")),
        FormField(
            name="reason",
            kind="text",
            title="Reason",
            description="Shown on everything that waits for it, and in the audit log.",
            value=given.get("reason", ""),
            required=True,
        ),
        FormField(name="until", kind="text", title="For, or until", description=until, value=given.get("until", "")),
    )


@needs("holds.release")
@require_http_methods(["GET", "POST"])
def release(request: HttpRequest, hold_id: int) -> HttpResponse:
    back = reverse("holds")
    if request.method == "POST":
        try:
            ended = verbs.release(actor(request), hold_id, clock=wiring.clock())
        except ExecplaneError as error:
            return rendering.refused(request, error, back)
        return rendering.done(request, f"Released: {ended.what}.", back)
    hold = launch_hold_rows.get(hold_id).hold
    context = {
        "title": f"Release {hold.what}",
        "text": f"{hold.sentence} What only this hold kept is launched at once.",
        "keys": [],
        "label": "Release",
        "back": back,
        "danger": False,
        "action": request.path,
    }
    return rendering.dialog(request, "web/confirm.html", context)


@needs("holds.launch_all")
@require_http_methods(["GET", "POST"])
def launch_all(request: HttpRequest, executor: str) -> HttpResponse:
    back = reverse("holds")
    if request.method == "POST":
        try:
            verbs.launch_all(actor(request), executor, clock=wiring.clock())
        except ExecplaneError as error:
            return rendering.refused(request, error, back)
        return rendering.done(request, f"The {executor} executor launches all that waits.", back)
    row = launch_wave_rows.wave(executor)
    if row is None:
        raise NotFound(f"The launches of the executor {executor} do not go out in waves (any more).")
    context = {
        "title": f"Launch all that waits for {executor}",
        "text": f"{wave_of(row).sentence} What waits is launched as fast as it can be; to stop it, hold the executor.",
        "keys": [],
        "label": "Launch all",
        "back": back,
        "danger": True,
        "action": request.path,
    }
    return rendering.dialog(request, "web/confirm.html", context)
