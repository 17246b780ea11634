"""The deployment: pods, pools, import errors, loops, and who changed what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.templatetags.static import static

from execplane.store import deadline_rows
from execplane.store.queries import attempts, audit, drift, system
from execplane.web import changed, rendering, wiring
from execplane.web.permissions import may
from execplane.web.views import holds as launch_holds
from execplane.web.views.dag import number

LOOP_STALE = timedelta(seconds=30)
ENDED_STATES = ("success", "failed", "skipped", "rescheduled", "cancelled")


def favicon(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(static("execplane/icon.svg"))


def pods(request: HttpRequest) -> HttpResponse:
    """What is alive, or what ended: by state, node or failure category."""
    view = request.GET.get("view", "active")
    before = number(request.GET.get("before"))
    wanted = {name: request.GET.get(name, "").strip()[:300] for name in ("state", "node", "category", "dag_id")}
    if view == "ended":
        page = attempts.ended_attempts(
            state=wanted["state"],
            dag_id=wanted["dag_id"],
            category=wanted["category"],
            node=wanted["node"],
            before=before,
        )
    else:
        page = attempts.active_attempts(executors=wiring.parts().executors, before=before)
    return rendering.show(
        request,
        "web/pods.html",
        {
            "view": view,
            "page": page,
            "before": before,
            "wanted": wanted,
            "filtered": any(wanted.values()),
            "waiting": attempts.waiting([row.id for row in page.rows]) if view != "ended" else {},
            "states": ENDED_STATES,
            "drift": drift.count_open(),
            "held": launch_holds.notice(),
            "topics": " ".join(
                ["driver", "dags", "drift", "holds", *dict.fromkeys(f"dag:{row.dag_id}" for row in page.rows)]
            ),
        },
    )


@dataclass(frozen=True, kw_only=True)
class PoolLine:
    pool: system.PoolRow
    queued: int
    running: int

    @property
    def used(self) -> int:
        return self.queued + self.running

    @property
    def share(self) -> float:
        return 0.0 if self.pool.slots <= 0 else min(100.0, self.running / self.pool.slots * 100)


def pools(request: HttpRequest) -> HttpResponse:
    used = attempts.active_by_pool(wiring.parts().executors)
    known = system.pools()
    found = []
    for pool in known:
        states = used.get(pool.name, {})
        queued = states.get("queued", 0)
        found.append(PoolLine(pool=pool, queued=queued, running=sum(states.values()) - queued))
    return rendering.show(request, "web/pools.html", {"pools": found, "topics": "pools driver"})


def import_errors(request: HttpRequest) -> HttpResponse:
    before = number(request.GET.get("before"))
    page = system.import_errors(before=before)
    return rendering.show(
        request, "web/import_errors.html", {"page": page, "before": before, "topics": "import-errors"}
    )


def audit_log(request: HttpRequest) -> HttpResponse:
    """Who changed what, newest first; ?object= narrows it to one."""
    before = number(request.GET.get("before"))
    wanted = request.GET.get("object", "").strip()[:600]
    # Who has an account, and which, is no reader's business.
    page = audit.changes(objects=[wanted] if wanted else None, users=may(request.user, "users.list"), before=before)
    context = {
        "page": page,
        "changes": [changed.change(row) for row in page.rows],
        "wanted": wanted,
        "before": before,
        # Every verb nudges one of these; those on Variables and Connections show at the next poll.
        "topics": "dags driver",
    }
    return rendering.show(request, "web/audit.html", context)


@dataclass(frozen=True, kw_only=True)
class LoopLine:
    loop: system.LoopRow
    lease: system.LeaseRow | None
    silent: bool
    """It said nothing for a while, and no other process runs this loop."""
    holds: bool


def loops(request: HttpRequest) -> HttpResponse:
    """Each loop of each process; silent ones first, because they are why somebody looks here.

    A process that ended leaves its rows behind: they are no alarm while another one does its work.
    """
    now = wiring.clock().now()
    leases = system.leases()
    rows = system.loops()
    alive = {row.name for row in rows if now - row.seen_at <= LOOP_STALE}
    found: list[LoopLine] = []
    ended: list[LoopLine] = []
    for row in rows:
        lease = leases.get(row.name)
        stale = now - row.seen_at > LOOP_STALE
        holds = lease is not None and row.process in (lease.holder, lease.holder.split("/")[0])
        line = LoopLine(loop=row, lease=lease, silent=stale and row.name not in alive, holds=holds)
        (ended if stale and row.name in alive else found).append(line)
    found.sort(key=lambda line: (not line.silent, line.loop.name, line.loop.process))
    ended.sort(key=lambda line: line.loop.seen_at, reverse=True)
    names = {row.name for row in rows}
    rest = [lease for name, lease in leases.items() if name not in names]
    context = {
        "loops": found,
        "ended": ended[:100],
        "leases": rest,
        "now": now,
        "deadlines": deadline_rows.words(),
        "held": launch_holds.notice(),
        "topics": "loops holds",
    }
    return rendering.show(request, "web/loops.html", context)
