"""A task instance and its attempts: log, phases, pod, rendered fields, XComs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.http import content_disposition_header

from execplane.contract.categories import Category
from execplane.contract.dag import TaskSpec
from execplane.contract.errors import ExecplaneError, NotFound
from execplane.contract.keys import NOT_MAPPED
from execplane.contract.logs import LogGap, LogRecord
from execplane.logs.pages import Produced
from execplane.store import blob_rows
from execplane.store.queries import attempts, audit, flights, runs, tasks, versions
from execplane.store.queries import xcoms as xcom_queries
from execplane.web import drawing, podview, rendering, siblings, wiring, xcom_words
from execplane.web.permissions import READ, needs
from execplane.web.views.dag import number

_TEXT_PAGE_LINES = 5000
_ATTEMPTS_SHOWN = 50
# Outcomes that were decided without the worker's report; the others carry its last line's number.
_NO_REPORT = frozenset(
    {
        Category.OOM_KILLED,
        Category.SIGNAL,
        Category.USER_CODE,
        Category.EVICTED,
        Category.PREEMPTED,
        Category.NODE_LOST,
        Category.DRAINED,
        Category.DELETED,
        Category.DEADLINE,
        Category.EXIT,
        Category.VANISHED,
        Category.ENDED_UNSEEN,
        Category.HEARTBEAT_LOST,
        Category.RESULT_LOST,
        Category.UNREPORTED,
        Category.UNKNOWN,
    }
)


def task(request: HttpRequest, dag_id: str, run_id: str, task_id: str, map_index: int = NOT_MAPPED) -> HttpResponseBase:
    """A task instance by its names: its newest attempt, the list of a mapped task, or why nothing ran yet."""
    run = runs.get_run(dag_id, run_id)
    try:
        row = tasks.get_task(dag_id, run_id, task_id, map_index)
    except NotFound:
        page = tasks.mapped_instances(run.id, task_id, limit=1)
        if map_index == NOT_MAPPED and page.rows:
            return _mapped(request, run, task_id)
        raise
    found = attempts.attempts_of(row.id, limit=1)
    if found:
        return HttpResponseRedirect(reverse("attempt", args=[found[-1].id]))
    context = {"run": run, "ti": row, "task": _task_spec(run, task_id), "topics": f"run:{run.id}"}
    return rendering.show(request, "web/task.html", context)


def _mapped(request: HttpRequest, run: runs.RunRow, task_id: str) -> HttpResponse:
    state = request.GET.get("state", "")
    after = number(request.GET.get("after"))
    page = tasks.mapped_instances(run.id, task_id, state=state, after=NOT_MAPPED if after is None else after)
    cell = tasks.cells([run.id])[run.id][task_id]
    context = {
        "run": run,
        "task_id": task_id,
        "task": _task_spec(run, task_id),
        "page": page,
        "cell": cell,
        "state_filter": state,
        "after": after,
        "topics": f"run:{run.id}",
    }
    return rendering.show(request, "web/mapped.html", context)


def task_attempts(
    request: HttpRequest, dag_id: str, run_id: str, task_id: str, map_index: int = NOT_MAPPED
) -> HttpResponse:
    """All attempts of a task instance, newest first, those of one try together."""
    run = runs.get_run(dag_id, run_id)
    row = tasks.get_task(dag_id, run_id, task_id, map_index)
    before = number(request.GET.get("before"))
    found = attempts.attempts_of(row.id, limit=_ATTEMPTS_SHOWN + 1, before_no=before)
    shown = found[-_ATTEMPTS_SHOWN:]
    context = {
        "run": run,
        "ti": row,
        "tries": siblings.tries(shown),
        "before": before,
        "next_key": shown[0].attempt_no if len(found) > len(shown) else None,
        "topics": f"run:{run.id}",
    }
    return rendering.show(request, "web/task_attempts.html", context)


def _task_spec(run: runs.RunRow, task_id: str) -> TaskSpec | None:
    spec = versions.spec(run.version_id)
    return next((one for one in spec.tasks if one.task_id == task_id), None)


def _frame(attempt_id: int, tab: str) -> tuple[attempts.AttemptRow, dict[str, Any]]:
    row = attempts.get_attempt(attempt_id)
    run = runs.get_run(row.dag_id, row.run_id)
    newest = attempts.attempts_of(row.ti_id)
    chips = siblings.chips(newest, row)
    waiting = None if row.is_ended else attempts.waiting([row.id]).get(row.id)
    ti = tasks.get_task_by_pk(row.ti_id)
    context = {
        "attempt": row,
        "run": run,
        "ti": ti,
        "marked": _marked(row, ti),
        "task": _task_spec(run, row.task_id),
        "siblings": chips,
        "more_attempts": len(newest) > len(chips) or row.id not in {one.id for one in newest},
        "newest": newest[-1].id == row.id,
        "waiting": waiting,
        "tab": tab,
        "is_pod": podview.is_pod(row),
        "held": row.is_held(wiring.clock().now()),
        "exec_command": podview.exec_command(row),
        "topics": f"attempt:{row.id} run:{run.id}",
    }
    return row, context


def _marked(row: attempts.AttemptRow, ti: tasks.TaskRow) -> str:
    """Who marked the task instance; what its attempt says is history then. "" where the attempt says the same."""
    if not ti.reason or ti.reason == row.reason or ti.ended_at is None:
        return ""
    return ti.reason if audit.was_marked(row.key.task, ti.ended_at) else ""


def log(request: HttpRequest, attempt_id: int) -> HttpResponse:
    row, context = _frame(attempt_id, "log")
    return rendering.show(request, "web/attempt_log.html", {**context, "log_topic": f"log:{row.id}"})


def _produced(row: attempts.AttemptRow) -> Produced:
    """How much log there should be. Only a worker that reported its end told its last line, too."""
    # A worker may also have reported what others may find: then its report brought the peak.
    reported = row.category not in _NO_REPORT or row.peak_memory_bytes is not None
    return Produced(lines=row.log_offset, ended=row.is_ended, reported=reported)


def log_json(request: HttpRequest, attempt_id: int) -> HttpResponse:
    """A page of log lines for the viewer: ?offset= goes on from there."""
    row = attempts.get_attempt(attempt_id)
    if not row.is_ended:
        wiring.parts().watch(attempt_id)
    try:
        page = wiring.logs().read(
            row.key,
            offset=number(request.GET.get("offset")) or 0,
            limit=wiring.parts().log_page_lines,
            produced=_produced(row),
        )
    except ExecplaneError as error:
        body = msgspec.json.encode({"error": error.message, "hint": error.hint})
        return HttpResponse(body, content_type="application/json", status=404 if isinstance(error, NotFound) else 503)
    body = msgspec.json.encode({"page": page, "ended": row.is_ended, "state": row.state, "produced": row.log_offset})
    return HttpResponse(body, content_type="application/json", headers={"Cache-Control": "no-store"})


def log_text(request: HttpRequest, attempt_id: int) -> HttpResponseBase:
    """The whole log as plain text, streamed: for curl, grep and people without scripts."""
    row = attempts.get_attempt(attempt_id)
    wiring.logs()
    response = StreamingHttpResponse(_text(row), content_type="text/plain; charset=utf-8")
    if "download" in request.GET:
        response["Content-Disposition"] = _saved_as(f"{row.dag_id}.{row.task_id}.{row.attempt_no}.log")
    return response


def _saved_as(name: str) -> str:
    """The header that names a download; a name beyond ASCII goes as RFC 5987 says."""
    return content_disposition_header(True, name) or ""


def _text(row: attempts.AttemptRow) -> Iterator[str]:
    offset = 0
    while True:
        page = wiring.logs().read(row.key, offset=offset, limit=_TEXT_PAGE_LINES, produced=_produced(row))
        entries: list[tuple[int, str]] = [(record.offset, _line(record)) for record in page.records]
        # A gap stands behind the line before it; False sorts a line before its gap.
        entries += [(gap.after_offset, f"--- {missing(gap)} ---\n") for gap in page.gaps]
        yield from (text for _, text in sorted(entries, key=lambda entry: (entry[0], entry[1].startswith("---"))))
        if page.complete or page.next_offset <= offset:
            return
        offset = page.next_offset


def _line(record: LogRecord) -> str:
    return f"[{record.at.isoformat(timespec='milliseconds')}] {record.level} - {record.message}\n"


def missing(gap: LogGap) -> str:
    """What is lost, in words; lines count from 1 as in the viewer."""
    if gap.count is None:
        return f"an unknown number of lines after line {gap.after_offset + 1} is missing"
    first = gap.after_offset + 2
    if gap.count == 1:
        return f"line {first} is missing"
    return f"lines {first} to {first + gap.count - 1} are missing"


def timeline(request: HttpRequest, attempt_id: int) -> HttpResponse:
    row, context = _frame(attempt_id, "timeline")
    found = row.timeline
    return rendering.show(
        request,
        "web/attempt_timeline.html",
        {
            **context,
            "phases": drawing.phases(found, None if row.is_ended else wiring.clock().now()),
            "skews": found.skews,
            "events": attempts.events(row.id),
            "accesses": attempts.secret_accesses(row.id),
        },
    )


def _sent(row: attempts.AttemptRow) -> bytes | None:
    return blob_rows.get(row.intent_sha256) if row.intent_sha256 else None


def pod(request: HttpRequest, attempt_id: int) -> HttpResponse:
    """What was sent, the same object but for masked secrets, the last status that came back, and the flight record."""
    row, context = _frame(attempt_id, "pod")
    try:
        sent = _sent(row)
        missing = ""
    except NotFound as error:
        sent, missing = None, str(error)
    flight = flights.flight_of(row.id)
    return rendering.show(
        request,
        "web/attempt_pod.html",
        {
            **context,
            "yaml": podview.yaml_lines(sent),
            "missing": missing,
            "pod": podview.status(row.status),
            "commands": podview.commands(row),
            "flight": flight,
            "flight_pod": podview.status(flight.pod) if flight else None,
            "flight_yaml": podview.yaml_lines(msgspec.json.encode(flight.pod)) if flight and flight.pod else [],
            "flight_warns": any(one.type == "Warning" for one in flight.events) if flight else False,
        },
    )


def flight_json(request: HttpRequest, attempt_id: int) -> HttpResponse:
    """The flight record as a file: for a ticket, or to compare two attempts."""
    row = attempts.get_attempt(attempt_id)
    flight = flights.flight_of(row.id)
    if flight is None:
        raise NotFound(f"There is no flight record of attempt {row.id}.", hint="It may be past its time.")
    body = msgspec.json.format(msgspec.json.encode(flight), indent=2)
    headers = {"Content-Disposition": _saved_as(f"{row.pod_name or f'attempt-{row.id}'}.flight.json")}
    return HttpResponse(body, content_type="application/json", headers=headers)


def pod_yaml(request: HttpRequest, attempt_id: int) -> HttpResponse:
    row = attempts.get_attempt(attempt_id)
    sent = _sent(row)
    if sent is None:
        raise NotFound("Nothing was sent for this attempt yet.", hint="It is still waiting to be launched.")
    headers = {"Content-Disposition": _saved_as(f"{row.pod_name or f'attempt-{row.id}'}.yaml")}
    return HttpResponse(podview.as_yaml(sent), content_type="application/yaml", headers=headers)


def rendered(request: HttpRequest, attempt_id: int) -> HttpResponse:
    _, context = _frame(attempt_id, "rendered")
    return rendering.show(request, "web/attempt_rendered.html", context)


def xcoms(request: HttpRequest, attempt_id: int) -> HttpResponse:
    row, context = _frame(attempt_id, "xcoms")
    found = xcom_queries.xcoms_of(row.ti_id)
    store = wiring.parts().blobs
    # The row of a large value has no size: the blob store knows it, None where it has no such blob (any more).
    sizes = {one.blob_sha256: store.size(one.blob_sha256) for one in found if one.blob_sha256} if store else {}
    readable = {one.key: xcom_words.readable(one.text) for one in found if one.text is not None and not one.cut}
    return rendering.show(
        request, "web/attempt_xcoms.html", {**context, "xcoms": found, "blob_sizes": sizes, "readable": readable}
    )


@needs(READ)
def xcom_value(request: HttpRequest, attempt_id: int) -> HttpResponseBase:
    """One XCom, ?key=, whole and as a file: a browser never shows what a task pushed as a page of ours."""
    row = attempts.get_attempt(attempt_id)
    key = request.GET.get("key", "")
    found = xcom_queries.value_of(row.ti_id, key)
    response: HttpResponseBase
    if found.value is not None:
        response = HttpResponse(found.value, content_type="application/octet-stream")
    else:
        size = wiring.blobs().size(found.blob_sha256)
        if size is None:
            raise NotFound(f"The value of the XCom {key} is no longer in the blob store.")
        response = StreamingHttpResponse(
            wiring.blobs().stream(found.blob_sha256), content_type="application/octet-stream"
        )
        response["Content-Length"] = str(size)
    name = re.sub(r"[^\w.+-]+", "_", f"{row.dag_id}.{row.task_id}.{key}")[:150]
    response["Content-Disposition"] = _saved_as(f"{name}.json")
    response["X-Content-Type-Options"] = "nosniff"
    return response
