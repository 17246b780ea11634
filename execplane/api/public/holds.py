"""Launch holds: Airflow has no address for them, so the names are ours."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from execplane.actions import holds as verbs
from execplane.api.public.inputs import PageQuery, Strict
from execplane.api.public.views import View, acting, page_key, valid
from execplane.contract.clock import SystemClock
from execplane.contract.launch_holds import LaunchHold
from execplane.store import launch_hold_rows, launch_wave_rows

_clock = SystemClock()


class HoldsQuery(PageQuery):
    ended = serializers.BooleanField(required=False, default=False)


class NewHold(Strict):
    scope = serializers.CharField(max_length=20)
    name = serializers.CharField(required=False, default="", allow_blank=True, max_length=verbs.MOST_NAME)
    reason = serializers.CharField(max_length=verbs.MOST_REASON)
    until = serializers.CharField(required=False, default="", allow_blank=True, allow_null=True, max_length=60)


class LaunchHolds(View):
    def get(self, request: Request) -> Response:
        """?ended=true for those that ended, too; ?limit, ?after."""
        query = valid(HoldsQuery, request.query_params)
        page = launch_hold_rows.page(
            now=_clock.now(), ended=query["ended"], before=page_key(query["after"]), limit=query["limit"]
        )
        rows = [{**_shape(row.hold), "ended_at": row.ended_at, "ended_by": row.ended_by or None} for row in page.rows]
        return Response({"launch_holds": rows, "next": None if page.next_key is None else str(page.next_key)})

    def post(self, request: Request) -> Response:
        """{"scope": "all|executor|cluster|namespace|dag_tag|dag", "name", "reason", "until": "2h" or a date}."""
        wanted = valid(NewHold, request.data)
        made = verbs.hold(
            acting(request), wanted["scope"], wanted["name"], wanted["reason"], wanted["until"] or "", clock=_clock
        )
        return Response(_shape(made), status=201)


class ReleaseHold(View):
    def post(self, request: Request, hold_id: int) -> Response:
        """Its body is not read."""
        return Response(_shape(verbs.release(acting(request), hold_id, clock=_clock)))


class LaunchWaves(View):
    def get(self, request: Request) -> Response:
        """The executors whose launches go out in waves now."""
        return Response({"launch_waves": [_wave(row) for row in launch_wave_rows.waves()]})


class LaunchAll(View):
    def post(self, request: Request, executor: str) -> Response:
        """Let all that waits go at once. Its body is not read."""
        verbs.launch_all(acting(request), executor, clock=_clock)
        return Response({"message": f"The {executor} executor launches all that waits."})


def _wave(row: launch_wave_rows.WaveRow) -> dict[str, Any]:
    return {
        "executor": row.executor,
        "cause": row.cause,
        "began_at": row.began_at,
        "total": row.total,
        "launched": row.before + row.launched,
        "wave": {
            "number": row.number,
            "size": row.size,
            "launched": row.launched,
            "well": row.well,
            "failed": row.failed,
        },
    }


def _shape(hold: LaunchHold) -> dict[str, Any]:
    return {
        "hold_id": hold.id,
        "scope": hold.scope,
        "name": hold.name or None,
        "reason": hold.reason,
        "author": hold.author,
        "since": hold.since,
        "until": hold.until,
    }
