"""Our own errors as pages: their message and hint with the status they mean, never a traceback.

Django's other errors (an address that does not exist, a failure of ours) use the templates 400, 403, 404, 500.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from execplane.contract import errors
from execplane.store.database import is_outage
from execplane.web import rendering

_STATUS: tuple[tuple[type[errors.ExecplaneError], int, str], ...] = (
    (errors.NotFound, 404, "Not found"),
    (errors.Forbidden, 403, "Not allowed"),
    (errors.Conflict, 409, "Not possible now"),
    (errors.InvalidInput, 400, "Not valid"),
    (errors.Unavailable, 503, "Not available now"),
)


def shown(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A view whose ExecplaneErrors become pages (toasts, where a form of a page asked)."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            _refuse_nul(request)
            return view(request, *args, **kwargs)
        except errors.ExecplaneError as error:
            if request.method == "POST" and rendering.is_htmx(request):
                return rendering.refused(request, error, "")
            return page(request, error)

    return guarded


def _refuse_nul(request: HttpRequest) -> None:
    """PostgreSQL takes no NUL, and nothing that a person types has one: refused here, once for all pages."""
    sent = [*request.GET.lists(), *request.POST.lists()]
    if "\0" in request.path or any("\0" in text for key, values in sent for text in (key, *values)):
        raise errors.InvalidInput(
            "What was sent has a NUL character in it, which cannot be stored or looked for.",
            hint="Remove it from the address or the form's fields.",
        )


def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler of what no view caught. The database is asked for the session before any view, so its outage
    arrives here; the page must then do without it."""
    error = sys.exc_info()[1]
    if error is None or not is_outage(error):
        return HttpResponse(render_to_string("500.html"), status=500)
    context = {
        "status": 503,
        "title": "Not available now",
        "message": "The database does not answer, so no page can be shown. Running tasks go on meanwhile.",
        "hint": "`execplane status` tells which part is down. Reload this page once it answers.",
    }
    return HttpResponse(render_to_string("web/error.html", context), status=503)


def page(request: HttpRequest, error: errors.ExecplaneError) -> HttpResponse:
    status, title = next(
        ((status, title) for kind, status, title in _STATUS if isinstance(error, kind)),
        (500, "Something went wrong"),
    )
    context = {"status": status, "title": title, "message": error.message, "hint": error.hint}
    return HttpResponse(render_to_string("web/error.html", context, request), status=status)
