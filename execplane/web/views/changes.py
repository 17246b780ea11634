"""The verbs as questions: what would be affected, then the press that does it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from execplane.actions import attempts as attempt_verbs
from execplane.actions import dags as dag_verbs
from execplane.actions import runs as run_verbs
from execplane.actions import tasks as task_verbs
from execplane.contract.errors import ExecplaneError, NotFound
from execplane.contract.keys import NOT_MAPPED, TaskKey
from execplane.store.queries import attempts, dags, runs, tasks, versions
from execplane.web import forms, rendering
from execplane.web.permissions import actor, needs

OPTIONS = (
    ("downstream", "Downstream", "tasks that follow in this run"),
    ("upstream", "Upstream", "tasks that come before in this run"),
    ("past", "Past", "also in earlier runs"),
    ("future", "Future", "also in later runs"),
    ("only_failed", "Only failed", "leave out what succeeded"),
    ("latest", "Latest version", "with the DAG's newest files, not those the run began with"),
)
SHOWN_KEYS = 200
MARKS = ("success", "failed", "skipped")
ask = require_http_methods(["GET", "POST"])


def _many(count: int, noun: str = "task instance") -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@needs("dags.trigger")
@ask
def trigger(request: HttpRequest, dag_id: str) -> HttpResponse:
    """A form made of the DAG's params; the raw conf stays within reach."""
    row = dags.get_dag(dag_id, recent=1)
    spec = versions.spec(row.version_id) if row.version_id is not None else None
    params = spec.params if spec else {}
    given: dict[str, str] | None = None
    errors: dict[str, str] = {}
    refusal: ExecplaneError | None = None
    if request.method == "POST":
        given = {name: str(value) for name, value in request.POST.items()}
        conf, errors = forms.read(params, given)
        extra, logical_date = _extras(given, errors)
        if not errors:
            try:
                run = dag_verbs.trigger(
                    actor(request),
                    dag_id,
                    conf=conf | extra,
                    logical_date=logical_date,
                    run_id=given.get("run_id", "").strip() or None,
                )
                text = f"Triggered {run.run_id}."
                if run.paused and "unpause" in given:
                    dag_verbs.unpause(actor(request), dag_id)
                    text += f" {dag_id} is active."
                elif run.paused:
                    text += f" {dag_id} is paused: it starts when unpaused."
                return rendering.done(request, text, reverse("run", args=[dag_id, run.run_id]))
            except ExecplaneError as error:
                refusal = error
    context = {
        "dag": row,
        "fields": forms.fields(params, given, errors),
        "given": given or {},
        "unpause": given is None or "unpause" in given,
        "errors": errors,
        "refusal": refusal,
    }
    # In the dialog a refusal is an answer like any other; an error status would only fill the browser's console.
    refused = given is not None and not rendering.is_htmx(request)
    return rendering.dialog(request, "web/trigger.html", context, status=422 if refused else 200)


def _extras(given: dict[str, str], errors: dict[str, str]) -> tuple[dict[str, Any], datetime | None]:
    """Raw conf and logical date; what is wrong goes to `errors`."""
    extra: dict[str, Any] = {}
    moment: datetime | None = None
    try:
        extra = forms.read_conf(given.get("conf", ""))
    except ValueError as error:
        errors["conf"] = str(error)
    text = given.get("logical_date", "").strip()
    if text:
        try:
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        except ValueError:
            errors["logical_date"] = "Not a date and time: write 2026-01-31T08:00."
    return extra, moment


def _chosen(data: QueryDict) -> dict[str, bool]:
    return {name: name in data for name, *_ in OPTIONS}


