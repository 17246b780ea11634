"""How an answer is made: whole pages for browsers, the live part alone for htmx, nothing when nothing changed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string

from execplane.contract.errors import ExecplaneError
from execplane.web.permissions import may

# What differs between two renderings of the same facts: relative times and masked CSRF tokens.
_NOISE = re.compile(r"<time[^>]*>[^<]*</time>|name=\"csrfmiddlewaretoken\" value=\"[^\"]*\"")


def is_htmx(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true" and "HX-History-Restore-Request" not in request.headers


def digest(part: str) -> str:
    """What tells one live part from another. The whole page carries it, too: its part is then fetched again only for
    what changed between its rendering and its subscription."""
    return hashlib.blake2s(_NOISE.sub("", part).strip().encode(), digest_size=8).hexdigest()


def show(request: HttpRequest, template: str, context: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
    """Render a page. For htmx only its block `live`; 204 when the caller already has exactly that."""
    partial = is_htmx(request)
    values = {
        "layout": "web/live.html" if partial else "web/base.html",
        "staff": may(request.user, "change"),
        **context,
    }
    body = render_to_string(template, values, request)
    response = HttpResponse(body, status=status)
    if partial:
        now = digest(body)
        if request.headers.get("X-Have") == now:
            response = HttpResponse(status=204)
        response["X-Digest"] = now
        response["X-Topics"] = quote(str(context.get("topics", "")))
    response["Vary"] = "HX-Request, Cookie"
    response["Cache-Control"] = "no-store"
    return response


def dialog(request: HttpRequest, template: str, context: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
    """Render a question: in the page's dialog for htmx, as a page of its own without.

    On a page of its own the form is a plain one: an answer for the dialog would be seen by nobody there.
    """
    own_page = not is_htmx(request)
    layout = "web/base.html" if own_page else "web/dialog.html"
    values = {"layout": layout, "own_page": own_page, "staff": may(request.user, "change"), **context}
    response = HttpResponse(render_to_string(template, values, request), status=status)
    response["Vary"] = "HX-Request, Cookie"
    response["Cache-Control"] = "no-store"
    return response


def done(request: HttpRequest, text: str, url: str) -> HttpResponse:
    """A verb was carried out: say so on the page that follows."""
    messages.success(request, text)
    if is_htmx(request):
        return HttpResponse(status=204, headers={"HX-Redirect": url})
    return HttpResponseRedirect(url)


def stay(request: HttpRequest, text: str, url: str) -> HttpResponse:
    """A verb was carried out and the page stays: a toast, and the live parts fetch themselves again."""
    if is_htmx(request):
        events = {"toast": {"level": "success", "text": text}, "refresh": True}
        return HttpResponse(status=204, headers={"HX-Trigger": json.dumps(events)})
    messages.success(request, text)
    return HttpResponseRedirect(url)


def refused(request: HttpRequest, error: ExecplaneError, url: str) -> HttpResponse:
    """A verb was refused: its message and hint, where the user stands."""
    if is_htmx(request):
        toast = {"level": "error", "text": error.message, "hint": error.hint}
        return HttpResponse(status=204, headers={"HX-Trigger": json.dumps({"toast": toast})})
    messages.error(request, str(error))
    return HttpResponseRedirect(url)


def safe_next(request: HttpRequest, fallback: str) -> str:
    """Where to go on: the form's `next` when it is a path of ours."""
    target = request.POST.get("next", "") or request.GET.get("next", "")
    return target if re.match(r"^/(?![/\\])", target) else fallback
