"""Kubernetes' probes, answered before everything else: kubelets send the pod's address as Host and no cookie.

`/healthz`: this process answers requests; it never asks the database, so a database outage restarts no web server.
`/readyz`: the database answers, too.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from execplane.store.database import reachable


class ProbeMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info == "/healthz":
            return _plain("ok", 200)
        if request.path_info == "/readyz":
            problem = reachable()
            return _plain(problem or "ok", 503 if problem else 200)
        return self._get_response(request)


def _plain(text: str, status: int) -> HttpResponse:
    return HttpResponse(
        text + "\n", status=status, content_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"}
    )