@needs("tasks.clear")
@ask
def clear_task(
    request: HttpRequest, dag_id: str, run_id: str, task_id: str, map_index: int = NOT_MAPPED
) -> HttpResponse:
    """Clear a task instance; the list of what that hits follows the options."""
    data = request.POST if request.method == "POST" else request.GET
    chosen = _chosen(data)
    if "asked" not in data:
        chosen["downstream"] = True
    indexes = None if map_index == NOT_MAPPED else [map_index]
    back = _task_address(dag_id, run_id, task_id, map_index)
    dry_run = request.method != "POST"
    keys = task_verbs.clear(
        actor(request),
        dag_id,
        run_id,
        [task_id],
        map_indexes=indexes,
        upstream=chosen["upstream"],
        downstream=chosen["downstream"],
        past=chosen["past"],
        future=chosen["future"],
        only_failed=chosen["only_failed"],
        latest=chosen["latest"],
        dry_run=dry_run,
    )
    if not dry_run:
        return rendering.done(request, f"Cleared {_many(len(keys))}.", rendering.safe_next(request, back))
    title = f"Clear {task_id}" + (f"[{map_index}]" if indexes else "")
    return _clear_dialog(request, title, keys, chosen, run_id, OPTIONS, back)


@needs("runs.clear")
@ask
def clear_run(request: HttpRequest, dag_id: str, run_id: str) -> HttpResponse:
    data = request.POST if request.method == "POST" else request.GET
    chosen = _chosen(data)
    only_failed = chosen["only_failed"]
    back = reverse("run", args=[dag_id, run_id])
    if request.method == "POST":
        keys = run_verbs.clear(actor(request), dag_id, run_id, only_failed=only_failed, latest=chosen["latest"])
        return rendering.done(request, f"Cleared {_many(len(keys))}.", back)
    keys = run_verbs.clear(actor(request), dag_id, run_id, only_failed=only_failed, dry_run=True)
    return _clear_dialog(request, "Clear run", keys, chosen, run_id, OPTIONS[-2:], back)


def _clear_dialog(
    request: HttpRequest,
    title: str,
    keys: list[TaskKey],
    chosen: dict[str, bool],
    run_id: str,
    options: tuple[tuple[str, str, str], ...],
    back: str,
) -> HttpResponse:
    context = {
        "title": title,
        "keys": keys[:SHOWN_KEYS],
        "more": max(0, len(keys) - SHOWN_KEYS),
        "count": _many(len(keys)),
        "options": [(name, label, text, chosen.get(name, False)) for name, label, text in options],
        "run_id": run_id,
        "action": request.path,
        "back": back,
    }
    return rendering.dialog(request, "web/clear.html", context)


