"""Where attempts spend their time: percentiles by template, image, node or namespace."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from execplane.store.queries import latency as queries
from execplane.web import rendering


def latency(request: HttpRequest) -> HttpResponse:
    """?by= groups, ?value= narrows to one group, ?phase= chooses what is compared."""
    by = request.GET.get("by", "node")
    by = by if by in queries.DIMENSIONS else "node"
    value = request.GET.get("value")
    phase = request.GET.get("phase", queries.START)
    phase = phase if phase in queries.PHASE_NAMES else queries.START
    found = queries.latency(by, value=None if value is None else value[:300])
    compared = [(group, one) for group in found.groups if (one := group.of(phase))]
    slowest = max((one.p90 for _, one in compared), default=0.0)
    return rendering.show(
        request,
        "web/latency.html",
        {
            "by": by,
            "dimensions": list(queries.DIMENSIONS),
            "value": value,
            "phase": phase,
            "spent": queries.SPENT[phase],
            "found": found,
            "compared": [(group, one, one.p90 / slowest * 100 if slowest else 0.0) for group, one in compared],
            "topics": "",
        },
    )
