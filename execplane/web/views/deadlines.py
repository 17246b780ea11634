"""The question that an open breaker of deadlines asks."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from execplane.actions import deadlines as verbs
from execplane.contract.errors import NotFound
from execplane.store import deadline_rows
from execplane.web import rendering
from execplane.web.permissions import actor, needs


@needs("deadlines.confirm")
@require_http_methods(["GET", "POST"])
def confirm(request: HttpRequest, executor: str) -> HttpResponse:
    back = reverse("loops")
    if request.method == "POST":
        count = verbs.confirm(actor(request), executor)
        return rendering.done(request, f"{count} attempts of {executor} are being ended.", back)
    word = deadline_rows.word(executor)
    if word is None or not word.breaker_open:
        raise NotFound(f"The breaker of the {executor} executor's deadlines is not open (any more).")
    context = {
        "title": f"End {word.overdue} attempts of {executor}",
        "text": f"{word.sentence} Confirm it when they really are lost or stuck: each ends as its deadline says.",
        "label": "End them",
        "back": back,
        "danger": True,
        "action": request.path,
    }
    return rendering.dialog(request, "web/confirm.html", context)