def _task_address(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    if map_index == NOT_MAPPED:
        return reverse("task", args=[dag_id, run_id, task_id])
    return reverse("mapped-task", args=[dag_id, run_id, task_id, map_index])


@needs("tasks.mark")
@ask
def mark_task(
    request: HttpRequest, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = NOT_MAPPED
) -> HttpResponse:
    if state not in MARKS:
        raise NotFound(f"A task cannot be marked {state}.", hint=f"Mark it {', '.join(MARKS)}.")
    back = _task_address(dag_id, run_id, task_id, map_index)
    posted = request.method == "POST"
    keys = task_verbs.mark(actor(request), dag_id, run_id, task_id, map_index, state, dry_run=not posted)
    whole = keys[0].map_index != map_index
    name = task_id if map_index == NOT_MAPPED else f"{task_id}[{map_index}]"
    if posted:
        what = f"{name} ({_many(len(keys), 'instance')})" if whole else name
        return rendering.done(request, f"Marked {what} as {state}.", rendering.safe_next(request, back))
    return _confirm(
        request,
        title=f"Mark {'all of ' if whole else ''}{name} as {state}",
        text="The state is set by hand; tasks after it go on from there. What is running is stopped first.",
        keys=keys,
        noun="task instance",
        label=f"Mark {'all ' if whole else ''}{state}",
        back=back,
        danger=state == "failed",
    )


@needs("runs.mark")
@ask
def mark_run(request: HttpRequest, dag_id: str, run_id: str, state: str) -> HttpResponse:
    if state not in MARKS[:2]:
        raise NotFound(f"A run cannot be marked {state}.", hint="Mark it success or failed.")
    back = reverse("run", args=[dag_id, run_id])
    if request.method == "POST":
        run_verbs.mark(actor(request), dag_id, run_id, state)
        return rendering.done(request, f"Marked the run as {state}.", back)
    return _confirm(
        request,
        title=f"Mark run as {state}",
        text=f"The run ends as {state}. What is running is stopped, what has not started will not start.",
        keys=_unfinished(dag_id, run_id),
        label=f"Mark {state}",
        back=back,
        danger=state == "failed",
    )


@needs("runs.stop")
@ask
def stop_run(request: HttpRequest, dag_id: str, run_id: str) -> HttpResponse:
    back = reverse("run", args=[dag_id, run_id])
    if request.method == "POST":
        run_verbs.stop(actor(request), dag_id, run_id)
        return rendering.done(request, "The run is being stopped.", back)
    return _confirm(
        request,
        title="Stop run",
        text="The run ends as failed. What is running gets its grace period, what has not started is skipped.",
        keys=_unfinished(dag_id, run_id),
        label="Stop run",
        back=back,
        danger=True,
    )


def _unfinished(dag_id: str, run_id: str) -> list[TaskKey]:
    """The task instances that ending a run hits; mapped ones stand together."""
    pk = runs.get_run(dag_id, run_id).id
    ended = {"success", "failed", "skipped", "upstream_failed", "removed"}
    return [
        TaskKey(dag_id=dag_id, run_id=run_id, task_id=cell.task_id)
        for cell in tasks.cells([pk])[pk].values()
        if (set(cell.states) or {cell.state}) - ended
    ]


@needs("attempts.cancel")
@ask
def cancel(request: HttpRequest, attempt_id: int) -> HttpResponse:
    row = attempts.get_attempt(attempt_id)
    back = reverse("attempt", args=[attempt_id])
    if request.method == "POST":
        attempt_verbs.cancel(actor(request), attempt_id, request.POST.get("reason", "").strip()[:500])
        return rendering.done(request, f"Attempt {row.attempt_no} of {row.task_id} is being cancelled.", back)
    return _confirm(
        request,
        title=f"Cancel attempt {row.attempt_no}",
        text="It gets SIGTERM and its grace period. The task instance fails and is not retried.",
        keys=[row.key.task],
        label="Cancel attempt",
        back=back,
        danger=True,
        reason=True,
    )


@needs("attempts.release")
@ask
def release(request: HttpRequest, attempt_id: int) -> HttpResponse:
    """Let a container go that is held for debugging."""
    row = attempts.get_attempt(attempt_id)
    back = reverse("attempt", args=[attempt_id])
    if request.method == "POST":
        attempt_verbs.release(actor(request), attempt_id)
        return rendering.done(request, f"The container of attempt {row.attempt_no} is let go.", back)
    return _confirm(
        request,
        title=f"Release attempt {row.attempt_no}",
        text="Its container is ended within a minute, and its pod cleaned up as the deletion policy says. Whoever is "
        "in it by kubectl exec is thrown out.",
        keys=[row.key.task],
        label="Release container",
        back=back,
        danger=True,
    )


def _confirm(
    request: HttpRequest,
    *,
    title: str,
    text: str,
    keys: list[TaskKey],
    label: str,
    back: str,
    danger: bool,
    noun: str = "task",
    reason: bool = False,
) -> HttpResponse:
    context = {
        "title": title,
        "text": text,
        "keys": keys[:SHOWN_KEYS],
        "more": max(0, len(keys) - SHOWN_KEYS),
        "count": _many(len(keys), noun),
        "label": label,
        "back": back,
        "danger": danger,
        "ask_reason": reason,
        "action": request.path,
    }
    return rendering.dialog(request, "web/confirm.html", context)
