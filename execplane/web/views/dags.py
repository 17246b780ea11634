"""The list of DAGs: what there is, how its last runs went, when the next one is due."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_POST

from execplane.actions import dags as verbs
from execplane.contract.errors import ExecplaneError
from execplane.store.queries import dags as queries
from execplane.web import rendering, wiring
from execplane.web.permissions import actor, needs
from execplane.web.views import holds

PAGE_SIZE = 50
STATUSES = (
    ("", "All"),
    ("active", "Active"),
    ("paused", "Paused"),
    ("running", "Running"),
    ("failed", "Failed"),
)


@gzip_page
def dag_list(request: HttpRequest) -> HttpResponse:
    wanted = queries.DagFilter(
        search=request.GET.get("q", "").strip()[:100],
        status=request.GET.get("status", ""),
        tag=request.GET.get("tag", "")[:100],
    )
    page = queries.list_dags(wanted, after=request.GET.get("after", ""), limit=PAGE_SIZE)
    filtered = bool(wanted.search or wanted.status or wanted.tag)
    return rendering.show(
        request,
        "web/dags.html",
        {
            "page": page,
            "wanted": wanted,
            "filtered": filtered,
            "after": request.GET.get("after", ""),
            "statuses": STATUSES,
            "total": queries.count_dags(wanted),
            "tags": queries.all_tags(),
            "folders": wiring.parts().dags_folders,
            "held": holds.notice(),
            "topics": " ".join(["dags", "holds", *(f"dag:{row.dag_id}" for row in page.rows)]),
        },
    )


@needs("dags.pause")
@require_POST
def pause(request: HttpRequest, dag_id: str) -> HttpResponse:
    """The switch: `paused` says what the DAG shall be, so that two presses in a row mean what they say."""
    back = rendering.safe_next(request, reverse("dag", args=[dag_id]))
    pausing = request.POST.get("paused") == "1"
    try:
        if pausing:
            verbs.pause(actor(request), dag_id)
        else:
            verbs.unpause(actor(request), dag_id)
    except ExecplaneError as error:
        return rendering.refused(request, error, back)
    text = f"{dag_id} is paused: no new runs are started." if pausing else f"{dag_id} is active."
    return rendering.stay(request, text, back)


@needs("dags.refresh")
@require_POST
def refresh(request: HttpRequest) -> HttpResponse:
    back = rendering.safe_next(request, reverse("dags"))
    try:
        verbs.refresh(actor(request))
    except ExecplaneError as error:
        return rendering.refused(request, error, back)
    return rendering.stay(request, "The DAG folders are being read again.", back)
